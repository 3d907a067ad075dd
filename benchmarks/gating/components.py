"""Variance components of engine starts: the start itself, and the error within each figure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from pytest_dsr1.gate.noise import interval
from pytest_dsr1.steady.figure import SteadyFigure

DRAWS = 100_000
"""Draws of each chi-squared variable; the ends of the interval are then accurate to 1%."""


@dataclass(frozen=True, slots=True)
class Component:
    """A standard deviation in percent of the figure, and its 95% interval."""

    percent: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.percent:.3f}% (95%: {self.low:.3f} to {self.high:.3f})"


@dataclass(frozen=True, slots=True)
class Components:
    """The variance components of starts on one node.

    Attributes:
        between: between the figures; a gate calls this noise.
        within: the standard error of a figure, from changes within a start.
        start: between the starts alone, without the error within; 0 if that explains everything.
    """

    between: Component
    within: Component
    start: Component


def components(figures: Sequence[SteadyFigure]) -> Components:
    """Return the variance components of a one-way random-effects model on the logarithms of the figures.

    The difference between the two halves of a figure gives the error within it. The standard error from
    batches would assume that they are independent, but neighboring requests of one start are not. A change
    from one half to the other that all starts share is not an error and cancels out. The interval of
    ``start`` is a generalized one (Weerahandi 1993): percentiles of the difference of both mean squares, each
    over its own chi-squared variable, seeded.

    Args:
        figures: at least 2, of starts of the same software on one node, of at least 2 batches each.
    """
    between = float(np.log([figure.value for figure in figures]).std(ddof=1)) * 100
    within = _within_percent(figures)
    freedom = len(figures) - 1
    rng = np.random.default_rng(1)
    squares = between**2 * freedom / rng.chisquare(freedom, DRAWS) - within**2 * freedom / rng.chisquare(
        freedom, DRAWS
    )
    low, high = np.sqrt(np.quantile(squares, [0.025, 0.975]).clip(0.0))
    return Components(
        Component(between, *interval(between, freedom)),
        Component(within, *interval(within, freedom)),
        Component(math.sqrt(max(between**2 - within**2, 0.0)), float(low), float(high)),
    )


def _within_percent(figures: Sequence[SteadyFigure]) -> float:
    """Return the standard error of a figure; halves of k of n batches differ with 2 n / k its variance."""
    differences, shares = [], []
    for figure in figures:
        count = len(figure.batches) // 2
        first, last = fmean(figure.batches[:count]), fmean(figure.batches[-count:])
        differences.append(math.log(first / last))
        shares.append(count / (2 * len(figure.batches)))
    return float(np.std(differences, ddof=1)) * math.sqrt(fmean(shares)) * 100
