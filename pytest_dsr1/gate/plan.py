"""What a gate will do and cost, from accepted references and before GPU time is spent."""

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
from pytest_dsr1.gate.decision import Design, alpha, in_percent, loss, planned, resolved, runs_needed, worse
from pytest_dsr1.gate.loop import LIMIT
from pytest_dsr1.gate.noise import Level, level
from pytest_dsr1.gate.reference_file import intact
from pytest_dsr1.gate.references import ReferenceRun, References, how_to_get_more, usable
from pytest_dsr1.metrics.catalogue import METRICS
from pytest_dsr1.scenario.schema.scenario import LARGEST_DELTA_PERCENT, Scenario

_MOST_REFERENCES = _MOST_RUNS = 100


class UndecidableError(Dsr1Error):
    """The references' noise cannot resolve the scenario's delta."""


@dataclass(frozen=True, slots=True)
class GatePlan:
    """A gate before its first run.

    Attributes:
        scenario: as it will be judged.
        references: those accepted.
        runs: those of them that count on this node.
        design: how it decides.
        resolved_percent: the smallest loss that the most runs would decide, in percent.
        warnings: sentences a person must see beside the verdict; each begins with the profile.
    """

    scenario: Scenario
    references: References
    runs: tuple[ReferenceRun, ...]
    design: Design
    resolved_percent: float
    warnings: tuple[str, ...]

    @property
    def metric(self) -> str:
        """What is gated."""
        return self.references.metric

    @property
    def sure(self) -> bool:
        """Whether the runs decide if the noise is what the references show."""
        return self.resolved_percent <= self.scenario.gate.delta_percent

    def loss(self, value: float) -> float:
        """How much worse a value is than the references' mean, as a difference of logarithms."""
        return float(loss(self.metric, self.design.level.mean, value))

    @property
    def run_s(self) -> float:
        """How long one run takes, in s: the start of the engine, warm-up and drain included."""
        return self._run_s(self.references.requests)

    def _run_s(self, sent: int) -> float:
        requests = self.references.requests
        outside = min(self.references.warmup_requests + self.scenario.load.concurrency, requests - 1)
        measured_s = median(run.window_s for run in self.runs) / (1 - outside / requests)
        return median(run.startup_s for run in self.runs) + measured_s * sent / requests

    def cost(self, runs: float) -> str:
        """What so many runs cost, in GPU-hours, or in time on the CPU."""
        return self._cost(runs * self.run_s)

    def _cost(self, seconds: float) -> str:
        gpus = self.scenario.hardware.count
        if gpus:
            return f"{seconds * gpus / 3600:.2g} GPU-h"
        return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"

    @property
    def runs_told(self) -> str:
        """In how many runs it decides, and what they cost."""
        plan, gate = self.design, self.scenario.gate
        innocent, guilty = plan.expected_runs()
        return (
            f"{self.scenario.name}: a loss of {gate.delta_percent:g}% {'is' if self.sure else 'may be'} "
            f"decided in at most {plan.max_runs} runs ({self.cost(plan.max_runs)}); expected {innocent:.1f} "
            f"without a loss ({self.cost(innocent)}), {guilty:.1f} with one; the smallest loss that "
            f"{gate.max_runs} runs resolve is {_rounded(self.resolved_percent, math.ceil)}%"
        )

    def statement(self) -> tuple[str, ...]:
        """What is to be known before it begins."""
        plan, name = self.design, self.scenario.name
        starts, whole_s = LIMIT * plan.max_runs, self._run_s(self.scenario.load.num_requests)
        return (
            f"{name}: gate on {METRICS[self.metric].label} of the first {self.references.requests:,} "
            f"requests, against {len(self.runs)} references {_where(self.references, self.runs)} (noise "
            f"{plan.level.noise_percent:.2g}% between starts)",
            self.runs_told,
            f"{name}: that is of runs that count; the first start of software that is new to this node does "
            f"not ({self.cost(1)} more), nor does an INVALID run, and each is made again: at the very most "
            f"{starts} starts ({self._cost((starts - 1) * self.run_s + whole_s)}, of which the first sends "
            "all requests if targets are judged too)",
            *self.warnings,
            *([] if self.sure else [_unsure(self.scenario, plan.level, self.resolved_percent)]),
        )


def _where(references: References, runs: Sequence[ReferenceRun]) -> str:
    nodes = {run.node for run in runs}
    if any_node(references.under_test):
        return f"on {len(nodes)} nodes"
    return f"on node {short(next(iter(nodes)))}"


def gates_of(store: Path) -> int:
    """How many scenarios have references that can be judged by: the gates that share a suite's errors.

    A damaged file is none: its gate is refused, and can make no error.

    Raises:
        ReferencesError: the folder cannot be listed.
    """
    return sum(intact(Path(entry.path)) for entry in recordings.listed(store) if entry.name.endswith(".yaml"))


