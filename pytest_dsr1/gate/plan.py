"""The plan of a gate: its runs and their cost, known from the references before GPU time is spent."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from statistics import median

from pytest_dsr1.errors import Dsr1Error
from pytest_dsr1.gate import comparability, recordings
from pytest_dsr1.gate.comparability import any_node, short
from pytest_dsr1.gate.decision import Design, alpha, planned, resolved, runs_needed
from pytest_dsr1.gate.noise import Level, level
from pytest_dsr1.gate.reference_file import intact
from pytest_dsr1.gate.references import ReferenceRun, References, how_to_get_more, usable
from pytest_dsr1.gate.searched import too_coarse, with_own_error
from pytest_dsr1.metrics.catalogue import found_by_search, metric_named
from pytest_dsr1.scenario.schema.scenario import LARGEST_DELTA_PERCENT, Scenario
from pytest_dsr1.study.loop import LIMIT
from pytest_dsr1.study.losses import in_percent, loss, worse

_MOST_REFERENCES = _MOST_RUNS = 100


class UndecidableError(Dsr1Error):
    """The references' noise cannot resolve the scenario's delta."""


@dataclass(frozen=True, slots=True)
class GatePlan:
    """A gate before its first run.

    Attributes:
        scenario: as the gate judges it.
        references: the accepted references.
        runs: the references that count on this node.
        design: how the gate decides.
        resolved_percent: the smallest loss that ``gate.max_runs`` runs would decide, in percent.
        warnings: sentences that are shown next to the verdict; each begins with the profile.
    """

    scenario: Scenario
    references: References
    runs: tuple[ReferenceRun, ...]
    design: Design
    resolved_percent: float
    warnings: tuple[str, ...]

    @property
    def metric(self) -> str:
        """The gated metric."""
        return self.references.metric

    @property
    def sure(self) -> bool:
        """True if the runs decide when the noise is as the references show."""
        return self.resolved_percent <= self.scenario.gate.delta_percent

    def loss(self, value: float) -> float:
        """Return how much worse a value is than the references' mean, as a difference of logarithms."""
        return float(loss(self.metric, self.design.level.mean, value))

    @property
    def _searches(self) -> bool:
        return self.metric in found_by_search()

    @property
    def _of(self) -> str:
        if self._searches:
            return "by one search per run"
        return f"of the first {self.references.requests:,} requests"

    @property
    def run_s(self) -> float:
        """The time of one run, in s, including the engine's start, warm-up and drain."""
        return self._run_s(self.references.requests)

    def _run_s(self, sent: int) -> float:
        requests = self.references.requests
        load = self.scenario.load
        drained = load.at_once if load.limited else 0
        outside = min(self.references.warmup_requests + drained, requests - 1)
        measured_s = median(run.window_s for run in self.runs) / (1 - outside / requests)
        return median(run.startup_s for run in self.runs) + measured_s * sent / requests

    def cost(self, runs: float) -> str:
        """Return what this many runs cost: GPU-hours, or time on the CPU."""
        return self._cost(runs * self.run_s)

    def _cost(self, seconds: float) -> str:
        gpus = self.scenario.hardware.count
        if gpus:
            return f"{seconds * gpus / 3600:.2g} GPU-h"
        return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"

    @property
    def starts(self) -> int:
        """The most starts of the engine, with those that do not count."""
        return LIMIT * self.design.max_runs

    @property
    def runs_and_cost(self) -> str:
        """A sentence with the number of runs that decide, and what they cost."""
        plan, gate = self.design, self.scenario.gate
        innocent, guilty = plan.expected_runs()
        return (
            f"{self.scenario.name}: the gate {'decides' if self.sure else 'may decide'} in at most "
            f"{plan.max_runs} runs ({self.cost(plan.max_runs)}) whether there is a loss of "
            f"{gate.delta_percent:g}%. "
            f"It needs {innocent:.1f} runs ({self.cost(innocent)}) on average if there is no loss, "
            f"{guilty:.1f} if there is one. The smallest loss that gate.max_runs = {gate.max_runs} runs can "
            f"detect is {_rounded(self.resolved_percent, math.ceil)}%"
        )

    def statement(self) -> tuple[str, ...]:
        """Return the sentences to show before the gate begins."""
        plan, name = self.design, self.scenario.name
        sent = self.references.requests if self._searches else self.scenario.load.num_requests
        at_most = self._cost((self.starts - 1) * self.run_s + self._run_s(sent))
        return (
            f"{name}: gate on {metric_named(self.metric).label} {self._of}, against {len(self.runs)} "
            f"references {_where(self.references, self.runs)} (noise {plan.level.noise_percent:.2g}% between "
            "starts)",
            self.runs_and_cost,
            f"{name}: these numbers include only runs that count. Two kinds of run do not count and are "
            f"repeated: the first start of new software on this node ({self.cost(1)} more), and an INVALID "
            f"run. At most {self.starts} starts in all ({at_most}, if the "
            "first start sends all requests to judge targets too)",
            *self.warnings,
            *([] if self.sure else [_unsure(self.scenario, plan.level, self.resolved_percent)]),
        )


def _where(references: References, runs: Sequence[ReferenceRun]) -> str:
    nodes = {run.node for run in runs}
    if any_node(references.under_test):
        return f"on {len(nodes)} nodes"
    return f"on node {short(next(iter(nodes)))}"


def gates_of(store: Path) -> int:
    """Return how many scenarios have usable references; their gates share the error of a suite.

    A damaged file does not count: its gate is refused, so it cannot make an error.

    Raises:
        ReferencesError: the folder cannot be listed.
    """
    return sum(intact(Path(entry.path)) for entry in recordings.listed(store) if entry.name.endswith(".yaml"))


