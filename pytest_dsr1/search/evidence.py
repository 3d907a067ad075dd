"""What a probe shows: how many requests kept the limits, and how many independent ones those are worth.

A request's *strain* is the largest of its times over their limits: it keeps the SLO if that is at most 1.
Requests next to each other wait in the same queue, so they miss together. ``n`` such requests have the error
of fewer independent ones, the *effective* number.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy.special import betainc, betaln, chdtri

from pytest_dsr1.scenario.schema.search import LEAST_KEPT, WARM_UP_SHARE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pytest_dsr1.arrays import Floats

SIDE_ERROR = 0.001
"""The largest probability that a probe at a load that keeps the goal is said to miss it, or the reverse."""
LEAST_EFFECTIVE = 30.0
"""With fewer, the probe is too short to see its own correlation, and decides nothing."""
_LONGEST = 0.1
"""Misses are rare, so how they cluster is also read from this part of the requests, the longest ones."""
_EXACT = 64
"""Batches up to this many requests are summed in single precision, which is exact and fast."""
_SHORT = 40.0
"""Batches of a 32nd of the series hide a part of the correlation: about 16 over the effective number, and
more in short series. The effective number is reduced by up to this much."""
_FEWEST_BATCHES, _MANY_BATCHES = 4, 32
_LIKELY = 0.1
"""The variance of few batches is itself uncertain: only its lower limit counts, with this error."""

Side = Literal["keeps", "misses", "unknown"]
"""What a probe decides about its load."""


@dataclass(frozen=True, slots=True)
class Probe:
    """One probe: a load, and how its requests kept the SLO.

    Attributes:
        load: concurrency, or requests per second.
        requests: the number that was counted, without warm-up.
        kept: how many of them kept every limit; a failed request does not.
        effective: the number of independent requests whose share has the same error, at most ``requests``.
        oversaturated: whether it was stopped because its queue only grew.
        sent: all requests of the probe, for its cost.
    """

    load: float
    requests: int
    kept: int
    effective: float
    oversaturated: bool = False
    sent: int = 0

    @property
    def missed_share(self) -> float:
        """The share of requests beyond the limits; 1 if none was counted."""
        return 1 - self.kept / self.requests if self.requests else 1.0


def probe_of(load: float, strain: Floats, *, settling: int = 0, draining: int = 0) -> Probe:
    """Return the evidence of a probe's requests.

    Args:
        load: concurrency, or requests per second.
        strain: of all requests, in the order of their starts; infinity for one that failed.
        settling: the number of requests at the start that are not counted, if that is more than a tenth:
            the concurrency of a closed loop, whose first requests all start at once.
        draining: the number at the end that are not counted: in a closed loop the concurrency again, because
            the last requests run alone.
    """
    first = max(settling, math.ceil(WARM_UP_SHARE * len(strain)))
    counted = strain[first : max(len(strain) - draining, first)]
    kept = int((counted <= 1).sum())
    return Probe(load, len(counted), kept, effective(counted), sent=len(strain))


def effective(strain: Floats) -> float:
    """Return how many independent requests have the error of this share of requests within the limits.

    By batch means over batches of 1, 2, 4, ... requests: the variance of the share over that of independent
    requests, at the length where it is largest. Misses may be too rare to show that they come together, so
    the same is done for the tenth of the requests with the longest times, and the larger ratio counts.
    """
    if len(strain) < _FEWEST_BATCHES:
        return float(min(len(strain), 1))
    longest = float(np.partition(strain, place := int((1 - _LONGEST) * len(strain)))[place])
    ratio = _clustering(strain > 1)
    if longest < 1:
        ratio = max(ratio, _clustering(strain > longest))
    found = len(strain) / ratio
    return found * found / (found + _SHORT)


def _clustering(flags: NDArray[np.bool_]) -> float:
    """Return the variance of a share over that of as many independent requests, at least 1."""
    share = float(flags.mean())
    if share in {0.0, 1.0}:
        return 1.0
    worst, length, sums = 1.0, 1, flags.astype(np.float32)
    while (batches := len(sums)) >= _FEWEST_BATCHES:
        variance = (float(sums @ sums) - float(sums.sum(dtype=float)) ** 2 / batches) / (batches - 1)
        ratio = variance / length / (share * (1 - share))
        if batches < _MANY_BATCHES:
            ratio *= (batches - 1) / float(chdtri(batches - 1, _LIKELY))
        worst = max(worst, ratio)
        if length == _EXACT:
            sums = sums.astype(float)
        even = batches // 2 * 2
        sums = sums[:even:2] + sums[1:even:2]
        length *= 2
    return worst


def side(probe: Probe, goal: float, error: float = SIDE_ERROR) -> Side:
    """Return whether a probe's load keeps the goal, if its requests show it.

    May be asked after each request: a load on the other side is named with at most ``error``, however often
    it is asked. (The likelihood ratio against a load exactly at the goal, averaged over the shares on one
    side, is a supermartingale there; Ville 1939, Robbins 1970.)

    Args:
        probe: the evidence.
        goal: the share of requests that must keep the limits, above 0 and below 1.
        error: the largest probability of the wrong side.
    """
    if probe.oversaturated:
        return "misses"
    if probe.effective < LEAST_EFFECTIVE:
        return "unknown"
    missed = probe.missed_share * probe.effective
    within = probe.effective - missed
    tolerated = 1 - goal
    at_goal = missed * math.log(tolerated) + within * math.log(goal)
    needed = -math.log(error)
    # Shares of misses below the goal's, all of them equally likely.
    below = betainc(missed + 1, within + 1, tolerated)
    if below > 0 and probe.requests >= LEAST_KEPT:
        keeps = betaln(missed + 1, within + 1) + math.log(below) - math.log(tolerated) - at_goal
        if keeps >= needed:
            return "keeps"
    # Shares above it, equally likely on a logarithmic scale.
    above = betainc(within + 1, missed, goal) if missed > 0 else 0.0
    if above > 0:
        misses = betaln(missed, within + 1) + math.log(above) - math.log(-math.log(tolerated)) - at_goal
        if misses >= needed:
            return "misses"
    return "unknown"
