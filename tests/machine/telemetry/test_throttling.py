from __future__ import annotations

from dataclasses import replace

from pytest_dsr1.machine.telemetry.throttling import (
    SOFTWARE_POWER_CAP,
    THROTTLED,
    Period,
    names,
    periods,
    reasons,
    seconds_of,
    spans_of,
)
from pytest_dsr1.machine.values import Telemetry
from tests.helpers.gpu_samples import SAMPLE, watched


def test_periods_are_where_a_reason_was_given_and_short_gaps_are_bridged() -> None:
    spans = spans_of(watched([0, 0x20, 0x40, 0, 0x20, 0, 0, 0x04, 0x20]), 0, 100.0, 109.0)
    assert periods(spans, THROTTLED) == [Period(101.0, 105.0, 0x60), Period(108.0, 109.0, 0x20)]
    assert periods(spans, SOFTWARE_POWER_CAP) == [Period(107.0, 108.0, 0x04)]
    assert seconds_of(spans, THROTTLED) == 4.0
    assert names(reasons(periods(spans, THROTTLED))) == [
        "software thermal slowdown",
        "hardware thermal slowdown",
    ]


def test_samples_count_only_for_the_measured_time() -> None:
    telemetry = watched([0x40] * 10)
    assert periods(spans_of(telemetry, 0, 102.5, 104.5), THROTTLED) == [Period(102.5, 104.5, 0x40)]
    assert spans_of(telemetry, 1, 100.0, 110.0) == []


def test_the_last_sample_stands_for_a_few_intervals() -> None:
    telemetry = Telemetry(interval_s=1.0, gpus=(0,), samples=(replace(SAMPLE, time_s=100.0),))
    (span,) = spans_of(telemetry, 0, 100.0, 200.0)
    assert span.seconds == 3.0
