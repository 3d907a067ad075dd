"""The decision of a gate: runs of a candidate against accepted references, until the verdict is certain.

Losses are differences of natural logarithms of the steady figure, positive if the candidate is worse. After
each run, two one-sided t statistics are tested: a loss is shown (FAIL), or a loss of delta is ruled out
(PASS). Both spend their error over the looks (Hwang, Shih and DeCani). Boundaries of Z become boundaries of t
by equal tail areas (Jennison and Turnbull 2000, chapter 3). docs/background/gate-statistics.md has the
derivation and the simulations.
"""

from __future__ import annotations

import functools
import math
from bisect import bisect_left
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import stdtrit

from pytest_dsr1.gate.noise import Level
from pytest_dsr1.study.boundaries import boundaries, crossing, hwang_shih_decani, in_t

if TYPE_CHECKING:
    from pytest_dsr1.arrays import Floats

GATE_ALPHA = 0.005
"""Planned probability of FAIL without a loss, for one gate. We promise 1%: no model covers everything."""
SUITE_ALPHA = 0.015
"""The same for all gates of a suite together; each gate plans with its part. We promise 5%."""
BETA = 0.045
"""Planned probability that a loss of delta passes."""
GAMMA_FAIL, GAMMA_PASS = -2.0, -0.5
"""How the errors are spent: a FAIL late, because it costs a person a day; a PASS early, because most changes
are innocent."""
_CONFIRMED = 2
"""A FAIL needs at least this many runs that are each worse than half of delta."""


def alpha(gates: int) -> float:
    """Return the planned error of each gate of a suite with this many gates."""
    return min(GATE_ALPHA, SUITE_ALPHA / max(gates, 1))


@dataclass(frozen=True, slots=True)
class Design:
    """The design of a gate's decision; made once, before GPU time is spent.

    Attributes:
        delta: the loss that must not be missed, as a difference of logarithms.
        level: of the references.
        fail: t above which a loss is shown, after each number of runs up to the largest.
        passed: the same for ruling out a loss of delta.
    """

    delta: float
    level: Level
    fail: tuple[float, ...]
    passed: tuple[float, ...]

    @property
    def max_runs(self) -> int:
        """The largest number of runs; if they do not decide, the gate is INCONCLUSIVE."""
        return len(self.fail)

    def expected_runs(self) -> tuple[float, float]:
        """Return the average number of runs, without a loss and with a loss of delta.

        This assumes that the noise is that of the references.
        """
        looks = range(1, self.max_runs + 1)
        shared = self.level.shared
        shares = [(1 / self.max_runs + shared) / (1 / n + shared) for n in looks]
        drifts = [self.delta / self.level.sd / math.sqrt(1 / n + shared) for n in looks]
        lower = [drift - limit for drift, limit in zip(drifts, self.passed, strict=True)]
        upper = [
            math.inf if n < _CONFIRMED else max(limit, low)
            for n, limit, low in zip(looks, self.fail, lower, strict=True)
        ]
        means = []
        for drift in (0.0, drifts[-1]):
            ended = np.sum(crossing(shares, lower, upper, drift), axis=0)
            means.append(float(ended @ np.array(looks)) + (1 - float(ended.sum())) * self.max_runs)
        return means[0], means[1]


def _bounds(shared: float, runs: int, error: float, gamma: float) -> tuple[float, ...]:
    final = 1 / (1 / runs + shared)
    shares = [1 / (1 / n + shared) / final for n in range(1, runs + 1)]
    return boundaries(hwang_shih_decani(error, gamma), shares)


