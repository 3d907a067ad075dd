"""The variance components that benchmarks/gating prints of starts, on starts whose components are known."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.gating.components import Component, components
from pytest_dsr1.measurement.evidence import Evidence


def starts(
    rng: np.random.Generator, *, start: float, batch: float, count: int, batches: int
) -> list[Evidence]:
    """Starts that differ by ``start`` percent, each the mean of batches that differ by ``batch`` percent."""
    found = []
    for _ in range(count):
        own = 100.0 * np.exp(rng.normal(0.0, start / 100))
        values = own * (1 + rng.normal(0.0, batch / 100, batches))
        error = float(values.std(ddof=1) / np.sqrt(batches) / values.mean()) * 100
        found.append(Evidence(float(values.mean()), error, 1.0, 10.0, 1.0, 100, tuple(values)))
    return found


@pytest.mark.parametrize(("start", "batch"), [(0.3, 0.2), (0.1, 0.4), (1.0, 0.0001)])
def test_the_intervals_hold_what_is_true_in_19_of_20_cases(start: float, batch: float) -> None:
    rng = np.random.default_rng(7)
    true = {"start": start, "within": batch / 2, "between": float(np.hypot(start, batch / 2))}
    runs, held = 300, dict.fromkeys(true, 0)
    for _ in range(runs):
        found = components(starts(rng, start=start, batch=batch, count=16, batches=4))
        for name, value in true.items():
            one: Component = getattr(found, name)
            held[name] += one.low <= value <= one.high
    assert all(0.92 * runs <= each for each in held.values()), held
    assert any(each < runs for each in held.values()), "an interval that is always right is too wide"


def test_where_the_error_within_explains_all_the_starts_may_be_equal() -> None:
    found = components(starts(np.random.default_rng(3), start=0.0, batch=1.0, count=16, batches=4))
    assert found.start.low == 0.0
    assert found.start.high < found.between.high


def test_a_component_is_read_with_its_interval() -> None:
    assert str(Component(0.3381, 0.25, 0.523)) == "0.338% (95%: 0.250 to 0.523)"
