from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_dsr1.engines.protocol import EngineResult
from pytest_dsr1.reporting.charts.request_data import (
    BINS,
    COLUMNS,
    Steady,
    columns_of,
    in_flight,
    output_rate,
    request_times,
    spread,
    steady,
)
from tests.helpers.saved_runs import Made, save
from tests.helpers.values import measurement, records

RUN = Made(waves=4, concurrency=32)


def test_what_came_over_time_is_what_came_in_all() -> None:
    run = measurement()
    points = output_rate(run)
    width_s = run.measured_s / BINS
    assert len(points) == BINS
    assert sum(rate * width_s for _, rate in points) == pytest.approx(16)
    assert points[0][0] == pytest.approx(width_s / 2)
    # Two requests at a time: from 0.25 to 1 s each sends its last three tokens, 8 tok/s together.
    assert points[BINS // 4][1] == pytest.approx(8.0)


def test_a_series_stands_in_for_records() -> None:
    series = tuple((100.0 + second, float(second)) for second in range(1, 241))
    run = measurement(result=EngineResult((), {}, 100.0, 340.0, 0, series=series))
    points = output_rate(run)
    assert len(points) == BINS
    assert np.mean([rate for _, rate in points]) == pytest.approx(120.5)
    assert in_flight(run) == []
    assert request_times(run) == {}


def test_a_run_without_either_has_no_line() -> None:
    assert output_rate(measurement(result=EngineResult((), {}, 100.0, 102.0, 0))) == []


def test_requests_in_flight() -> None:
    assert [number for _, number in in_flight(measurement())] == pytest.approx([2.0] * BINS)
    one = measurement(records=records(2)[:1], result=EngineResult(records(1), {}, 100.0, 102.0, 0))
    counts = [number for _, number in in_flight(one)]
    assert counts[: BINS // 2 - 1] == pytest.approx([1.0] * (BINS // 2 - 1))
    assert counts[BINS // 2 + 1 :] == pytest.approx([0.0] * (BINS // 2 - 1), abs=1e-9)


def test_times_of_requests_are_those_of_the_metrics() -> None:
    run = measurement()
    times = request_times(run)
    assert times["latency"].mean() == pytest.approx(run.metrics["average_request_latency"].value)
    assert times["ttft"].mean() == pytest.approx(run.metrics["average_ttft"].value)
    assert times["tpot"].mean() == pytest.approx(run.metrics["average_tpot"].value)


@pytest.mark.parametrize(
    ("kind", "metric"), [("latency", "request_latency"), ("ttft", "ttft"), ("tpot", "tpot")]
)
def test_percentiles_are_those_of_the_metrics(tmp_path: Path, kind: str, metric: str) -> None:
    """Of few requests, where another rule says something else; a page shows both."""
    run = save(tmp_path, Made(waves=4, concurrency=2))
    seen = spread(request_times(run)[kind])
    of_metrics = [run.metrics[f"{metric}_{name}"].value for name in ("p50", "p90", "p99", "maximum")]
    assert [seen.median, seen.p90, seen.p99, seen.most] == pytest.approx(of_metrics)


def test_failed_requests_and_silent_engines_have_no_such_times() -> None:
    rows = records(4, streaming=False)
    rows = (*rows[:3], replace(rows[3], error="refused"))
    times = request_times(measurement(records=rows))
    assert list(times) == ["latency"]
    assert len(times["latency"]) == 3


@given(st.lists(st.floats(0.01, 1e7), min_size=1, max_size=200))
def test_a_spread_leaves_out_no_more_than_the_slowest_hundredth(values: list[float]) -> None:
    seen = spread(np.array(values))
    assert 2 <= len(seen.edges) <= COLUMNS + 1
    assert list(seen.edges) == sorted(set(seen.edges))
    beyond = sum(value > seen.edges[-1] for value in values)
    assert sum(seen.shares) == pytest.approx(100 * (1 - beyond / len(values)), abs=1e-6)
    assert beyond <= 0.01 * len(values)
    assert seen.median <= seen.p90 <= seen.p99 <= seen.most == max(values)


@pytest.mark.parametrize("count", [1, 7, 100])
def test_none_of_few_requests_is_left_out(count: int) -> None:
    seen = spread(np.array([*(100.0 + index for index in range(count - 1)), 900.0]))
    assert sum(seen.shares) == pytest.approx(100)


def test_columns_reach_as_far_as_each_run_needs() -> None:
    """A short run that is slower than all of a long one would else be drawn as nothing."""
    fast, slow = np.linspace(95.0, 105.0, 5120), np.linspace(128.0, 132.0, 40)
    edges = columns_of([fast, slow])
    assert edges[-1] == 132.0
    assert sum(spread(slow, edges).shares) == pytest.approx(100)
    assert columns_of([slow, fast]) == edges


def test_spreads_of_the_same_columns() -> None:
    assert spread(np.array([1.0, 3.0]), [0.0, 2.0, 4.0]).shares == (50.0, 50.0)


def test_the_steady_window(tmp_path: Path) -> None:
    run = save(tmp_path, RUN)
    found = steady(run)
    assert isinstance(found, Steady)
    assert 0 < found.from_s < found.to_s < run.measured_s
    assert found.found.window_s == pytest.approx(found.to_s - found.from_s)


def test_why_there_is_no_steady_window() -> None:
    told = steady(measurement())
    assert isinstance(told, str)
    assert told.startswith("4 requests are too few for a steady figure")
