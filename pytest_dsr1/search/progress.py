"""The progress of one search: its probes so far, the next one, and the answer."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from pytest_dsr1.measurement.measurement import Measurement
from pytest_dsr1.metrics.catalogue import AT_SLO
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
    """

    asked: Question
    found: Found
    throughput: float | None
    probes: tuple[Probe, ...]
    sentences: tuple[str, ...]
    at_ends: tuple[float, float] | None = None

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
            values[AT_SLO.name] = low, min(low, high), max(low, high)
        return values

    def judge(self, at_least: float) -> Verdict:
        """Return the verdict on a target: the highest load must be at least this.

        It is INCONCLUSIVE if the probes contradict each other and the target is among the loads in doubt.
        """
        found, metric = self.found, METRICS[self.asked.whole]
        measured: float | None = found.load
        status = Status.PASS if found.load >= at_least else Status.FAIL
        doubt = ""
        if found.where == "unclear":
            measured = None
            status = Status.PASS if found.low >= at_least else Status.FAIL
            if found.low < at_least <= found.high:
                status = Status.INCONCLUSIVE
        elif found.where == "above" and at_least > found.load:
            status = Status.INCONCLUSIVE
            doubt = f"the search ended at {number(found.load)}: search up to {number(at_least)}"
        elif found.low < at_least <= found.high:
            doubt = "the target is inside the interval: the next search may find the other side"
        side_of = (
            "meets" if status is Status.PASS else "misses" if status is Status.FAIL else "does not decide"
        )
        message = f"{self.sentences[0]}: {side_of} the target of at least {number(at_least)}"
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
        return Answer(SearchResult(self.asked, step, value, tuple(self.probes), sentences, ends))

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
