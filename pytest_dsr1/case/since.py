"""What changed since a scenario was good: facts that differ from its last green run, most suspect first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Literal

from pytest_dsr1.case.published import published_values
from pytest_dsr1.engines import in_effect
from pytest_dsr1.errors import UserError
from pytest_dsr1.gate import comparability
from pytest_dsr1.gate.history import PastRun
from pytest_dsr1.gate.references import References
from pytest_dsr1.gate.saved import read_gate, saved_verdicts
from pytest_dsr1.machine.probe.values import KINDS, PREFIX
from pytest_dsr1.machine.values import INHERITED, FactValue
from pytest_dsr1.masking import masked_fact
from pytest_dsr1.measurement.measurement import Measurement
from pytest_dsr1.measurement.probing import AFTER
from pytest_dsr1.metrics.catalogue import METRICS
from pytest_dsr1.verdict.verdict import Status, Verdict

KNOWN_EFFECT = (
    "gpu.power_limit_w",
    "gpu.power_enforced_w",
    "gpu.vboost",
    "gpu.max_sm_clock_mhz",
    "gpu.application_clock_mhz",
    "gpu.application_memory_clock_mhz",
    "gpu.mig",
    "gpu.ecc",
    "setup.vboost",
    "setup.sm_clock_lock_mhz",
    "option.engine.llm_api.cuda_graph_config*",
    "option.engine.llm_api.enable_attention_dp",
    "option.engine.llm_api.disable_overlap_scheduler",
    "option.engine.llm_api.speculative_config*",
    "option.engine.enable_chunked_context",
    "option.engine.ep",
    "option.engine.tp",
    "option.load.*",
    "library.tensorrt-llm",
    "engine.tensorrt_llm",
    "engine.sglang",
    "engine.vllm",
)
"""Patterns of the facts whose effect on these figures is known: clocks and power by our own measurements and
NVIDIA's article, options by NVIDIA's tech blogs 2 and 3, engines by the figures published per version."""

_ABSENT_MEANS_DEFAULT = ("option.", "library.", "setup.", f"{INHERITED}.")
"""A missing fact of these groups has a meaning: not given, not installed. Of others it means: not read."""
_RECORDER = "library.pytest-dsr1"
"""Another version of it may look at other libraries, so that a missing one was not read either."""

_SAYS_WHERE = (comparability.NODE, "hostname")
"""Facts about which machine it was. It is the same one, and a container has a new host name each time."""

_SOFTWARE = ("library.", "engine.", "driver", "cuda.driver", "container.image", "python")
"""Facts of the software under test, by how they begin."""

_SHOWN = 6
"""The most differences that a sentence names."""


Green = Literal["run", "references", "never"]
"""What a run is compared with: the last green run, else the accepted references, else nothing."""


@dataclass(frozen=True, slots=True)
class Change:
    """A fact that differs: ``gpu.vboost 4 -> 0``."""

    key: str
    text: str

    @property
    def has_known_effect(self) -> bool:
        """Whether the fact's effect on figures is known."""
        if self.is_in_effect:
            return in_effect.can_matter(self.key)
        return any(fnmatchcase(self.key, pattern) for pattern in KNOWN_EFFECT)

    @property
    def is_in_effect(self) -> bool:
        """Whether it is an option in effect."""
        return self.key.startswith(in_effect.PREFIX)

    @property
    def is_choice(self) -> bool:
        """Whether it is an option in effect that the software may have chosen; not by the memory it found."""
        return self.is_in_effect and not in_effect.follows_from_memory(self.key)

    @property
    def is_software(self) -> bool:
        """Whether it is a version of the software under test."""
        return self.key.startswith(_SOFTWARE) and self.key != _RECORDER


@dataclass(frozen=True, slots=True)
class Since:
    """What differs from when the scenario was good.

    Attributes:
        green: what the run is compared with.
        good: the same in words, such as ``the last green run (2026-11-29 14:46)``; empty without any.
        changes: facts that differ, most suspect first.
        probes: the machine's probes of the last green run that was probed; empty without any.
        doubt: why the references are not of good runs; empty if they are, or without any.
        published: without any, how the scenario differs from its published run; empty if none was published.
    """

    green: Green = "never"
    good: str = ""
    changes: tuple[Change, ...] = ()
    probes: Mapping[str, FactValue] = field(default_factory=dict)
    doubt: str = ""
    published: str = ""

    @property
    def sentence(self) -> str:
        """The changes in a sentence."""
        if not self.good:
            references = self.doubt or "there are no references"
            never = f"no earlier run on this machine meets today's targets, and {references}"
            return f"{never}; {self.published}" if self.published else never
        if not self.changes:
            return f"since {self.good}: no recorded fact differs"
        more = len(self.changes) - _SHOWN
        also = f", and {more} more" if more > 0 else ""
        return f"since {self.good}: {'; '.join(each.text for each in self.changes[:_SHOWN])}{also}"


