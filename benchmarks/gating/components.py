"""What the figures of engine starts differ by: the start itself, and the error within each figure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from pytest_dsr1.measurement.evidence import Evidence
from pytest_dsr1.verdict.noise import interval

DRAWS = 100_000
"""Of each chi-squared variable: the interval's ends are then sure to 1%."""


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
        between: of the figures as they are, which is what a gate calls noise.
        within: the standard error that each figure has from its own batches.
        start: of the starts alone, without the error within; 0 where that explains all.
    """

    between: Component
    within: Component
    start: Component


def components(figures: Sequence[Evidence]) -> Components:
    """The variance components of a one-way random-effects model on the logarithms of the figures.

    The interval of ``start`` is a generalized one (Weerahandi 1993): percentiles of the difference of both
    mean squares, each over its own chi-squared variable, seeded.

    Args:
        figures: at least 2, of starts of the same software on one node.
    """
    between = float(np.log([figure.value for figure in figures]).std(ddof=1)) * 100
    within = math.sqrt(fmean(figure.se_percent**2 for figure in figures))
    freedom, within_freedom = len(figures) - 1, sum(len(figure.batches) - 1 for figure in figures)
    rng = np.random.default_rng(1)
    squares = between**2 * freedom / rng.chisquare(
        freedom, DRAWS
    ) - within**2 * within_freedom / rng.chisquare(within_freedom, DRAWS)
    low, high = np.sqrt(np.quantile(squares, [0.025, 0.975]).clip(0.0))
    return Components(
        Component(between, *interval(between, freedom)),
        Component(within, *interval(within, within_freedom)),
        Component(math.sqrt(max(between**2 - within**2, 0.0)), float(low), float(high)),
    )
