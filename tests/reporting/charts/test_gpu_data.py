from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from pytest_dsr1.case.location import Slow, gpu_spans, slow_times
from pytest_dsr1.machine.values import GpuSample
from pytest_dsr1.measurement.measurement import Measurement
from pytest_dsr1.reporting.charts.gpu_data import POINTS, Extreme, GpuSeries, gpu_series
from tests.helpers.saved_runs import Made, save
from tests.helpers.values import measurement

RUN = Made(waves=4, concurrency=32, speed=0.1, throttled=(5, 0.5, 0.6))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Measurement:
    return save(tmp_path_factory.mktemp("results"), RUN)


def series_of(run: Measurement) -> dict[str, GpuSeries]:
    return gpu_series(gpu_spans(run), run.result.measured_from_s, run.measured_s)


def slow_times_of(run: Measurement) -> list[Slow]:
    return slow_times(gpu_spans(run), run.result.measured_from_s)


def changed(run: Measurement, change: Callable[[GpuSample], GpuSample]) -> Measurement:
    return replace(run, telemetry=replace(run.telemetry, samples=tuple(map(change, run.telemetry.samples))))


def test_a_line_for_each_gpu_within_the_band_of_all(run: Measurement) -> None:
    found = series_of(run)
    assert list(found) == ["sm_clock_mhz", "power_w", "temperature_c"]
    for series in found.values():
        assert list(series.lines) == [f"GPU {gpu}" for gpu in range(8)]
        assert series.point_s == pytest.approx(run.measured_s / POINTS)
        assert len(series.band) == POINTS
        for line in series.lines.values():
            for (at_s, value), (middle_s, low, high) in zip(line, series.band, strict=True):
                assert at_s == middle_s
                assert low - 1e-9 <= value <= high + 1e-9
    assert min(value for _, value in found["sm_clock_mhz"].lines["GPU 5"]) == pytest.approx(1410)
    assert min(value for _, value in found["sm_clock_mhz"].lines["GPU 4"]) > 1940


def test_the_numbers_are_those_that_are_told_and_judged(run: Measurement) -> None:
    """Not those of points of a picture, each of which is a mean."""
    found, gpus = series_of(run), told(run)
    assert found["sm_clock_mhz"].lowest.value == min(gpu["sm_clock_mhz_min"] for gpu in gpus)
    assert found["sm_clock_mhz"].highest.value == max(gpu["sm_clock_mhz_max"] for gpu in gpus)
    assert found["sm_clock_mhz"].mean == pytest.approx(fmean(gpu["sm_clock_mhz_mean"] for gpu in gpus))
    assert found["power_w"].mean == pytest.approx(fmean(gpu["power_w_mean"] for gpu in gpus))
    assert found["temperature_c"].highest.value == max(gpu["temperature_c_max"] for gpu in gpus)


def test_a_sample_counts_until_the_next_one(run: Measurement) -> None:
    def before(sample: GpuSample) -> GpuSample:
        time_s = sample.time_s - 0.5
        return replace(sample, time_s=time_s, temperature_c=95 if time_s == 999.5 else sample.temperature_c)

    assert series_of(changed(run, before))["temperature_c"].highest == Extreme(95, tuple(range(8)), 0.0)


def told(run: Measurement) -> list[dict[str, Any]]:
    assert run.gpu_health is not None
    return [asdict(gpu) for gpu in run.gpu_health.gpus]


def test_a_second_in_minutes_is_seen(run: Measurement) -> None:
    at_s = 100.0
    dip = changed(
        run,
        lambda one: replace(one, sm_clock_mhz=900) if (one.gpu, one.time_s) == (3, 1000 + at_s) else one,
    )
    clocks = series_of(dip)["sm_clock_mhz"]
    assert clocks.lowest == Extreme(900, (3,), at_s)
    assert min(value for _, value in clocks.lines["GPU 3"]) > 1500
    ((middle_s, low),) = [(middle_s, low) for middle_s, low, _ in clocks.band if low < 1000]
    assert abs(middle_s - at_s) <= clocks.point_s / 2
    assert low == 900


def test_what_is_not_told_is_left_out(run: Measurement) -> None:
    silent = changed(
        run, lambda one: replace(one, power_w=None, temperature_c=None if one.gpu else one.temperature_c)
    )
    found = series_of(silent)
    assert list(found) == ["sm_clock_mhz", "temperature_c"]
    assert list(found["temperature_c"].lines) == ["GPU 0"]
    assert series_of(measurement()) == {}


def test_a_time_without_samples_is_no_zero(run: Measurement) -> None:
    kept = tuple(one for one in run.telemetry.samples if not 1050 < one.time_s < 1150)
    clocks = series_of(replace(run, telemetry=replace(run.telemetry, samples=kept)))["sm_clock_mhz"]
    assert len(clocks.band) < POINTS
    assert min(value for _, value in clocks.lines["GPU 0"]) > 1900


def test_few_samples_are_points_of_their_own(tmp_path: Path) -> None:
    few = series_of(save(tmp_path, Made(waves=4, concurrency=32)))["power_w"]
    assert 10 < len(few.band) < POINTS


def test_when_gpus_were_throttled(run: Measurement) -> None:
    (slow,) = slow_times_of(run)
    assert slow == Slow(5, slow.from_s, slow.to_s, "hardware thermal slowdown", throttled=True)
    assert slow.from_s / run.measured_s == pytest.approx(0.5, abs=0.05)
    assert slow_times_of(measurement()) == []


def test_a_line_for_each_of_several_nodes(run: Measurement) -> None:
    """The mean of its GPUs; a single slow one is in the band of all, and named."""
    named = {gpu: f"node{1 + gpu // 4}:{gpu % 4}" for gpu in range(8)}
    telemetry = run.telemetry
    of_nodes = replace(
        telemetry,
        gpus=tuple(named[gpu] for gpu in range(8)),
        samples=tuple(replace(one, gpu=named[int(one.gpu)]) for one in telemetry.samples),
    )
    found, alone = series_of(replace(run, telemetry=of_nodes)), series_of(run)
    clocks, each = found["sm_clock_mhz"], alone["sm_clock_mhz"]
    assert list(clocks.lines) == ["node1", "node2"]
    assert clocks.gpus == 8
    assert (clocks.band, clocks.mean) == (each.band, each.mean)
    for node, gpus in (("node1", range(4)), ("node2", range(4, 8))):
        for number, (at_s, value) in enumerate(clocks.lines[node]):
            lines = [each.lines[f"GPU {gpu}"][number] for gpu in gpus]
            assert at_s == lines[0][0]
            assert value == pytest.approx(fmean(of_gpu for _, of_gpu in lines))
    assert clocks.lowest.gpus == ("node2:1",)