def gate_plan(
    store: Path, references: References, scenario: Scenario, node: str | None, now: datetime
) -> GatePlan:
    """Return the plan of a scenario's gate on a node.

    Args:
        store: the folder of references; all gates with references in it share the error of a suite.
        references: the scenario's references.
        scenario: the gated scenario.
        node: from :func:`~pytest_dsr1.gate.comparability.node`; None for the one with the most references.
        now: the current time, for the age of references.

    Raises:
        NoReferenceError: there are too few references on the node.
        ReferencesError: the folder cannot be listed, so the number of gates is unknown.
        UndecidableError: the references' noise cannot resolve delta.
    """
    counts = references.nodes
    runs, warnings = usable(references, node or max(counts, key=lambda name: counts[name]), now)
    if any_node(references.under_test):
        found = level([math.log(run.value) for run in runs], [run.node for run in runs], always=True)
        if len({run.node for run in runs}) == 1:
            warnings.append(
                f"{scenario.name}: all references are from one node, so they do not show node-to-node "
                "variation"
            )
    else:
        found = level([math.log(run.value) for run in runs], [run.day for run in runs])
        if len({run.day for run in runs}) == 1:
            warnings.append(
                f"{scenario.name}: all references are from one day, so they do not show day-to-day "
                "variation: a day-to-day shift of half the noise could raise the false-alarm rate to 7%; "
                "record on more days"
            )
    if references.metric in found_by_search():
        found = with_own_error(found, [run.se_percent for run in runs])
    unfit = comparability.unfit(scenario.gate.under_test, references.facts)
    warnings += (f"{scenario.name}: {each}" for each in unfit)
    if scenario.gates_search and (why := too_coarse(scenario, references.mean)):
        raise UndecidableError(why)
    error, delta = alpha(gates_of(store)), worse(references.metric, scenario.gate.delta_percent)
    most = scenario.gate.max_runs
    made = planned(found, error, delta, most)
    smallest = abs(in_percent(references.metric, resolved(found, error, most)))
    if made is None:
        raise UndecidableError(_undecidable(scenario, found, error, delta, smallest))
    return GatePlan(scenario, references, runs, made, smallest, tuple(warnings))


def _rounded(percent: float, towards: Callable[[float], int]) -> str:
    """Return a percentage with two digits, rounded so that the statement about it stays true."""
    step = 10.0 ** (math.floor(math.log10(percent)) - 1)
    return f"{towards(percent / step) * step:g}"


def _unsure(scenario: Scenario, found: Level, smallest: float) -> str:
    """Return the warning for noise that may be too large only by chance."""
    low, high = (end * 100 for end in found.interval)
    helps, useless = how_to_get_more(scenario.name), ""
    if smallest > LARGEST_DELTA_PERCENT:
        useless = f"; {_NO_LARGER_DELTA}"
    else:
        helps = f"{_larger_delta(smallest)}, or {helps}"
    return (
        f"{scenario.name}: the gate may end INCONCLUSIVE: gate.max_runs = {scenario.gate.max_runs} runs may "
        f"not be enough at the noise that the {found.runs} references show ({found.noise_percent:.2g}%; the "
        f"real noise is {low:.2g} to {high:.2g}%); to be sure that it decides: {helps}{useless}"
    )


_NO_LARGER_DELTA = (
    f"a larger gate.delta_percent does not help, because its maximum is {LARGEST_DELTA_PERCENT}"
)


def _larger_delta(smallest: float) -> str:
    return f"gate.delta_percent of at least {_rounded(smallest, math.ceil)}"


def _undecidable(scenario: Scenario, found: Level, error: float, delta: float, smallest: float) -> str:
    """Return the message with what would help: a larger delta, more references, less noise."""
    most = scenario.gate.max_runs
    counts = range(found.runs + 1, _MOST_REFERENCES + 1)
    index = bisect_left(counts, -delta, key=lambda count: -resolved(_with(found, count), error, most))
    enough = runs_needed(found, error, delta, _MOST_RUNS)
    quieter = delta / resolved(replace(found, sd=1.0), error, most) * 100
    helps: list[str] = []
    useless: list[str] = []
    if smallest > LARGEST_DELTA_PERCENT:
        useless.append(_NO_LARGER_DELTA)
    else:
        helps.append(_larger_delta(smallest))
    if enough:
        helps.append(f"gate.max_runs of at least {enough}")
    else:
        useless.append(f"a larger gate.max_runs does not help: even {_MOST_RUNS} runs are not enough")
    helps.append(
        f"noise of at most {_rounded(quieter, math.floor)}%: check other work on the machine, power and "
        "clock limits, temperatures, and runs that stand out in "
        f"`pytest-dsr1 references show {scenario.name}`"
    )
    if index < len(counts):
        helps.append(f"{counts[index]} references with this noise; {how_to_get_more(scenario.name)}")
    else:
        useless.append(f"more references do not help: even {_MOST_REFERENCES} are not enough")
    advice = [f"what would resolve it: {helps[0]}", *(f"or {each}" for each in helps[1:]), *useless]
    return (
        f"{scenario.name}: a loss of {scenario.gate.delta_percent:g}% cannot be separated from the noise "
        f"between starts, {found.noise_percent:.2g}% in {found.runs} references, within gate.max_runs = "
        f"{most} runs" + "".join(f"\n  {each}" for each in advice)
    )


def _with(found: Level, count: int) -> Level:
    """Return the level that ``count`` references of the same kind would have."""
    shared = found.shared - 1 / found.runs + 1 / count
    return replace(found, freedom=found.freedom + count - found.runs, shared=shared, runs=count)
