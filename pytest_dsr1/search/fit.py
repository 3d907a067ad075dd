"""The share of misses around the highest load that keeps the goal: a logistic curve on the logarithm of load.

    logit(misses(x)) = logit(1 - goal) + steepness * (ln x - ln answer)

The curve has two unknowns and is evaluated on a grid. The interval of the answer is its posterior over all
steepnesses, which are equally likely on a logarithmic scale. A probe counts with its effective requests.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import chdtrc, expit, logit, rel_entr

from pytest_dsr1.search.evidence import Probe

if TYPE_CHECKING:
    from pytest_dsr1.arrays import Floats

_STEEPNESSES = np.geomspace(1.0, 256.0, 25)
"""Per natural logarithm of load."""
_CELLS = 160
_FINE = 40
"""The interval must span this many cells, or the grid is made again around it."""
_FINEST = 1e-6
"""The smallest cell."""
_FAR = 4.0
"""Beyond this many times the tolerated share of misses, or below that part of it, a probe only says that the
share is at least that far: the curve of a queue is not logistic over a wide range."""
_BEND = 0.1
"""The curve may be wrong by this much times the square of the distance from the goal, on the logistic scale:
the misses of a queue with one server rise exponentially until all miss, those of a normal time less."""
_MISFIT = 0.01
"""If probes scatter this improbably, their errors are taken to be as large as the scatter."""


@dataclass(frozen=True, slots=True)
class Fit:
    """What the probes say together; loads are natural logarithms.

    Attributes:
        low: the lower end of the interval.
        middle: the answer, with as much probability below as above.
        high: the upper end of the interval.
        sd: the standard deviation of the answer.
        steepness: of the curve, per natural logarithm of load; the median.
        scatter: the variance of the probes around the curve over the one that their requests explain;
            1 unless that is improbable.
        best: the most probable answer and steepness.
    """

    low: float
    middle: float
    high: float
    sd: float
    steepness: float
    scatter: float
    best: tuple[float, float]


def fit(probes: Sequence[Probe], goal: float, low: float, high: float, error: float) -> Fit:
    """Return the answer and its interval.

    Args:
        probes: around the answer; at least one.
        goal: the share of requests that must keep the limits.
        low: the natural logarithm of the least possible answer.
        high: that of the greatest.
        error: the probability beyond the interval, on both sides together.
    """
    found = _fit(probes, goal, low, high, error, 1.0)
    scatter = _scatter(probes, goal, found)
    return found if scatter == 1 else _fit(probes, goal, low, high, error, scatter)


def _fit(probes: Sequence[Probe], goal: float, low: float, high: float, error: float, scatter: float) -> Fit:
    """Return the fit with errors that are enlarged for a known scatter."""
    at, size, missed = _columns(probes, 1 - goal)
    while True:
        cells = np.linspace(low, high, _CELLS + 1)
        answers = (cells[1:] + cells[:-1]) / 2
        weights = _posterior(at, size / scatter, missed / scatter, float(logit(1 - goal)), answers)
        by_answer, by_steepness = weights.sum(axis=1), weights.sum(axis=0)
        below = np.concatenate([[0.0], np.cumsum(by_answer)])
        begin, middle, end = np.interp([error / 2, 0.5, 1 - error / 2], below, cells)
        width = (high - low) / _CELLS
        if end - begin >= _FINE * width or width < _FINEST:
            break
        margin = end - begin + 2 * width
        low, high = max(low, float(begin) - margin), min(high, float(end) + margin)
    mean = float(by_answer @ answers)
    best = np.unravel_index(int(weights.argmax()), weights.shape)
    return Fit(
        float(begin),
        float(middle),
        float(end),
        math.sqrt(float(by_answer @ (answers - mean) ** 2)),
        float(np.exp(np.interp(0.5, np.cumsum(by_steepness), np.log(_STEEPNESSES)))),
        scatter,
        (float(answers[best[0]]), float(_STEEPNESSES[best[1]])),
    )


def _columns(probes: Sequence[Probe], tolerated: float) -> tuple[Floats, Floats, Floats]:
    """Return for each probe the natural logarithm of its load, its requests, and those of them that missed.

    The requests are the effective ones, fewer where the curve itself may be wrong.
    """
    size = np.array([probe.effective for probe in probes])
    share = np.array([probe.missed_share for probe in probes])
    smooth = (share * size + tolerated) / (size + 1)
    away = logit(smooth) - logit(tolerated)
    size = size / (1 + size * smooth * (1 - smooth) * (_BEND * away**2) ** 2)
    return np.log([probe.load for probe in probes]), size, size * share


def _posterior(at: Floats, size: Floats, missed: Floats, tolerated: float, answers: Floats) -> Floats:
    """Return the probability of each answer (rows) with each steepness (columns)."""
    curve = tolerated + _STEEPNESSES[None, :, None] * (at - answers[:, None, None])
    shown = logit(missed / size)
    least, most = _ends(tolerated)
    curve = np.where(
        shown > most, np.minimum(curve, most), np.where(shown < least, np.maximum(curve, least), curve)
    )
    logs = (missed * curve - size * np.logaddexp(0.0, curve)).sum(axis=2)
    weights = np.exp(logs - logs.max())
    return np.asarray(weights / weights.sum())


def _ends(tolerated: float) -> tuple[float, float]:
    """Return the ends of the curve's part that is used, on the logistic scale, as is the tolerated share."""
    share = expit(tolerated)
    return float(logit(share / _FAR)), float(logit(min(_FAR * share, (1 + share) / 2)))


def used(probe: Probe, goal: float) -> bool:
    """Return whether the share of misses itself is used, and not only that it is far from the goal."""
    least, most = expit(_ends(float(logit(1 - goal))))
    return bool(least <= probe.missed_share <= most)


def _scatter(probes: Sequence[Probe], goal: float, found: Fit) -> float:
    """Return the variance of the probes around the best curve over its expectation, if that is improbable."""
    probes = [probe for probe in probes if used(probe, goal)]
    freedom = len(probes) - 2
    if freedom < 1:
        return 1.0
    at, size, missed = _columns(probes, 1 - goal)
    answer, steepness = found.best
    share = expit(logit(1 - goal) + steepness * (at - answer))
    got = missed / size
    deviance = 2 * float((size * (rel_entr(got, share) + rel_entr(1 - got, 1 - share))).sum())
    return max(1.0, deviance / freedom) if chdtrc(freedom, deviance) < _MISFIT else 1.0
