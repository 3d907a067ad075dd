"""Losses: how much worse a figure is than another one, as a difference of natural logarithms."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pytest_dsr1.metrics.catalogue import metric_named

RESOLUTION = 1e-4
"""The least noise that we assume, 0.01%: figures that agree better do so by chance."""


def worse(metric: str, percent: float) -> float:
    """Return a loss of this many percent of a metric, as a difference of logarithms."""
    higher = metric_named(metric).better == "higher"
    return -math.log1p(-percent / 100) if higher else math.log1p(percent / 100)


def loss(metric: str, mean: Any, value: Any) -> Any:
    """Return how much worse values are than a mean, as a difference of logarithms.

    Args:
        metric: its direction decides what is worse.
        mean: what they are compared with, a natural logarithm; may be an array.
        value: in the metric's unit; may be an array.
    """
    sign = 1 if metric_named(metric).better == "higher" else -1
    return sign * (mean - np.log(value))


def in_percent(metric: str, lost: float) -> float:
    """Return a loss as the change of the metric's value in percent; negative if a rate falls."""
    return math.expm1(-lost if metric_named(metric).better == "higher" else lost) * 100