def since(
    measurement: Measurement,
    past: Iterable[PastRun],
    references: References | None,
    missed: Iterable[Verdict],
) -> Since:
    """Compare a run with the last green one of its scenario on its machine, else with the references.

    A run is green if every target that it judged passed, no gate that began with it showed a loss, and it
    meets the targets that are missed now, which may be stricter than they were. So must the references: their
    mean on this machine, or that of all if they have none of it. A loss is compared with them all the same.

    Args:
        measurement: the run.
        past: earlier runs, oldest first.
        references: the accepted references; None without any.
        missed: the verdicts on the targets that are missed, if any.
    """
    facts, wanted, newest_first = measurement.fingerprint.facts, list(missed), list(past)[::-1]
    doubt = _doubt(references, comparability.node(facts), wanted)
    green = next((run for run in newest_first if _is_green(run, measurement, wanted)), None)
    if green is not None:
        when = f"{green.at.astimezone():%Y-%m-%d %H:%M}"
        probed = [run for run in newest_first if _probes(run.facts)]
        probes = next((_probes(run.facts) for run in probed if _is_green(run, measurement, wanted)), {})
        return Since("run", f"the last green run ({when})", changes(green.facts, facts), probes, doubt)
    if references is None or doubt:
        return Since(doubt=doubt, published=_published(measurement))
    good = f"the accepted references ({references.accepted.at:%Y-%m-%d})"
    kept = {**comparability.compared(facts), **comparability.explaining([facts])}
    changed = changes({**references.facts, **references.shown}, kept)
    return Since("references", good, changed, doubt=doubt)


def _doubt(references: References | None, node: str, missed: Sequence[Verdict]) -> str:
    """Return why references are not of good runs: they miss what is missed now; empty if they are."""
    if references is None:
        return ""
    other = next((each for each in missed if each.metric != references.metric), None)
    if other is not None:
        return f"the accepted references say nothing about {METRICS[other.metric].label}"
    mean = replace(references, runs=references.on(node) or references.runs).mean
    return "" if all(_meets(mean, each) for each in missed) else "the accepted references do not either"


def _probes(facts: Mapping[str, FactValue]) -> dict[str, FactValue]:
    """Return what was probed before a run."""
    return {name: value for name, value in facts.items() if name.removeprefix(PREFIX) in KINDS}


def _published(measurement: Measurement) -> str:
    """Return how a run differs from the newest published one of its model and GPUs, in words."""
    found = next(published_values(measurement.scenario, measurement), None)
    if found is None:
        return ""
    if not found.differences:
        return f"compared with {found.version}: the scenario is as published"
    more = len(found.differences) - _SHOWN
    also = f"; and {more} more" if more > 0 else ""
    return f"compared with {found.version}: {'; '.join(found.differences[:_SHOWN])}{also}"


def _is_green(run: PastRun, measurement: Measurement, missed: Sequence[Verdict]) -> bool:
    facts, scenario = measurement.fingerprint.facts, measurement.scenario
    if run.profile != scenario.name or run.stopped or run.node != comparability.node(facts):
        return False
    if run.at >= datetime.fromisoformat(measurement.started_utc):
        return False
    verdicts = saved_verdicts(run.folder)
    if not verdicts or any(each.status is not Status.PASS for each in verdicts) or _lost(run):
        return False
    measured = {each.metric: each.measured for each in verdicts}
    return all(_meets(measured.get(each.metric), each) for each in missed)


def _meets(measured: float | None, missed: Verdict) -> bool:
    """Return whether a value meets the bound of a target that is missed now."""
    if measured is None:
        return False
    higher = METRICS[missed.metric].better == "higher"
    return measured >= missed.bound if higher else measured <= missed.bound


def _lost(run: PastRun) -> bool:
    """Return whether the gate whose first run this is showed a loss; one that cannot be read may have."""
    try:
        gate = read_gate(run.folder)
    except UserError:
        return True
    return gate is not None and gate.status is Status.FAIL


def changes(old: Mapping[str, FactValue], new: Mapping[str, FactValue]) -> tuple[Change, ...]:
    """Return the facts that differ: options in effect, known effects, judged facts, then shown ones."""
    if INHERITED in old and INHERITED in new:
        old, new = ({**facts, **_variables(facts[INHERITED])} for facts in (old, new))
    unlike = comparability.unlike([old, new])
    # What was slow before the run as well is said once.
    again = {f"{AFTER}{key.removeprefix(PREFIX)}" for key in unlike}
    keys = [key for key in unlike if key not in again and _is_read(key, old, new)]
    return tuple(sorted((_change(key, old, new) for key in keys), key=_suspicion))


def _variables(inherited: FactValue) -> dict[str, FactValue]:
    """Return inherited variables as a fact each."""
    words = [each.partition("=") for each in inherited] if isinstance(inherited, list) else []
    return {f"{INHERITED}.{name}": value for name, _, value in words}


def _is_read(key: str, old: Mapping[str, FactValue], new: Mapping[str, FactValue]) -> bool:
    if key in (*_SAYS_WHERE, INHERITED):
        return False
    values = old.get(key), new.get(key)
    if any(isinstance(value, list) and "None" in value for value in values):
        return False  # one of the GPUs did not report it
    if key.startswith("library.") and key != _RECORDER and old.get(_RECORDER) != new.get(_RECORDER):
        return None not in values
    return None not in values or key.startswith(_ABSENT_MEANS_DEFAULT)


def _suspicion(change: Change) -> tuple[int, str]:
    if change.has_known_effect:
        return (0 if change.is_in_effect else 1), change.key
    return (3 if comparability.role(change.key, {}) == "shown" else 2), change.key


def _change(key: str, old: Mapping[str, FactValue], new: Mapping[str, FactValue]) -> Change:
    def value(facts: Mapping[str, FactValue]) -> str:
        # References and results from before secrets were masked have them in the clear.
        return comparability.shown(masked_fact(key, facts[key])) if key in facts else "not given"

    if key.startswith(in_effect.PREFIX):
        name, before, after = key.removeprefix(in_effect.PREFIX), old[key], new[key]
        return Change(key, f"in effect: {name} {in_effect.shown(before)} -> {in_effect.shown(after)}")
    return Change(key, f"{key} {value(old)} -> {value(new)}")