@functools.lru_cache(maxsize=512)
def _limits(
    shared: float, freedom: int, error: float, runs: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the boundaries of t for FAIL and PASS."""
    fail, passed = _bounds(shared, runs, error, GAMMA_FAIL), _bounds(shared, runs, BETA, GAMMA_PASS)
    freedoms = range(freedom, freedom + runs)  # each run adds one
    return in_t(fail, freedoms), in_t(passed, freedoms)


def resolved(level: Level, error: float, runs: int) -> float:
    """Return the smallest delta, as a difference of logarithms, that a gate of this many runs decides.

    One run is kept in reserve, because a single gate may have bad luck.

    Args:
        level: of the references.
        error: the planned alpha.
        runs: at least 2.
    """
    sure = runs - 1
    fail, passed = _limits(level.shared, level.freedom, error, sure)
    return (fail[-1] + passed[-1]) * math.sqrt(1 / sure + level.shared) * level.sd


def runs_needed(level: Level, error: float, delta: float, most: int) -> int | None:
    """Return how many runs a gate must be allowed to decide delta; None if ``most`` are not enough."""
    possible = range(_CONFIRMED, most + 1)
    index = bisect_left(possible, -delta, key=lambda runs: -resolved(level, error, runs))
    return possible[index] if index < len(possible) else None


def design(level: Level, error: float, delta: float, runs: int) -> Design:
    """Return the boundaries for at most this many runs; see :func:`planned`."""
    fail, passed = _limits(level.shared, level.freedom, error, runs)
    return Design(delta, level, fail, passed)


def planned(level: Level, error: float, delta: float, most: int) -> Design | None:
    """Return the design that decides delta in the fewest runs; None if ``most`` runs surely do not decide it.

    References only estimate the noise: with twenty, the real noise is 0.76 to 1.46 times the estimate. A gate
    is refused if ``most`` runs would not decide even at the low end of that interval. If they would decide
    there but not at the estimate itself, the gate may use all of them. The errors hold for any noise, because
    the boundaries are those of t, and each run of the gate improves the estimate.
    """
    runs = runs_needed(level, error, delta, most)
    if runs is None and runs_needed(replace(level, sd=level.interval[0]), error, delta, most) is not None:
        runs = most
    return None if runs is None else design(level, error, delta, runs)


@dataclass(frozen=True, slots=True)
class Look:
    """The evidence after some runs; arrays of one shape if many gates are evaluated together.

    Attributes:
        decision: 1 for FAIL, -1 for PASS, 0 for one more run.
        loss: the estimate, as a difference of logarithms; positive is worse.
        low: the lower limit of ``loss``, at the error of FAIL.
        high: the upper limit of ``loss``, at the error of PASS.
        better: whether an improvement is beyond the noise, by one t test at ``GATE_ALPHA``. It decides
            nothing, and most gates pass before more could be shown.
    """

    decision: Any
    loss: Any
    low: Any
    high: Any
    better: Any


def look(gate: Design, losses: Floats, *, level_sd: Floats | float | None = None) -> Look:
    """Return the evidence of the losses of all runs so far.

    Args:
        gate: the design.
        losses: of each run against the mean of the references, as differences of logarithms; the last axis
            is the runs, axes before it are gates of the same design.
        level_sd: the noise of each gate's own references, if there are axes before the last.
    """
    runs = losses.shape[-1]
    level = gate.level
    sd_ref = level.sd if level_sd is None else level_sd
    mean = losses.mean(axis=-1)
    spread = ((losses - mean[..., None]) ** 2).sum(axis=-1)
    sd = np.sqrt((level.freedom * sd_ref**2 + spread) / (level.freedom + runs - 1))
    error = sd * math.sqrt(1 / runs + level.shared)
    low, high = mean - gate.fail[runs - 1] * error, mean + gate.passed[runs - 1] * error
    better = mean < float(stdtrit(level.freedom + runs - 1, GATE_ALPHA)) * error
    confirmed = (losses > gate.delta / 2).sum(axis=-1) >= _CONFIRMED
    ruled_out = high < gate.delta
    decision = np.where(ruled_out, -1, np.where((low > 0) & confirmed, 1, 0))
    return Look(decision, mean, low, high, better)
