"""The progress of one search: its probes so far, the next one, and the answer."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from pytest_dsr1.measurement.measurement import Measurement
from pytest_dsr1.metrics.catalogue import AT_SLO, metric_named
from pytest_dsr1.metrics.inputs import SloLimits
from pytest_dsr1.search.decision import Found, decide
from pytest_dsr1.search.evidence import Probe, side
from pytest_dsr1.search.measured import measured_probe
from pytest_dsr1.search.placing import Plan, Question
from pytest_dsr1.study.loop import Answer, Next
from pytest_dsr1.text import number
from pytest_dsr1.verdict.verdict import Status, Verdict, subject_of

THROUGHPUT = "total_output_throughput"
METRICS = {True: "highest_concurrency", False: "highest_rate"}
"""The name of the result; by whether loads are whole numbers."""
UNITS = {True: "requests in flight", False: "req/s"}


@dataclass(frozen=True, slots=True)
class SearchResult:
    """What a search found.

    Attributes:
        asked: what it searched.
        found: the answer with its interval.
        throughput: output tokens per second at ``found.load``, between those of the nearest probes; None
            without an answer inside the range, or if a probe has none.
        probes: every probe that counts, in order.
        sentences: the answer, and everything that a person must know about it.
        at_ends: the throughput at the lower end of the interval, which surely keeps the SLO, and at the
            upper end; None without ``throughput``.
        figures: what a gate compares, by metric: the value at the answer before it is rounded, and the
            standard error in percent, which for the throughput is that of the load; empty unless the answer
            is inside the range.
    """

    asked: Question
    found: Found
    throughput: float | None
    probes: tuple[Probe, ...]
    sentences: tuple[str, ...]
    at_ends: tuple[float, float] | None = None
    figures: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def requests(self) -> int:
        """The requests of all probes."""
        return sum(probe.sent for probe in self.probes)

    @property
    def metrics(self) -> dict[str, tuple[float, float, float]]:
        """The value of each metric, with its interval; none if the probes contradict each other.

        The throughput is at the lower end of the load's interval.
        """
        found = self.found
        if found.where == "unclear":
            return {}
        values = {METRICS[self.asked.whole]: (found.load, found.low, found.high)}
        if self.at_ends is not None:
            low, high = self.at_ends
            values[AT_SLO] = low, min(low, high), max(low, high)
        return values

    def _known(self, metric: str) -> tuple[float | None, float, float]:
        """Return the value of a metric, if there is one, and between which values it surely is."""
        if metric in self.metrics:
            return self.metrics[metric]
        if self.found.where == "below":
            return 0.0, 0.0, 0.0
        if metric == AT_SLO:
            return None, 0.0, math.inf
        return None, self.found.low, self.found.high

    def judge(self, metric: str, at_least: float) -> Verdict:
        """Return the verdict on a target: what was found must be at least this.

        It is INCONCLUSIVE if the probes contradict each other and the target is among the values in doubt.

        Args:
            metric: the highest load, or the throughput there.
            at_least: in the metric's unit.
        """
        measured, low, high = self._known(metric)
        status = Status.PASS if (low if measured is None else measured) >= at_least else Status.FAIL
        inside, doubt = low < at_least <= high, ""
        if measured is None and inside:
            status = Status.INCONCLUSIVE
        elif self.found.where == "above" and status is Status.FAIL:
            status = Status.INCONCLUSIVE
            further = "higher" if metric == AT_SLO else f"up to {number(at_least)}"
            doubt = f"the search ended at {number(self.found.load)}: search {further}"
        elif inside:
            doubt = "the target is inside the interval: the next search may find the other side"
        side_of = (
            "meets" if status is Status.PASS else "misses" if status is Status.FAIL else "does not decide"
        )
        also = f"; {self._throughput()}" if metric == AT_SLO else ""
        message = f"{self.sentences[0]}{also}: {side_of} the target of at least {number(at_least)}"
        return Verdict(
            status=status,
            subject=subject_of("search", metric),
            metric=metric,
            measured=measured,
            target=at_least,
            bound=at_least,
            margin_percent=None if measured is None else (measured / at_least - 1) * 100,
            message="\n  ".join([f"{message}; {doubt}" if doubt else message, *self.sentences[1:]]),
            doubt=doubt,
        )

    def _throughput(self) -> str:
        """Return the throughput that a target is about, in words."""
        value, low, high = self._known(AT_SLO)
        metric = metric_named(AT_SLO)
        if value is None:
            return f"{metric.label} unknown"
        return f"{metric.label} {number(value)} {metric.unit} (interval {number(low)} to {number(high)})"


@dataclass
class SearchProgress:
    """One search so far: a study whose point is the next probe.

    Attributes:
        name: the scenario's name.
        asked: what is searched.
        limits: of the SLO.
        again: the command that searches again.
        probes: those that count, in order.
        left_out: why the others do not, in order.
        throughputs: output tokens per second by load, of the last probe there.
    """

    name: str
    asked: Question
    limits: SloLimits
    again: str
    probes: list[Probe] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    throughputs: dict[float, float] = field(default_factory=dict)

    def step(self) -> Next[Plan] | Answer[SearchResult]:
        """Return the next probe, or the result."""
        step = decide(self.asked, self.probes)
        if isinstance(step, Plan):
            return Next(step, self._why(step) if self.probes else "")
        sentences = tuple(self._sentences(step))
        throughputs = self._throughputs(step)
        value, ends = (None, None) if throughputs is None else (throughputs[1], throughputs[::2])
        figures = self._figures(step)
        return Answer(SearchResult(self.asked, step, value, tuple(self.probes), sentences, ends, figures))

    def leave_out(self, point: Plan, measurement: Measurement | None, why: str) -> str:  # noqa: ARG002 - a study
        """Note a probe that does not count; return a sentence about it."""
        self.left_out.append(why)
        return f"{self.name}: the probe at {number(point.load)} does not count: {why}"

    def count(self, point: Plan, measurement: Measurement) -> None:
        """Take in a probe that counts."""
        load = measurement.scenario.load
        probe = measured_probe(
            point.load,
            measurement.result.records,
            self.limits,
            self.asked.goal,
            concurrency=load.at_once if load.arrival is None else None,
        )
        self.probes.append(probe)
        if throughput := measurement.metrics.get(THROUGHPUT):
            self.throughputs[point.load] = throughput.value

    def _why(self, plan: Plan) -> str:
        """Return what the last probe showed, and what comes next."""
        return (
            f"{self.name}: {shown(self.probes[-1], self.asked)}; probe {len(self.probes) + 1} of at most "
            f"{self.asked.most_probes}: {number(plan.load)} {UNITS[self.asked.whole]}, at most "
            f"{plan.requests:,} requests"
        )

    def _throughputs(self, found: Found) -> tuple[float, float, float] | None:
        """Return the throughput at the lower end, the answer, and the upper end; None if unknown."""
        if found.where in {"below", "unclear"} or not self.throughputs:
            return None
        low, value, high = (self._throughput_at(load) for load in (found.low, found.load, found.high))
        return low, value, high

    def _figures(self, found: Found) -> dict[str, tuple[float, float]]:
        """Return what a gate compares, with standard errors."""
        if found.where != "inside":
            return {}
        figures = {METRICS[self.asked.whole]: (found.estimate, 100 * found.se)}
        if self.throughputs:
            value, low, high = (
                self._throughput_at(found.estimate * math.exp(errors * found.se)) for errors in (0, -1, 1)
            )
            figures[AT_SLO] = value, 100 * abs(high - low) / (2 * value)
        return figures

    def _throughput_at(self, at: float) -> float:
        """Return the throughput at a load, on a line between the nearest probes, or that of the last one."""
        loads = sorted(self.throughputs)
        lower = max((load for load in loads if load <= at), default=loads[0])
        upper = min((load for load in loads if load >= at), default=loads[-1])
        one, other = self.throughputs[lower], self.throughputs[upper]
        between = (at - lower) / (upper - lower) if upper > lower else 0.0
        return one + (other - one) * between

    def _sentences(self, found: Found) -> Iterator[str]:
        """Yield the answer in one sentence, and then what else must be known about it."""
        asked, unit = self.asked, UNITS[self.asked.whole]
        goal = f"{number(100 * asked.goal)}% of requests within the SLO"
        label = f"{self.name}: {METRICS[asked.whole].replace('_', ' ')} with {goal}"
        after = f"after {len(self.probes)} probes of {sum(probe.sent for probe in self.probes):,} requests"
        if found.where == "above":
            yield f"{label}: at least {number(found.low)} {unit}, the end of the range, {after}"
            yield "every load of the range keeps the SLO: search higher, or set a stricter SLO"
        elif found.where == "below":
            yield f"{label}: less than {number(found.high)} {unit}, the start of the range, {after}"
            yield "no load of the range keeps the SLO: search lower, or set a looser SLO"
        elif found.contradiction is not None:
            interval = f"{number(found.low)} to {number(found.high)} {unit}"
            yield f"{label}: UNCLEAR, somewhere in {interval}, {after}"
            lower, upper = (shown(probe, asked) for probe in found.contradiction)
            if side(found.contradiction[0], asked.goal) != "misses":
                yield (
                    f"the answer is not monotonic: more load missed less, beyond the errors: {lower}, but "
                    f"{upper}; the server changed between them, or is faster at some loads: look at both, "
                    "then search a narrower range"
                )
                return
            yield (
                f"two probes contradict each other beyond their errors: {lower}, but {upper}; the server "
                "changed between them, or more load does not make it slower: look at both, then search again"
            )
        else:
            interval = f"interval {number(found.low)} to {number(found.high)}"
            yield f"{label}: {number(found.load)} {unit} ({interval}), {after}"
            if not found.narrow:
                yield (
                    f"the interval is wider than the {asked.width_percent:g}% asked for: {len(self.probes)} "
                    "probes were not enough, because misses change little with load or come in clusters"
                )
            if found.scatter > 1:
                yield (
                    f"the probes scatter {math.sqrt(found.scatter):.1f} times as much as their requests "
                    "explain, and the interval is wider for it: check what else ran on the machine"
                )


def shown(probe: Probe, asked: Question) -> str:
    """Return what a probe showed, in one sentence without its end."""
    if probe.oversaturated:
        return f"{number(probe.load)} {UNITS[asked.whole]} only made the queue grow, and was stopped"
    what = {"keeps": "keeps the goal", "misses": "misses the goal", "unknown": "does not decide"}
    return (
        f"{number(probe.load)} {UNITS[asked.whole]} {what[side(probe, asked.goal)]} "
        f"({100 * (1 - probe.missed_share):.2f}% of {probe.requests:,} requests)"
    )
