"""What speaks for and against the machine: probes, telemetry and warnings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pytest_dsr1.case.cause.evidence import Against, Evidence, Probed
from pytest_dsr1.machine.gpu.inventory import gpu_list
from pytest_dsr1.machine.gpu.xids import XIDS, described
from pytest_dsr1.machine.probe.values import KINDS

OTHER_WORK = "other work ran on the machine meanwhile"
_NOT_IN_DECODE = ("host_link", "peer_ring")
"""Probes of what decode hardly uses: alone they do not convict."""
_MATRIX = ("bf16", "fp8")
"""Probes that hardly matter to one request at a time: a difference of 3% did not show in it."""
_HEALTHY_SPREAD_PERCENT = KINDS["bf16_sm_clock_mhz"].cards_percent
_AGAINST: Mapping[Against, str] = {
    "references": "the references",
    "green run": "the last green run that was probed",
    "peers": "the other GPUs",
}


def xid(evidence: Evidence) -> Iterator[str]:
    """Find an Xid error of the hardware in the measured time."""
    xid = evidence.watched.xid if evidence.watched else None
    if xid is not None and (known := XIDS.get(xid)) and known.kind == "hardware":
        yield f"{described(xid)} during the run"


def memory_errors(evidence: Evidence) -> Iterator[str]:
    """Find uncorrectable memory errors that were added during the run."""
    if evidence.watched and evidence.watched.ecc_grew:
        yield "uncorrectable memory errors during the run"


def shared(evidence: Evidence) -> Iterator[str]:
    """Find another process on the GPUs."""
    if evidence.watched and evidence.watched.shared:
        yield OTHER_WORK


def not_allowed(evidence: Evidence) -> Iterator[str]:
    """Find what the scenario does not allow, so that the run does not count."""
    if evidence.watched:
        yield from evidence.watched.not_allowed


def throttled(evidence: Evidence, *, enough: bool) -> Iterator[str]:
    """Find heat or the hardware that slowed down a GPU for longer than a quarter of what is missing."""
    watched = evidence.watched
    if watched is None or not watched.throttled_share:
        return
    percent = 100 * watched.throttled_share
    if evidence.explains(percent) == enough and not evidence.negligible(percent):
        yield f"heat or the hardware slowed down a GPU for {percent:.1f}% of the time"


def lost(evidence: Evidence) -> Iterator[str]:
    """Find a GPU that fell off the bus."""
    if evidence.watched and evidence.watched.lost:
        yield "a GPU was lost during the run"


def _clock_explains(evidence: Evidence) -> bool:
    """Return whether the clock can have cost half of what is missing.

    Nothing runs slower than its clock. GPUs that multiply as fast as in a good run had this clock then.
    """
    loss_percent = evidence.watched.clock_loss_percent if evidence.watched else None
    return not _fine_probes(evidence) and (loss_percent is None or evidence.explains(loss_percent))


def capped(evidence: Evidence, *, enough: bool) -> Iterator[str]:
    """Find GPUs whose lowered power limit kept their clock low."""
    if evidence.watched and evidence.watched.power_capped and _clock_explains(evidence) == enough:
        yield "a lowered power limit kept the clock below its highest"


def behind(evidence: Evidence, *, enough: bool) -> Iterator[str]:
    """Find GPUs whose power cap kept their clock below that of the others by more than healthy ones differ.

    GPUs that multiply as fast as in a good run were behind then, too.
    """
    for gpu, percent in (evidence.watched.behind if evidence.watched else {}).items():
        explains = percent > _HEALTHY_SPREAD_PERCENT and evidence.explains(percent)
        convicts = explains and not _fine_probes(evidence)
        if convicts == enough and not evidence.negligible(percent):
            gpus = gpu_list([gpu])
            yield f"{gpus} was at its power cap, at a clock {percent:.1f}% below that of the others"


def locked(evidence: Evidence, *, enough: bool) -> Iterator[str]:
    """Find a clock that is low without a reason."""
    if evidence.watched and evidence.watched.locked_clock and _clock_explains(evidence) == enough:
        yield "a clock stayed below its highest without a reason, so it is locked"


def _slow(evidence: Evidence) -> dict[str, float]:
    """Return the probes that are slower than they should be, with the loss in percent."""
    probed = evidence.probed
    if probed is None or probed.other_work:
        return {}
    return {name: -difference for name, difference in probed.slow().items()}


def slow_probes(evidence: Evidence, *, enough: bool) -> Iterator[str]:
    """Find probes that are slower than they should be."""
    for name, loss in _slow(evidence).items():
        convicts = evidence.explains(loss) and not name.startswith(_minor(evidence))
        if evidence.probed and convicts == enough and not evidence.negligible(loss):
            yield f"{_words(name)} {-loss:+.1f}% against {_AGAINST[evidence.probed.against]}"


def _minor(evidence: Evidence) -> tuple[str, ...]:
    """Return how probes begin that hardly matter to the run."""
    return (*_NOT_IN_DECODE, *(_MATRIX if evidence.one_at_a_time else ()))


def slow_after(evidence: Evidence) -> Iterator[str]:
    """Find what became slower during the run."""
    for name, loss in (evidence.probed.slower_after if evidence.probed else {}).items():
        if not evidence.negligible(-loss):
            yield f"{_words(name)} {loss:+.1f}% after the run against before it"


def _words(probe: str) -> str:
    return probe.replace("_", " ")


def spoiled_probes(evidence: Evidence) -> Iterator[str]:
    """Find slow probes that say nothing, because another process ran."""
    if evidence.probed and evidence.probed.other_work and evidence.probed.slow():
        yield "probes are slow, but another process used the GPUs meanwhile"


def _needed(evidence: Evidence) -> tuple[set[str], ...]:
    """Return sets of probes: one of each set is needed to acquit the machine.

    One request at a time waits for memory, and for a small all-reduce of its GPUs.
    """
    if evidence.one_at_a_time:
        return ({"memory_bandwidth"}, *([{"allreduce_small"}] if evidence.gpus > 1 else []))
    reduces = {"allreduce", "allreduce_small"}
    return ({"memory_bandwidth"}, {*_MATRIX}, *([reduces] if evidence.gpus > 1 else []))


def _good_probes(evidence: Evidence) -> Probed | None:
    """Return the probes if they were compared with those of a good run."""
    probed = evidence.probed
    return probed if probed and probed.as_when_good and evidence.green != "never" else None


def _fast(evidence: Evidence) -> dict[str, float]:
    """Return the needed probes that are so much faster than when it was good that one of both is wrong."""
    probed, needed = _good_probes(evidence), set[str]().union(*_needed(evidence))
    fast = probed.fast() if probed else {}
    return {name: gain for name, gain in fast.items() if name in needed and not evidence.negligible(gain)}


def _fine_probes(evidence: Evidence) -> bool:
    """Return whether all probes that are needed are as in a good run."""
    probed = _good_probes(evidence)
    if probed is None or _fast(evidence):
        return False
    slow = any(not evidence.negligible(loss) for loss in _slow(evidence).values())
    return not slow and all(kinds & probed.overall.keys() for kinds in _needed(evidence))


def _hidden_percent(probed: Probed, evidence: Evidence) -> float:
    """Return the largest loss that fine probes can hide."""
    seen = probed.overall.keys()
    return max(min(probed.smallest[name] for name in kinds & seen) for kinds in _needed(evidence))


def same_probes(evidence: Evidence) -> Iterator[str]:
    """Acquit a machine whose probes can hide less than half of what is missing."""
    probed = evidence.probed
    if probed is None or not _fine_probes(evidence) or evidence.explains(_hidden_percent(probed, evidence)):
        return
    largest = max(abs(difference) for difference in (*probed.overall.values(), *probed.of_single()))
    yield f"probes as in {_AGAINST[probed.against]}, to {largest:.1f}%"


def unclear_probes(evidence: Evidence) -> Iterator[str]:
    """Say why the probes do not acquit a machine that they do not convict."""
    probed = evidence.probed
    if probed is None:
        yield "the machine was not probed" if evidence.gpus else "a machine without GPUs cannot be probed"
    elif probed.other_work:
        return
    elif _good_probes(evidence) is None:
        yield "no good run was probed on these GPUs, so the machine is not excluded"
    elif fast := _fast(evidence):
        for name, gain in fast.items():
            faster = f"{_words(name)} {gain:+.1f}% against {_AGAINST[probed.against]}"
            yield f"{faster}, so one of the two probes is not right"
    elif missing := [kinds for kinds in _needed(evidence) if not kinds & probed.overall.keys()]:
        names = ", ".join(" or ".join(map(_words, sorted(kinds))) for kinds in missing)
        yield f"not probed now and in a good run: {names}"
    elif _fine_probes(evidence) and evidence.explains(hidden := _hidden_percent(probed, evidence)):
        yield (
            f"probes as in {_AGAINST[probed.against]}, but they can hide a loss of "
            f"{hidden:g}%, and {evidence.missing_percent:.1f}% are missing"
        )


def unwatched(evidence: Evidence) -> Iterator[str]:
    """Say what is not known of the machine in the run, about which probes before it say nothing."""
    watched = evidence.watched
    if not any(same_probes(evidence)):
        return
    if watched is None:
        yield "the GPUs were not watched during the run"
    elif watched.unseen:
        yield from watched.unseen
    elif watched.throttled_share is None:
        yield "it was not read whether GPUs were slowed down"


def changed_machine(evidence: Evidence) -> Iterator[str]:
    """Find settings of the machine that differ from when it was good."""
    for fact, role in evidence.changed.items():
        if fact.startswith(("gpu.", "setup.", "cpu.")) and role != "shown":
            yield f"changed since it was good: {fact}"
