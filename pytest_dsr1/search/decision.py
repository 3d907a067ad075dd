"""The decision of a search: which load to probe next, or the highest load that keeps the goal.

Far from the answer a probe only says on which side its load is, with a stated error, and the next one is in
the geometric middle. Once both sides are near each other, or a probe cannot be distinguished from the goal, a
curve through the probes (:mod:`pytest_dsr1.search.fit`) gives the answer with its interval, and the next
probe is where it narrows that most (:mod:`pytest_dsr1.search.placing`). docs/background/gate-statistics.md
has the errors and the simulations.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from pytest_dsr1.scenario.schema.search import LEAST_KEPT
from pytest_dsr1.search.evidence import LEAST_EFFECTIVE, Probe, side
from pytest_dsr1.search.fit import Fit, fit
from pytest_dsr1.search.placing import Plan, Question, believed, doubted, placed, planned, rounded

FIT_ERROR = 0.02
"""The planned probability that the curve's interval does not hold the answer. With the errors of the sides,
0.1% for each of at most 12 probes, it is at most 3.2%; we promise 5%, because a curve is only a model."""
_Z = 2.326
"""Of the normal distribution, for ``FIT_ERROR`` on both sides together."""
_EXCESS = 3.719
"""Standard errors of a normal variable that are exceeded with a probability of 0.01%."""
_NEAR = 1.35
"""Once the loads on both sides differ by less than this factor, the curve is used, for loads that close."""
_END_FACTOR = 8.0
"""An end of the range is probed itself when the answer is known to be within this factor of it."""


@dataclass(frozen=True, slots=True)
class Found:
    """The answer of a search.

    Attributes:
        where: ``inside`` the range; ``above`` if its highest load keeps the goal; ``below`` if its lowest
            load does not; ``unclear`` if two probes contradict each other, or misses fall with load.
        load: the highest load that keeps the goal; the end of the range if it is above, 0 if it is below.
            If unclear, the highest load below which no probe misses the goal.
        low: the lower end of the interval; the answer is inside with a probability of at least 95%.
        high: the upper end; infinity if it is above the range, the lowest load if it is below.
        narrow: whether the interval is as narrow as asked.
        scatter: the variance of the probes around the curve over what their requests explain. Above 1, the
            difference was improbable, and the interval is wider for it.
        contradiction: a load that misses the goal, and one at least as high that keeps it; or a load that
            misses more often than a higher one.
        estimate: the answer before it is rounded to a load that can be run; 0 unless it is inside.
        se: the standard error of its natural logarithm.
    """

    where: Literal["inside", "above", "below", "unclear"]
    load: float
    low: float
    high: float
    narrow: bool = True
    scatter: float = 1.0
    contradiction: tuple[Probe, Probe] | None = None
    estimate: float = field(default=0.0, compare=False)
    se: float = field(default=0.0, compare=False)


def enough(plan: Plan, seen: Probe, goal: float) -> bool:
    """Return whether a running probe may stop; may be asked after each request."""
    if plan.sides and side(seen, goal) != "unknown":
        return True
    return seen.effective >= plan.effective and seen.requests >= max(plan.requests / 4, LEAST_KEPT)


def decide(asked: Question, probes: Sequence[Probe]) -> Plan | Found:
    """Return the next probe, or the answer.

    Args:
        asked: the range, the goal, and how narrow the interval must be.
        probes: all so far, in any order.
    """
    sides = [(probe, side(probe, asked.goal)) for probe in probes]
    keeps = max((p for p, s in sides if s == "keeps"), key=lambda p: p.load, default=None)
    misses = min((p for p, s in sides if s == "misses"), key=lambda p: p.load, default=None)
    low, high = (keeps.load if keeps else asked.low), (misses.load if misses else asked.high)
    if keeps and misses and low >= high:
        return _unclear(asked, sides, misses, keeps)
    if keeps and low >= asked.high:
        return Found("above", asked.high, asked.high, math.inf)
    if misses and high <= asked.low:
        return Found("below", 0.0, 0.0, asked.low)
    if keeps and misses and _is_narrow(asked, low, high - 1 if asked.whole else high):
        between = _between_sides(low, high, high - 1 if asked.whole else high, narrow=True)
        return _not_monotonic(asked, probes) or between
    unknown = [p for p, s in sides if s == "unknown" and p.effective > 0]
    last = len(probes) >= asked.most_probes
    if not last and not unknown and not (keeps and misses and high <= low * _NEAR):
        return planned(asked, probes, _between(asked, low, high, kept=bool(keeps), missed=bool(misses)))
    near = [*unknown, *(p for p in (keeps, misses) if p and not p.oversaturated)]
    near += [p for p, s in sides if s != "unknown" and p not in near and _is_near(p, near)]
    if not near:
        return _between_sides(low, high, high, narrow=False)
    return _refined(asked, probes, near, (low, high), last=last)


def _is_near(probe: Probe, others: Sequence[Probe]) -> bool:
    """Return whether a probe is so close to others that the same curve holds for it."""
    return not probe.oversaturated and any(1 / _NEAR < probe.load / p.load < _NEAR for p in others)


def _is_narrow(asked: Question, low: float, high: float) -> bool:
    """Return whether an interval is as narrow as asked; for whole numbers one step always is."""
    width = low * asked.width_percent / 100
    return high - low <= (max(width, 1.0) if asked.whole else width)


def _between(asked: Question, low: float, high: float, *, kept: bool, missed: bool) -> float:
    """Return a load between two, or an end of the range that the answer is close to."""
    if high <= low * _END_FACTOR:
        if not kept and missed:
            return low
        if kept and not missed:
            return high
    return rounded(asked, math.sqrt(low * high))


def _refined(
    asked: Question, probes: Sequence[Probe], near: Sequence[Probe], ends: tuple[float, float], *, last: bool
) -> Plan | Found:
    """Return the answer of the curve through near probes, or the probe that makes it narrower."""
    low, high = ends
    near = believed(near)
    found = fit(near, asked.goal, math.log(low), math.log(high), FIT_ERROR)
    answer = _answer(asked, found, ends)
    more = doubted(asked, probes, near, found, high)
    if (last or (answer.narrow and more is None)) and (doubt := _not_monotonic(asked, probes)):
        return doubt
    if last:
        return replace(answer, narrow=answer.narrow and more is None)
    if answer.narrow:
        return more or answer
    if found.high - found.low > math.log(_NEAR):
        return planned(asked, probes, _within(asked, near, found))
    return placed(asked, probes, near, found)


def _not_monotonic(asked: Question, probes: Sequence[Probe]) -> Found | None:
    """Return that misses fall with load, if two probes show it, with all loads that are in doubt.

    Their shares are compared by their effective requests. With shares that are equal everywhere, a pair would
    show it with a probability of 0.01%.
    """
    seen = [probe for probe in probes if not probe.oversaturated and probe.effective >= LEAST_EFFECTIVE]
    pairs = [(_excess(p, q), p, q) for p in seen for q in seen if p.load < q.load]
    shown = [(excess, p, q) for excess, p, q in pairs if excess > _EXCESS]
    if not shown:
        return None
    _, worse, better = max(shown, key=lambda pair: pair[0])
    first, last = min(p.load for _, p, _ in shown), max(q.load for _, _, q in shown)
    sides = [(probe, side(probe, asked.goal)) for probe in probes]
    low = max((p.load for p, s in sides if s == "keeps" and p.load < first), default=asked.low)
    high = min((p.load for p, s in sides if s == "misses" and p.load > last), default=asked.high)
    return Found("unclear", low, low, high, narrow=False, contradiction=(worse, better))


def _excess(lower: Probe, higher: Probe) -> float:
    """Return how much more the probe at the lower load misses, in standard errors of equal shares."""
    sizes = lower.effective, higher.effective
    missed = lower.missed_share * sizes[0] + higher.missed_share * sizes[1]
    share = (missed + 1) / (sum(sizes) + 2)
    error = math.sqrt(share * (1 - share) * (1 / sizes[0] + 1 / sizes[1]))
    return (lower.missed_share - higher.missed_share) / error


def _within(asked: Question, near: Sequence[Probe], found: Fit) -> float:
    """Return a load in a wide interval: its middle, or that of its longer part if the middle was probed."""
    middle = rounded(asked, math.exp(found.middle))
    if all(abs(math.log(probe.load / middle)) > math.log1p(asked.width_percent / 100) for probe in near):
        return middle
    longer = found.low if found.middle - found.low > found.high - found.middle else found.high
    return rounded(asked, math.exp((found.middle + longer) / 2))


def _answer(asked: Question, found: Fit, ends: tuple[float, float]) -> Found:
    """Return the interval of a fit; whole numbers are rounded down, which may widen it by one step.

    If probes scatter improbably, the curve is not the server's, and the interval is all that is between the
    loads whose sides are known.
    """
    low, load, high = (math.exp(each) for each in (found.low, found.middle, found.high))
    if found.scatter > 1:
        low, high = ends
    narrow = _is_narrow(asked, low, high)
    if asked.whole:
        low, load, high = (float(math.floor(each + 1e-9)) for each in (low, load, high))
    se = (found.high - found.low) / (2 * _Z)
    return Found("inside", load, low, high, narrow, found.scatter, estimate=math.exp(found.middle), se=se)


def _between_sides(low: float, misses: float, high: float, *, narrow: bool) -> Found:
    """Return an answer that is anywhere between a load that keeps the goal and one that misses it."""
    se = math.log(misses / low) / math.sqrt(12)  # of a uniform variable
    return Found("inside", low, low, high, narrow, estimate=math.sqrt(low * misses), se=se)


def _unclear(asked: Question, sides: Sequence[tuple[Probe, str]], misses: Probe, keeps: Probe) -> Found:
    """Return that a load keeps the goal although a lower one misses it, with all loads that are in doubt."""
    low = max((p.load for p, s in sides if s == "keeps" and p.load < misses.load), default=asked.low)
    high = min((p.load for p, s in sides if s == "misses" and p.load > keeps.load), default=asked.high)
    return Found("unclear", low, low, high, narrow=False, contradiction=(misses, keeps))
