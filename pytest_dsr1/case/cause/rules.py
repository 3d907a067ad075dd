"""The rules about the cause of a bad result: what convicts, what is a suspicion, and what acquits.

What was measured, read from the engine, or seen in a cited log convicts or acquits. What rests on
documentation alone is a suspicion. What was not read does not count. What explains less than half of what is
missing is a suspicion too, and what explains a quarter or less is ignored. Only software is named by
elimination.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from pytest_dsr1.case.cause.evidence import NOTABLE_PERCENT, Against, Evidence
from pytest_dsr1.machine.gpu.xids import XIDS, described

Suspect = Literal["machine", "options", "software"]
Effect = Literal["convicts", "suspects", "acquits", "unclear", "unlike"]
"""``unclear``: why it is neither. ``unlike``: the run is not like others, so none of them can be named."""

_MEASURED_CLUES = (
    "number-format",
    "kv-cache",
    "engine-queue",
    "low-concurrency",
    "ramp-and-drain",
    "acceptance-length",
)
"""Clues that show what the engine did with its options, load and data."""
_INVALIDATING_CLUES = ("number-format", "acceptance-length")
"""Those that can be why a run does not count; a short run or a queue never is."""
_PLANNED_CLUES = ("attention-dp", "chunked-context", "cuda-graphs")
"""Clues that show what the scenario asks for. They convict only if the options in effect were read."""

_CLUES = (*_MEASURED_CLUES, *_PLANNED_CLUES)

_OPTIONS = ("option.", "in_effect.", "environment.")
"""Facts about options, by how they begin: asked for, in effect, and set by inherited variables."""
OTHER_WORK = "other work ran on the machine meanwhile"
_NOT_IN_DECODE = ("host_link",)
"""Probes of what decode hardly uses: alone they do not convict."""
_AGAINST: Mapping[Against, str] = {
    "references": "the references",
    "green run": "the last green run that was probed",
    "peers": "the other GPUs",
}
_NEEDED = ({"memory_bandwidth"}, {"bf16", "fp8"})
"""One probe of each set is needed to acquit a machine; of several GPUs also an all-reduce."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule.

    Attributes:
        suspect: whom it is about.
        effect: what it says about the suspect.
        source: where the rule is from.
        find: returns what was seen, one sentence for each; nothing if the rule does not apply.
    """

    suspect: Suspect
    effect: Effect
    source: str
    find: Callable[[Evidence], Iterator[str]]


def _xid(evidence: Evidence) -> Iterator[str]:
    xid = evidence.watched.xid if evidence.watched else None
    if xid is not None and (known := XIDS.get(xid)) and known.kind == "hardware":
        yield f"{described(xid)} during the run"


def _memory_errors(evidence: Evidence) -> Iterator[str]:
    if evidence.watched and evidence.watched.ecc_grew:
        yield "uncorrectable memory errors during the run"


def _shared(evidence: Evidence) -> Iterator[str]:
    if evidence.watched and evidence.watched.shared:
        yield OTHER_WORK


def _throttled(evidence: Evidence, *, enough: bool) -> Iterator[str]:
    share = evidence.watched.throttled_share if evidence.watched else None
    if not share:
        return
    percent = 100 * share
    # This much is itself why a run does not count.
    spoils = evidence.result == "INVALID" and percent >= NOTABLE_PERCENT
    if (spoils or evidence.explains(percent)) == enough:
        yield f"heat or the hardware slowed down a GPU for {percent:.1f}% of the time"


def _lost(evidence: Evidence) -> Iterator[str]:
    if evidence.watched and evidence.watched.lost:
        yield "a GPU was lost during the run"


def _clock_explains(evidence: Evidence) -> bool:
    """Return whether the clock can have cost half of what is missing.

    Nothing runs slower than its clock. GPUs that multiply as fast as in a good run had this clock then.
    """
    loss_percent = evidence.watched.clock_loss_percent if evidence.watched else None
    return not _fine_probes(evidence) and (loss_percent is None or evidence.explains(loss_percent))


def _capped(evidence: Evidence, *, enough: bool) -> Iterator[str]:
    if evidence.watched and evidence.watched.power_capped and _clock_explains(evidence) == enough:
        yield "the GPUs were at their power cap, at a clock clearly below the usual one"


def _locked(evidence: Evidence, *, enough: bool) -> Iterator[str]:
    if evidence.watched and evidence.watched.locked_clock and _clock_explains(evidence) == enough:
        yield "a clock stayed below its highest without a reason, so it is locked"


def _slow(evidence: Evidence) -> dict[str, float]:
    """Return the probes that are slower than they should be, with the loss in percent."""
    probed = evidence.probed
    if probed is None or probed.other_work:
        return {}
    return {name: -difference for name, difference in probed.slow().items()}


def _slow_probes(evidence: Evidence, *, enough: bool) -> Iterator[str]:
    for name, loss in _slow(evidence).items():
        convicts = evidence.explains(loss) and not name.startswith(_NOT_IN_DECODE)
        if evidence.probed and convicts == enough and not evidence.negligible(loss):
            yield f"{name.replace('_', ' ')} {-loss:+.1f}% against {_AGAINST[evidence.probed.against]}"


def _spoiled_probes(evidence: Evidence) -> Iterator[str]:
    if evidence.probed and evidence.probed.other_work and evidence.probed.slow():
        yield "probes are slow, but another process used the GPUs meanwhile"


def _needed(evidence: Evidence) -> tuple[set[str], ...]:
    """Return sets of probes, of each of which one is needed."""
    return (*_NEEDED, {"allreduce"}) if evidence.gpus > 1 else _NEEDED


def _fine_probes(evidence: Evidence) -> bool:
    """Return whether all probes that are needed are as in a good run."""
    probed = evidence.probed
    if probed is None or not probed.as_when_good:
        return False
    slow = any(not evidence.negligible(loss) for loss in _slow(evidence).values())
    return not slow and all(kinds & probed.overall.keys() for kinds in _needed(evidence))


def _hidden_percent(evidence: Evidence) -> float:
    """Return the largest loss that fine probes can hide."""
    assert evidence.probed is not None
    smallest, seen = evidence.probed.smallest, evidence.probed.overall.keys()
    return max(min(smallest[name] for name in kinds & seen) for kinds in _needed(evidence))


def _same_probes(evidence: Evidence) -> Iterator[str]:
    """Acquit a machine whose probes can hide less than half of what is missing, and whose run was watched."""
    probed, watched = evidence.probed, evidence.watched
    if probed is None or not _fine_probes(evidence) or evidence.explains(_hidden_percent(evidence)):
        return
    if watched is None or watched.unseen or watched.throttled_share is None:
        return
    # Probes before the run say nothing about what the telemetry saw in it.
    if watched.power_capped or watched.locked_clock or not evidence.negligible(100 * watched.throttled_share):
        return
    largest = max(abs(difference) for difference in (*probed.overall.values(), *probed.of_single()))
    yield f"probes as in {_AGAINST[probed.against]}, to {largest:.1f}%"


def _unclear_probes(evidence: Evidence) -> Iterator[str]:
    """Say why the probes do not acquit a machine that they do not convict."""
    probed = evidence.probed
    if probed is None or probed.other_work:
        return
    if not probed.as_when_good:
        yield "no good run was probed on these GPUs, so the machine is not excluded"
    elif _fine_probes(evidence) and evidence.explains(_hidden_percent(evidence)):
        yield (
            f"probes as in {_AGAINST[probed.against]}, but they can hide a loss of "
            f"{_hidden_percent(evidence):g}%, and {evidence.missing_percent:.1f}% are missing"
        )


def _unverified(evidence: Evidence) -> Iterator[str]:
    yield from evidence.unverified


def _different_options(evidence: Evidence, *, enough: bool) -> Iterator[str]:
    for each in evidence.options:
        # A sure difference spoils a run by itself, whatever it costs.
        percent = each.cost_percent
        explains = percent is None or evidence.result == "INVALID" or evidence.explains(percent)
        if (each.matters and explains) == enough:
            cost = f", known to cost {percent:g}%" if percent is not None else ""
            yield f"{each.what} was {each.effective} instead of {each.asked}{cost}"


def _clues_of_options(evidence: Evidence, *, convict: bool) -> Iterator[str]:
    for key in _CLUES:
        if key in evidence.clues and _convicts(key, evidence) == convict:
            same = _as_when_good(evidence) and not any(_changed_options(evidence))
            also = ", with the options of when it was good" if same and not convict else ""
            yield f"{_without_remedy(evidence.clues[key])}{also}"


def _convicts(key: str, evidence: Evidence) -> bool:
    """Return whether a clue convicts the options, and is not only a suspicion."""
    if evidence.result == "INVALID" and key not in _INVALIDATING_CLUES:
        return False
    if key in _PLANNED_CLUES and not evidence.options_read:
        return False
    return not _too_cheap(key, evidence) and not _as_when_good(evidence)


def _as_when_good(evidence: Evidence) -> bool:
    """Return whether a good run was asked for the same options, model and data, and so had these clues."""
    asked = ("option.", "model.", "dataset.")
    changed = any(key.startswith(asked) and role != "shown" for key, role in evidence.changed.items())
    return evidence.green != "never" and not evidence.options and not changed


def _without_remedy(sentence: str) -> str:
    """Return what a clue saw; the remedy, after a colon, is with the clue itself."""
    return sentence.partition(": ")[0]


def _too_cheap(clue: str, evidence: Evidence) -> bool:
    """Return whether what a clue shows can have cost too little to explain what is missing."""
    costs = [
        each.cost_percent
        for each in evidence.options
        if each.cost_percent is not None
        and (each.what.replace("_", "-") in clue or clue in each.what.replace("_", "-"))
    ]
    costs += [evidence.clue_costs[clue]] if clue in evidence.clue_costs else []
    return any(not evidence.explains(cost) for cost in costs)


def _changed_options(evidence: Evidence) -> Iterator[str]:
    for fact, role in evidence.changed.items():
        if fact.startswith(_OPTIONS) and role != "shown":
            yield f"changed since it was good: {fact}"


def _changed_machine(evidence: Evidence) -> Iterator[str]:
    for fact, role in evidence.changed.items():
        if fact.startswith(("gpu.", "setup.", "cpu.")) and role != "shown":
            yield f"changed since it was good: {fact}"


def _same_options(evidence: Evidence) -> Iterator[str]:
    if evidence.options or any(_changed_options(evidence)):
        return
    if any(key in evidence.clues for key in _CLUES):
        return
    if evidence.options_read and evidence.options_as_published:
        yield "options in effect as published"
    elif evidence.options_read:
        yield "options in effect as asked for"
    elif evidence.green != "never" and evidence.software_same:
        yield "options as when it was good"


def _changed_software(evidence: Evidence) -> Iterator[str]:
    for fact in evidence.software_changed:
        yield f"changed since it was good: {fact}"


def _compiled(evidence: Evidence) -> Iterator[str]:
    if "compile-cache" in evidence.clues:
        yield "this start compiled code, so it is not like later starts"


def _same_software(evidence: Evidence) -> Iterator[str]:
    if evidence.green != "never" and evidence.software_same:
        yield "software as when it was good"


_CATALOG = "NVIDIA's Xid catalog"
_SEEN = "measured on an H200 (`pytest-dsr1 docs measurements`)"
_TELEMETRY = "NVML's clock-event reasons, read during the run"
_ARITHMETIC = "a part cannot cost more than its share"

RULES: tuple[Rule, ...] = (
    Rule("machine", "convicts", _CATALOG, _xid),
    Rule("machine", "convicts", "NVML's error counters", _memory_errors),
    Rule("machine", "convicts", "NVML's error code", _lost),
    Rule("machine", "convicts", _SEEN, _shared),
    Rule("machine", "convicts", _TELEMETRY, lambda evidence: _throttled(evidence, enough=True)),
    Rule("machine", "convicts", _TELEMETRY, lambda evidence: _capped(evidence, enough=True)),
    Rule("machine", "convicts", _TELEMETRY, lambda evidence: _locked(evidence, enough=True)),
    Rule("machine", "convicts", _SEEN, lambda evidence: _slow_probes(evidence, enough=True)),
    Rule("machine", "suspects", _ARITHMETIC, lambda evidence: _throttled(evidence, enough=False)),
    Rule("machine", "suspects", _ARITHMETIC, lambda evidence: _capped(evidence, enough=False)),
    Rule("machine", "suspects", _ARITHMETIC, lambda evidence: _locked(evidence, enough=False)),
    Rule("machine", "suspects", _ARITHMETIC, lambda evidence: _slow_probes(evidence, enough=False)),
    Rule("machine", "suspects", "another process may have slowed them down", _spoiled_probes),
    Rule("machine", "suspects", "the fingerprint", _changed_machine),
    Rule("machine", "suspects", "documentation alone", _unverified),
    Rule("machine", "acquits", _SEEN, _same_probes),
    Rule("machine", "unclear", _SEEN, _unclear_probes),
    Rule(
        "options",
        "convicts",
        "the engine's report or log",
        lambda evidence: _different_options(evidence, enough=True),
    ),
    Rule(
        "options",
        "convicts",
        "`pytest-dsr1 docs why-low`",
        lambda evidence: _clues_of_options(evidence, convict=True),
    ),
    Rule(
        "options",
        "suspects",
        "the scenario, which may be that of a good run",
        lambda evidence: _clues_of_options(evidence, convict=False),
    ),
    Rule("options", "suspects", _ARITHMETIC, lambda evidence: _different_options(evidence, enough=False)),
    Rule("options", "suspects", "the fingerprint", _changed_options),
    Rule("options", "acquits", "the engine's report, or the fingerprint", _same_options),
    Rule("software", "suspects", "the fingerprint", _changed_software),
    Rule("software", "unlike", "`pytest-dsr1 docs gate`, starts that compiled", _compiled),
    Rule("software", "acquits", "the fingerprint", _same_software),
)
"""In the order in which they are shown."""
