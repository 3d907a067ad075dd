"""The decision of pairs: differences of neighbors, until it is certain which side is faster.

A pair is one engine start of each side, one right after the other. Its difference is the logarithm of the old
figure minus that of the new one, with the sign of a loss: positive if the new side is worse. What both starts
of a pair share (machine, day) is not in it. After each pair from ``FIRST`` on, t statistics of the mean
difference are tested: it is above 0 (SLOWER), below 0 (FASTER), or within delta of 0 in both directions
(SAME). Each test spends its error over the looks (Hwang, Shih and DeCani); boundaries of Z become boundaries
of t by equal tail areas. The noise is that of the differences themselves, so no references are needed.
docs/background/gate-statistics.md has the simulations.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import ndtri, stdtr

from pytest_dsr1.study.boundaries import boundaries, hwang_shih_decani, in_t
from pytest_dsr1.study.losses import RESOLUTION

if TYPE_CHECKING:
    from pytest_dsr1.arrays import Floats

ALPHA = 0.005
"""Planned probability of SLOWER if the sides are equal, and of FASTER too. We promise 1% for each: no model
covers everything."""
BETA = 0.045
"""Planned probability that a loss of delta is called SAME, and a gain of delta too."""
GAMMA = 1.0
"""How the errors are spent: early, because each pair costs two engine starts."""
FIRST = 4
"""The first look is after this many pairs. If each start has one of two speeds by chance, the new side is the
slower one in a quarter of pairs, always by the same difference: in each of four pairs in 0.4% of comparisons,
in each of three in 1.6%."""
MOST_PAIRS = 24
"""The largest number of pairs by default: they surely decide if the noise is up to 0.57 of delta."""
PERIOD_ALPHA = 0.01
"""The probability that the two places in a pair are called different if they are equal."""
_DRAWN, _SEED = 4_000, 14
"""Simulated comparisons for an expected number of pairs: its error is about 0.1."""


class Outcome(IntEnum):
    """The outcome of a comparison so far."""

    UNDECIDED = 0
    SLOWER = 1
    FASTER = -1
    SAME = 2


@dataclass(frozen=True, slots=True)
class Design:
    """The design of a comparison; made before its first run.

    Attributes:
        delta: the loss that must not be missed, as a difference of logarithms.
        shown: t beyond which a loss or a gain is shown, after each number of pairs from ``FIRST`` on.
        excluded: t beyond which a loss or a gain of delta is ruled out, for the same numbers.
    """

    delta: float
    shown: tuple[float, ...]
    excluded: tuple[float, ...]

    @property
    def most_pairs(self) -> int:
        """The largest number of pairs; if they do not decide, the comparison is INCONCLUSIVE."""
        return FIRST + len(self.shown) - 1

    @property
    def resolved_noise(self) -> float:
        """The largest noise between engine starts at which the largest number of pairs surely decides."""
        return self.delta / (self.shown[-1] + self.excluded[-1]) * math.sqrt(self.most_pairs / 2)

    def expected_pairs(self, noise: float) -> tuple[float, float]:
        """Return the average number of pairs without a loss and with a loss of delta.

        Args:
            noise: the standard deviation of the figures of either side, with the error within a run, normal,
                as a difference of logarithms.
        """
        return _expected(self, noise)


@functools.lru_cache(maxsize=64)
def design(delta: float, most: int = MOST_PAIRS) -> Design:
    """Return the boundaries for at most this many pairs.

    Args:
        delta: the loss that must not be missed, as a difference of logarithms.
        most: at least ``FIRST``.

    Raises:
        ValueError: fewer pairs than ``FIRST``.
    """
    if most < FIRST:
        raise ValueError(f"at least {FIRST} pairs are needed, not {most}")
    looks = range(FIRST, most + 1)
    shares, freedoms = [pairs / most for pairs in looks], [pairs - 1 for pairs in looks]
    shown, excluded = (
        in_t(boundaries(hwang_shih_decani(error, GAMMA), shares), freedoms) for error in (ALPHA, BETA)
    )
    return Design(delta, shown, excluded)


@dataclass(frozen=True, slots=True)
class Look:
    """The evidence after some pairs; arrays of one shape if many comparisons are evaluated together.

    Attributes:
        outcome: an :class:`Outcome` as a number.
        loss: the estimate, as a difference of logarithms; positive if the new side is worse.
        low: the lower end of its interval, a repeated confidence interval (Jennison and Turnbull, JRSS B
            1989), which holds at all looks together. It has the error of the outcome's test: that of SAME
            lies within delta, and that of UNDECIDED holds 0.
        high: its upper end.
        noise: the standard deviation between engine starts that the differences show.
        differs: whether a loss or a gain is shown, even if it is less than delta.
    """

    outcome: Any
    loss: Any
    low: Any
    high: Any
    noise: Any
    differs: Any


def look(plan: Design, differences: Floats) -> Look:
    """Return the evidence of the differences of all pairs so far.

    Args:
        plan: the design.
        differences: losses of the new side against the old one, as differences of logarithms; the last axis
            is the pairs, from ``FIRST`` to the largest number, and axes before it are comparisons.
    """
    pairs = differences.shape[-1]
    mean = differences.mean(axis=-1)
    sd = np.maximum(differences.std(axis=-1, ddof=1), RESOLUTION)
    error = sd / math.sqrt(pairs)
    shown, excluded = plan.shown[pairs - FIRST] * error, plan.excluded[pairs - FIRST] * error
    same = np.abs(mean) + excluded < plan.delta
    differs = np.abs(mean) > shown
    decided = np.where(differs, np.sign(mean), Outcome.UNDECIDED)  # the sign is SLOWER or FASTER
    outcome = np.where(same, Outcome.SAME, decided).astype(int)
    half = np.where(same, excluded, shown)
    return Look(outcome, mean, mean - half, mean + half, sd / math.sqrt(2), differs)


@functools.lru_cache(maxsize=64)
def _expected(plan: Design, noise: float) -> tuple[float, float]:
    """Simulate comparisons; with a noise from few pairs, boundaries of t have no simpler exact answer."""
    drawn = np.random.default_rng(_SEED).random((_DRAWN, plan.most_pairs))
    scatter = ndtri(drawn) * noise * math.sqrt(2)
    innocent, guilty = (float(outcomes(plan, scatter + loss)[1].mean()) for loss in (0.0, plan.delta))
    return innocent, guilty


def outcomes(plan: Design, differences: Floats) -> tuple[Any, Any]:
    """Return the outcome of each of many comparisons, and how many pairs it takes.

    Args:
        plan: the design.
        differences: one row per comparison, with the largest number of pairs.
    """
    comparisons = len(differences)
    found, taken = np.zeros(comparisons, int), np.full(comparisons, plan.most_pairs)
    alive = np.arange(comparisons)
    for pairs in range(FIRST, plan.most_pairs + 1):
        seen = look(plan, differences[alive, :pairs])
        found[alive], taken[alive] = seen.outcome, pairs
        alive = alive[seen.outcome == Outcome.UNDECIDED]
    return found, taken


@dataclass(frozen=True, slots=True)
class Period:
    """The difference between the two places in a pair; arrays if many comparisons are evaluated together.

    Attributes:
        loss: of the second start of a pair against the first, as a difference of logarithms.
        shown: whether it is beyond the noise: a t test of pairs with one order against those with the other
            one, two-sided, at ``PERIOD_ALPHA`` (Hills and Armitage 1979).
    """

    loss: Any
    shown: Any


def period(differences: Floats, old_first: Floats) -> Period:
    """Return whether the second start of a pair differs from the first: a warm cache, a hot card.

    It decides nothing: both orders are equally frequent, so it moves the comparison by at most its own size
    divided by the number of pairs. If the first start changes the second only if it is one certain side, that
    cannot be told from a difference between the sides.

    Args:
        differences: as of :func:`look`, at least ``FIRST`` pairs.
        old_first: 1 for each pair whose first start was of the old side, 0 for others; of the same shape.
    """
    pairs = differences.shape[-1]
    first, second = old_first.sum(axis=-1), pairs - old_first.sum(axis=-1)
    one = (differences * old_first).sum(axis=-1) / first
    other = (differences * (1 - old_first)).sum(axis=-1) / second
    centered = differences - np.where(old_first == 1, one[..., None], other[..., None])
    variance = np.maximum((centered**2).sum(axis=-1) / (pairs - 2), RESOLUTION**2)
    t = (one - other) / np.sqrt(variance * (1 / first + 1 / second))
    return Period((one - other) / 2, 2 * stdtr(pairs - 2, -np.abs(t)) < PERIOD_ALPHA)
