"""The arithmetic of the benchmark of energy."""

from __future__ import annotations

import pytest

from benchmarks.energy import at, integral, update_interval_s

RAMP = [(0.0, 0.0), (1.0, 100.0), (2.0, 100.0)]


def test_a_value_between_readings() -> None:
    assert [at(RAMP, time_s) for time_s in (0.0, 0.25, 1.0, 2.0)] == [0.0, 25.0, 100.0, 100.0]
    with pytest.raises(ValueError, match=r"no readings around 2\.500 s"):
        at(RAMP, 2.5)


def test_the_integral_between_two_times() -> None:
    assert integral(RAMP, 0.0, 2.0) == 150.0
    assert integral(RAMP, 0.5, 1.5) == pytest.approx(37.5 + 50.0)
    assert integral(RAMP, 1.2, 1.3) == pytest.approx(10.0)


def test_the_time_between_changes() -> None:
    steps = [(i / 100, float(i // 5)) for i in range(40)]
    assert update_interval_s(steps) == pytest.approx(0.05)
    assert update_interval_s(steps[:11]) is None