def gate_plan(
    store: Path, references: References, scenario: Scenario, node: str | None, now: datetime
) -> GatePlan:
    """The gate of a scenario on a node.

    Args:
        store: the folder of references, whose gates share a suite's errors.
        references: the scenario's.
        scenario: what is gated.
        node: by :func:`~pytest_dsr1.gate.comparability.node`; None for the one with the most references.
        now: the time, for the age of references.

    Raises:
        NoReferenceError: there are too few on the node.
        ReferencesError: the folder cannot be listed, so nobody knows how many gates there are.
        UndecidableError: their noise cannot resolve delta.
    """
    counts = references.nodes
    runs, warnings = usable(references, node or max(counts, key=lambda name: counts[name]), now)
    if any_node(references.under_test):
        found = level([math.log(run.value) for run in runs], [run.node for run in runs], always=True)
        if len({run.node for run in runs}) == 1:
            warnings.append(f"{scenario.name}: references of one node say nothing of what nodes differ by")
    else:
        found = level([math.log(run.value) for run in runs], [run.day for run in runs])
        if len({run.day for run in runs}) == 1:
            warnings.append(
                f"{scenario.name}: references of one day say nothing of what days differ by: a shift of half "
                "the noise would raise false alarms to as much as 7%; record on more days"
            )
    unfit = comparability.unfit(scenario.gate.under_test, references.facts)
    warnings += (f"{scenario.name}: {each}" for each in unfit)
    error, delta = alpha(gates_of(store)), worse(references.metric, scenario.gate.delta_percent)
    most = scenario.gate.max_runs
    made = planned(found, error, delta, most)
    smallest = abs(in_percent(references.metric, resolved(found, error, most)))
    if made is None:
        raise UndecidableError(_undecidable(scenario, found, error, delta, smallest))
    return GatePlan(scenario, references, runs, made, smallest, tuple(warnings))


def _rounded(percent: float, towards: Callable[[float], int]) -> str:
    """To two digits, towards the side that keeps what is said of it true."""
    step = 10.0 ** (math.floor(math.log10(percent)) - 1)
    return f"{towards(percent / step) * step:g}"


def _unsure(scenario: Scenario, found: Level, smallest: float) -> str:
    """For noise that may only by chance be too much."""
    low, high = (end * 100 for end in found.interval)
    return (
        f"{scenario.name}: if the noise is what the references show, gate.max_runs = "
        f"{scenario.gate.max_runs} runs do not surely decide: the gate may end INCONCLUSIVE (the noise of "
        f"{found.runs} references that show {found.noise_percent:.2g}% is {low:.2g} to {high:.2g}%); what "
        f"is sure: {_larger_delta(smallest)}, or {how_to_get_more(scenario.name)}"
    )


def _larger_delta(smallest: float) -> str:
    if smallest > LARGEST_DELTA_PERCENT:
        return f"not gate.delta_percent, which is {LARGEST_DELTA_PERCENT} at most"
    return f"gate.delta_percent of at least {_rounded(smallest, math.ceil)}"


def _undecidable(scenario: Scenario, found: Level, error: float, delta: float, smallest: float) -> str:
    """What would help: a larger delta, more references, less noise."""
    most = scenario.gate.max_runs
    counts = range(found.runs + 1, _MOST_REFERENCES + 1)
    index = bisect_left(counts, -delta, key=lambda count: -resolved(_with(found, count), error, most))
    enough = runs_needed(found, error, delta, _MOST_RUNS)
    longer = f"gate.max_runs of at least {enough}" if enough else f"no number of runs up to {_MOST_RUNS} does"
    quieter = delta / resolved(replace(found, sd=1.0), error, most) * 100
    references = (
        f"{counts[index]} references with this noise; {how_to_get_more(scenario.name)}"
        if index < len(counts)
        else f"no number of references up to {_MOST_REFERENCES} does"
    )
    return (
        f"{scenario.name}: a loss of {scenario.gate.delta_percent:g}% cannot be told from the noise between "
        f"starts, {found.noise_percent:.2g}% in {found.runs} references, within gate.max_runs = {most} runs\n"
        f"  what would resolve it: {_larger_delta(smallest)}\n"
        f"  or {longer}\n"
        f"  or noise of at most {_rounded(quieter, math.floor)}%: other work on the machine, power and clock "
        "limits and temperatures are where to look, and runs that stand apart in "
        f"`pytest-dsr1 references show {scenario.name}`\n"
        f"  or {references}"
    )


def _with(found: Level, count: int) -> Level:
    """The level that so many references of the same kind would have."""
    shared = max(found.shared - 1 / found.runs, 0.0) + 1 / count
    return replace(found, freedom=found.freedom + count - found.runs, shared=shared, runs=count)
