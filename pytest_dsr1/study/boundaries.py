"""Group-sequential boundaries: limits of a statistic that keep the error rate under repeated looks.

A test looks at its evidence after each run. It spends its error over the looks as a function of the
information so far (Lan and DeMets, Biometrika 1983). The boundary of each look spends the error of that look;
the recursion of Armitage, McPherson and Rowe (JRSS A 1969) finds it from the density of the paths that have
not stopped yet. On the scale B = Z * sqrt(t), where t is the share of the final information, the increments
of that process are independent and normal with variance dt and mean drift * dt.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtr, roots_legendre, stdtrit

if TYPE_CHECKING:
    from pytest_dsr1.arrays import Floats

_NODES_PER_SD = 1.5
"""Points of the Gauss-Legendre rule per standard deviation of a step: errors are below 1e-7."""
_NODES_STEP, _MOST_NODES = 32, 512
"""The number of points of a rule is a multiple of ``_NODES_STEP``, because making a rule takes longer than
using it. A look reaches the limit only if it adds less than a thousandth of the information; the error is
small then."""
_FAR = 7.0
"""Standard deviations beyond which a density counts as zero."""


def hwang_shih_decani(total: float, gamma: float) -> Callable[[float], float]:
    """Return the spending function of Hwang, Shih and DeCani (Statistics in Medicine 1990).

    Args:
        total: the error that is spent when all information is in.
        gamma: negative spends late, positive early; not 0.

    Returns:
        A function of the information share, from 0 to 1, that returns the error spent.
    """
    return lambda share: total * float(np.expm1(-gamma * share) / np.expm1(-gamma))


def boundaries(spent: Callable[[float], float], shares: Sequence[float]) -> tuple[float, ...]:
    """Return the upper boundary of Z at each look, one-sided, if there is no other reason to stop.

    Args:
        spent: returns the error that may be spent up to an information share.
        shares: the share of the final information at each look, rising to 1.
    """
    found: list[float] = []
    walk = _Walk(0.0)
    before = 0.0
    for share in shares:
        found.append(walk.boundary(share, spent(share) - before))
        before = spent(share)
        walk.step(share, -np.inf, found[-1])
    return tuple(found)


def in_t(z: Sequence[float], freedoms: Sequence[int]) -> tuple[float, ...]:
    """Return the boundaries of t with the tail areas of those of Z (Jennison and Turnbull 2000, chapter 3).

    Args:
        z: the boundary of Z at each look.
        freedoms: the degrees of freedom of the noise at each look.
    """
    return tuple(-float(stdtrit(freedom, ndtr(-value))) for value, freedom in zip(z, freedoms, strict=True))


def crossing(
    shares: Sequence[float], lower: Sequence[float], upper: Sequence[float], drift: float
) -> tuple[Floats, Floats]:
    """Return the probabilities that a path leaves below and above, at each look.

    Args:
        shares: the share of the final information at each look.
        lower: Z at or below which a path stops, at each look.
        upper: Z at or above which it stops, at each look.
        drift: the expectation of Z when all information is in.
    """
    walk = _Walk(drift)
    sides = [walk.step(share, low, high) for share, low, high in zip(shares, lower, upper, strict=True)]
    below, above = np.array(sides).T
    return below, above


@functools.cache
def _rule(steps: int) -> tuple[Floats, Floats]:
    """Return points and weights on -1 to 1."""
    points, weights = roots_legendre(steps * _NODES_STEP)  # leggauss() of numpy takes 70 times as long
    return points, weights


class _Walk:
    """The density of B over the paths that have not stopped, as weighted points."""

    def __init__(self, drift: float) -> None:
        self._drift = drift
        self._share = 0.0
        self._points, self._weights = np.zeros(1), np.ones(1)  # all paths begin at 0

    def _means(self, share: float) -> tuple[Floats, float]:
        step = share - self._share
        return self._points + self._drift * step, float(np.sqrt(step))

    def boundary(self, share: float, error: float) -> float:
        """Return the Z that paths exceed at the next look with probability ``error``; at most 38."""
        means, sd = self._means(share)
        low, high = 0.0, 38.0
        for _ in range(60):  # bisection to 1e-16
            middle = (low + high) / 2
            above = self._weights @ ndtr((means - middle * np.sqrt(share)) / sd)
            low, high = (middle, high) if above > error else (low, middle)
        return (low + high) / 2

    def step(self, share: float, lower: float, upper: float) -> tuple[float, float]:
        """Take the next look: return the shares that leave below and above Z, and keep the other paths."""
        means, sd = self._means(share)
        root = np.sqrt(share)
        low, high = lower * root, upper * root
        below = float(self._weights @ ndtr((low - means) / sd))
        above = float(self._weights @ ndtr((means - high) / sd))
        begin = max(low, self._drift * share - _FAR * root)
        end = min(high, self._drift * share + _FAR * root)
        half = max(end - begin, 0.0) / 2
        nodes, rule = _rule(
            min(1 + int(_NODES_PER_SD * 2 * half / sd / _NODES_STEP), _MOST_NODES // _NODES_STEP)
        )
        points = (begin + end) / 2 + half * nodes
        density = np.exp(-(((points[:, None] - means) / sd) ** 2) / 2) / (sd * np.sqrt(2 * np.pi))
        self._weights = half * rule * np.einsum("ij,j", density, self._weights)  # small: no threads
        self._points, self._share = points, share
        return below, above
