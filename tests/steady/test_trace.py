"""What is kept of a measurement, and that a file gives it back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from pytest_dsr1.engines.protocol import EngineResult
from pytest_dsr1.machine.values import GpuSample, Telemetry
from pytest_dsr1.steady.trace import Trace, trace, traced
from pytest_dsr1.workload.workload import Workload
from tests.helpers.gpu_samples import SAMPLE
from tests.helpers.values import measurement, records, scenario

STARTED: dict[str, Any] = {
    "started_utc": "2026-11-23T20:00:00+00:00",
    "unix_minus_monotonic_s": 1795464000.0 - 70.0,
}
"""The run began at 70 s of the monotonic clock, and measured from 100 to 102 s."""


def workload(requests: int) -> Workload:
    return Workload(Path("dataset.jsonl"), requests, "ab12", True, 8.0, 8, 4.0, 4 * requests)


def test_times_count_from_the_begin_of_the_measurement() -> None:
    late = replace(records()[0], last_token_s=101.12345678)
    kept = trace(measurement(records=(*records()[1:], late), **STARTED))
    assert kept == Trace(
        requests=(
            (0.0, 0.25, 1.123457, 8, 4, 4),
            (0.0, 0.25, 1.0, 8, 4, 4),
            (1.0, 1.25, 2.0, 8, 4, 4),
            (1.0, 1.25, 2.0, 8, 4, 4),
        ),
        series=(),
        concurrency=2,
        gpus=0,
        open_loop=False,
        startup_s=30.0,
    )


def test_times_are_kept_to_the_microsecond() -> None:
    """Rows of a file are compared as they are read: the seventh digit is noise, the sixth is not."""
    late = replace(records()[0], submitted_s=100.0000064, first_token_s=100.2500064, last_token_s=101.0000064)
    assert traced([late], 100.0)[0][:3] == (0.000006, 0.250006, 1.000006)
    result = EngineResult((), {}, 100.0, 102.0, 8, series=((101.0000064, 5.0),))
    assert trace(measurement(result=result)).series == ((1.000006, 5.0),)


def test_energy_counts_from_the_begin_of_the_measurement() -> None:
    """Times to the microsecond, energy to the millijoule; measured from 100 to 102 s."""
    counted = ((99.5, 5000.0), (100.5000064, 5500.0064), (101.5, 6500.5), (102.5, 7500.5))
    samples = tuple(replace(SAMPLE, gpu=0, time_s=s, energy_j=joules) for s, joules in counted)
    telemetry = Telemetry(gpus=(0,), samples=samples)
    expected = ((0.0, 0.0), (0.500006, 250.005), (1.5, 1250.498), (2.0, 1750.498))
    assert trace(measurement(telemetry=telemetry)).energy == expected


def test_what_is_not_measured_counts_to_the_end_of_the_watch() -> None:
    sample = GpuSample(105.0, 0, None, None, None, None, None, None, None, None)
    assert trace(measurement(telemetry=Telemetry(samples=(sample,)), **STARTED)).startup_s == 33.0
    backward = measurement(**{**STARTED, "started_utc": "2026-11-24T20:00:00+00:00"})
    assert trace(backward).startup_s == 0.0, "a clock that was set back takes no time away"


def test_failed_requests_are_left_out() -> None:
    rows = [replace(records()[0], error="lost"), *records()[1:]]
    assert len(trace(measurement(records=tuple(rows))).requests) == 3


def test_a_run_that_was_ended_early_ends_before_the_first_request_that_was_given_up() -> None:
    rows = records(6)
    ended = measurement(records=(*rows[:3], rows[4]), workload=workload(100))
    assert trace(ended).requests == traced(rows[:3], 100.0)
    numbered_from_one = tuple(replace(row, id=row.id + 1) for row in rows)
    whole = measurement(records=numbered_from_one, workload=workload(6))
    assert len(trace(whole).requests) == 6, "a run that was not ended early is not cut"


def test_an_open_loop_counts_from_the_schedule() -> None:
    load = {"concurrency": 2, "num_requests": 4, "arrival": {"type": "poisson", "rate_req_s": 2.0}}
    engine = {"type": "openai", "url": "http://localhost:8000"}
    rows = tuple(replace(r, scheduled_s=r.submitted_s - 0.5) for r in records())
    kept = trace(measurement(records=rows, scenario=scenario(load=load, engine=engine)))
    assert kept.open_loop
    assert kept.wave == 1
    assert kept.requests[0][:3] == (-0.5, 0.25, 1.0)


def test_a_series_is_kept_where_there_are_no_records() -> None:
    result = EngineResult((), {}, 100.0, 102.0, 8, series=((101.0, 5.0), (102.0000004, 7.0)))
    kept = trace(measurement(result=result, workload=workload(12)))
    assert (kept.requests, kept.series, kept.series_requests) == ((), ((1.0, 5.0), (2.0, 7.0)), 12)
    both = replace(result, records=records())
    assert trace(measurement(result=both)).series == ()


numbers = st.floats(-1e6, 1e6)
counts = st.integers(0, 1 << 40)


@given(
    st.lists(st.tuples(numbers, st.none() | numbers, numbers, counts, counts, st.none() | counts)),
    st.lists(st.tuples(numbers, numbers)),
    st.lists(st.tuples(numbers, numbers)),
    st.booleans(),
)
def test_json_gives_it_back(
    requests: list[object], series: list[object], energy: list[object], open_loop: bool
) -> None:
    adapter = TypeAdapter(Trace)
    kept = Trace(tuple(requests), tuple(series), 4, 8, open_loop, 61.5, 7, tuple(energy))  # type: ignore[arg-type]
    assert adapter.validate_json(adapter.dump_json(kept)) == kept
    named = replace(kept, settings_for={"streaming": "engine.streaming: true"})
    assert adapter.dump_json(named) == adapter.dump_json(kept), "what the engine calls it is not saved"
    assert named == kept


def test_a_file_that_was_changed_is_refused() -> None:
    with pytest.raises(ValueError, match=r"requests\.0\.5\n  Field required"):
        TypeAdapter(Trace).validate_json(
            '{"requests": [[0, 1, 2, 3, 4]], "series": [], "concurrency": 1, "gpus": 1, "open_loop": false, '
            '"startup_s": 1}'
        )
