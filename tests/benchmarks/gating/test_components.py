"""The variance components that benchmarks/gating prints of starts, on starts whose components are known."""

from __future__ import annotations

import math
from statistics import fmean

import numpy as np
import pytest

from benchmarks.gating.components import Component, Components, components
from pytest_dsr1.steady.figure import SteadyFigure


def starts(
    rng: np.random.Generator, *, start: float, batch: float, count: int, batches: int, memory: float = 0.0
) -> list[SteadyFigure]:
    """Starts that differ by ``start`` percent, each the mean of batches that differ by ``batch`` percent.

    ``memory`` is the correlation of a batch with the one before.
    """
    found = []
    for _ in range(count):
        own = 100.0 * np.exp(rng.normal(0.0, start / 100))
        noise = rng.normal(0.0, batch / 100, batches)
        for index in range(1, batches):
            noise[index] = memory * noise[index - 1] + math.sqrt(1 - memory**2) * noise[index]
        values = own * (1 + noise)
        error = float(values.std(ddof=1) / np.sqrt(batches) / values.mean()) * 100
        found.append(SteadyFigure(float(values.mean()), error, 1.0, 10.0, 1.0, 100, tuple(values)))
    return found


def held(true: dict[str, float], cases: list[Components]) -> dict[str, float]:
    """The share of cases in which each interval holds what is true."""
    return {
        name: fmean(getattr(found, name).low <= value <= getattr(found, name).high for found in cases)
        for name, value in true.items()
    }


@pytest.mark.parametrize(("start", "batch"), [(0.3, 0.2), (0.1, 0.4), (1.0, 0.0001)])
def test_the_intervals_hold_what_is_true_in_19_of_20_cases(start: float, batch: float) -> None:
    rng = np.random.default_rng(7)
    true = {"start": start, "within": batch / 2, "between": math.hypot(start, batch / 2)}
    cases = [components(starts(rng, start=start, batch=batch, count=16, batches=4)) for _ in range(200)]
    found = held(true, cases)
    assert all(share >= 0.91 for share in found.values()), found
    assert any(share < 1 for share in found.values()), "an interval that is always right is too wide"


def test_batches_that_depend_on_each_other_hide_the_error_from_the_standard_error_alone() -> None:
    """As on an H200: ten batches a figure, with a correlation of about 0.45 from one to the next."""
    batch, memory, batches = 0.4, 0.45, 10
    lags = np.arange(1, batches)
    inflation = 1 + 2 * float(((1 - lags / batches) * memory**lags).sum())
    true = batch / math.sqrt(batches) * math.sqrt(inflation)
    rng = np.random.default_rng(7)
    made = [starts(rng, start=0.3, batch=batch, count=16, batches=batches, memory=memory) for _ in range(200)]
    cases = [components(figures) for figures in made]
    assert held({"within": true}, cases)["within"] > 0.85
    alone = [math.sqrt(fmean(figure.se_percent**2 for figure in figures)) for figures in made]
    assert max(alone) < true


def test_where_the_error_within_explains_all_the_starts_may_be_equal() -> None:
    found = components(starts(np.random.default_rng(3), start=0.0, batch=1.0, count=16, batches=4))
    assert found.start.low == 0.0
    assert found.start.high < found.between.high


def test_a_component_is_read_with_its_interval() -> None:
    assert str(Component(0.3381, 0.25, 0.523)) == "0.338% (95%: 0.250 to 0.523)"
