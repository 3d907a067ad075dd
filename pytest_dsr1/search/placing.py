"""Where a search puts its next probe, and how long that is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from pytest_dsr1.scenario.schema.search import LEAST_KEPT, WARM_UP_SHARE
from pytest_dsr1.search.evidence import Probe
from pytest_dsr1.search.fit import Fit, used

MOST_PROBES = 12
_SIDE_MISSES = 12.0
"""A probe that looks for its side gives up after this many times 1 / (1 - goal) effective requests. A load
without any miss needs about 9."""
_FEWEST, _FEWEST_MISSES = 300.0, 2.0
"""The fewest effective requests of a probe for the curve, and the same as a multiple of 1 / (1 - goal)."""
_GROWTH = 3.0
"""It has at most this many times as many as all probes before, whose steepness may be wrong."""
_PART, _LAST = 0.5, 3
"""It brings this part of what is missing, because the one after it is placed better. When only this number of
probes is left, it brings everything."""
_APART = 0.5
"""Its distance from the answer, in units of 1 / steepness: 1.6 times as many misses, or as few."""
_SPARE = 1.25
"""Factor on the number of requests, so that one probe more is seldom needed."""
_Z = 2.326
"""Of the normal distribution, for 2% on both sides together."""
_MARGIN = 2.0
"""A probe may send this many times the requests that it is expected to need."""
_CLUSTERING = 5.0
"""Requests per effective one, before a probe has shown it."""
_BELIEVED_STEPS = 4
"""An answer needs a long probe on both sides of it that is at most this many widths away."""


@dataclass(frozen=True, slots=True)
class Question:
    """What a search asks.

    Attributes:
        low: the lowest load, above 0.
        high: the highest, at least ``low``.
        goal: the share of requests that must keep every limit, above 0 and below 1.
        width_percent: the largest width of the interval, as a percentage of its lower end.
        whole: whether loads are whole numbers, as a concurrency is. The interval may then be one step wide,
            and rounding may add one more step.
        most_probes: the largest number of probes.
        most_requests: the largest number of requests of one probe.
    """

    low: float
    high: float
    goal: float
    width_percent: float = 5.0
    whole: bool = True
    most_probes: int = MOST_PROBES
    most_requests: int = 10_000_000


@dataclass(frozen=True, slots=True)
class Plan:
    """The next probe.

    Attributes:
        load: concurrency, or requests per second.
        effective: the number of effective requests after which it stops.
        requests: the most that it sends, about twice as many as that is expected to take.
        sides: whether it stops as soon as its side is known.
    """

    load: float
    effective: float
    requests: int
    sides: bool


def rounded(asked: Question, load: float) -> float:
    """Return a load that can be run, within the range."""
    return min(max(float(round(load)) if asked.whole else load, asked.low), asked.high)


def planned(asked: Question, probes: Sequence[Probe], load: float, effective: float | None = None) -> Plan:
    """Return a probe of a load; for its side alone unless a number of effective requests is given.

    How many requests that takes is taken from the more clustered of the two probes at the nearest loads.
    """
    needed = _SIDE_MISSES / (1 - asked.goal) if effective is None else effective
    shown = sorted(
        (abs(math.log(p.load / load)), p.requests / p.effective)
        for p in probes
        if p.effective >= 1 and not p.oversaturated
    )
    clustering = max((ratio for _, ratio in shown[:2]), default=_CLUSTERING)
    requests = math.ceil(max(_MARGIN * needed * clustering, LEAST_KEPT / (1 - WARM_UP_SHARE)))
    if asked.whole:  # the first and the last of a closed loop do not count
        requests += math.ceil(_MARGIN * load)
    return Plan(load, needed, min(requests, asked.most_requests), sides=effective is None)


def believed(near: Sequence[Probe]) -> list[Probe]:
    """Return the probes with no more effective requests than the trend over all of them allows.

    Misses come in clusters, and a probe that met few by chance looks as if its requests were independent. So
    each is at least as clustered as a line through all of them says, on logarithms, which does not fall.
    """
    at = np.log([p.load for p in near])
    shown = np.log([p.requests / p.effective for p in near])
    weight = np.sqrt([p.effective for p in near])
    weight /= weight.sum()
    center, mean = weight @ at, weight @ shown
    spread = weight @ (at - center) ** 2
    slope = max(weight @ ((at - center) * shown) / spread, 0.0) if spread > 0 else 0.0
    trend = np.exp(mean + slope * (at - center))
    return [
        replace(p, effective=min(p.effective, p.requests / float(least)))
        for p, least in zip(near, trend, strict=True)
    ]


def _least(asked: Question) -> float:
    """Return the fewest effective requests of a probe for the curve."""
    return max(_FEWEST_MISSES / (1 - asked.goal), _FEWEST)


def doubted(
    asked: Question, probes: Sequence[Probe], near: Sequence[Probe], found: Fit, high: float
) -> Plan | None:
    """Return a probe on the side of the answer that has no long one yet; None if both have.

    A short probe that began with an empty queue may show no misses at a load that cannot keep the goal.

    Args:
        asked: what is searched.
        probes: all so far.
        near: those of the curve.
        found: the curve.
        high: the lowest load that is known to miss the goal.
    """
    step = math.log1p(asked.width_percent / 100)
    reach = _BELIEVED_STEPS * step
    long = [math.log(p.load) for p in near if p.effective >= _FEWEST]
    below = any(found.middle - reach <= at <= found.high for at in long)
    if not below and math.log(asked.low) < found.low:
        return planned(asked, probes, rounded(asked, math.exp(found.middle - step)), _least(asked))
    above = any(found.low <= at <= found.middle + reach for at in long)
    if not above and math.log(high) > found.middle + reach:
        return planned(asked, probes, rounded(asked, math.exp(found.middle + step)), _least(asked))
    return None


def placed(asked: Question, probes: Sequence[Probe], near: Sequence[Probe], found: Fit) -> Plan:
    """Return the probe that narrows the interval of the curve most.

    Probes lie on both sides of the answer, because the answer is then read between them and hardly depends
    on the steepness. So the next one is on the side that has less information.

    Args:
        asked: what is searched.
        probes: all so far.
        near: those of the curve.
        found: the curve.
    """
    step = math.log1p(asked.width_percent / 100)
    apart = min(max(_APART / found.steepness, step / 4), step)

    def information(load: float) -> float:
        """Return the Fisher information of an effective request on the logarithm of the answer."""
        away = found.steepness * (math.log(load) - found.middle)
        odds = (1 - asked.goal) / asked.goal * math.exp(min(away, 50.0))
        return found.steepness**2 * odds / (1 + odds) ** 2

    lean = sum(
        p.effective * information(p.load) * max(min(math.log(p.load) - found.middle, apart), -apart)
        for p in near
        if used(p, asked.goal)
    )
    load = rounded(asked, math.exp(found.middle + math.copysign(apart, -lean)))
    width = max(step, math.log1p(math.exp(-found.middle))) if asked.whole else step
    missing = _SPARE * (2 * _Z / width) ** 2 - 1 / found.sd**2
    needed = found.scatter * missing / information(load)
    if len(probes) < asked.most_probes - _LAST:
        needed *= _PART
    least = _least(asked)
    most = max(_GROWTH * sum(p.effective for p in near), least)
    return planned(asked, probes, load, min(max(needed, least), most))
