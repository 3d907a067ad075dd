"""The trace of a run: the data that is saved so that its steady figures can be computed again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import takewhile
from typing import Annotated

from pydantic import Field

from pytest_dsr1.machine.telemetry.energy import Energy
from pytest_dsr1.measurement.measurement import Measurement
from pytest_dsr1.records import RequestRecord
from pytest_dsr1.scenario.schema.rule import Purpose

TracedRequest = tuple[float, float | None, float, int, int, int | None]
"""Start in s, first token in s (None without streaming), last token in s, input tokens, output tokens,
decoding iterations (None where unknown)."""


@dataclass(frozen=True, slots=True)
class Trace:
    """The data for the steady figures of a run. Times are seconds since the measurement began.

    Attributes:
        requests: those that succeeded, in order of start, rounded to microseconds.
        series: (end of the interval, output tok/s in it), only if there are no request records; the first
            interval begins at 0.
        concurrency: requests in flight at most.
        gpus: tp * pp; 0 on the CPU.
        open_loop: requests came on a schedule.
        startup_s: the time of the run outside the measured time.
        series_requests: the number of requests in the series.
        energy: (time, J of all GPUs since the measurement began), once per second; empty if it was not
            measured, and in files of earlier versions.
        found: of a search, by metric, what it found and the standard error in percent; empty for a run.
        found_s: the measured time of all probes of a search.
        settings_for: the engine's, for messages; not saved.
    """

    requests: tuple[TracedRequest, ...]
    series: tuple[tuple[float, float], ...]
    concurrency: int
    gpus: int
    open_loop: bool
    startup_s: float
    series_requests: int = 0
    energy: tuple[tuple[float, float], ...] = ()
    found: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    found_s: float = 0.0
    settings_for: Annotated[Mapping[Purpose, str], Field(exclude=True)] = field(
        default_factory=dict, compare=False
    )

    @property
    def wave(self) -> int:
        """The number of submissions in a wave: a window is a whole number of waves."""
        return 1 if self.open_loop else self.concurrency


def trace(measurement: Measurement) -> Trace:
    """Return the trace of a measurement."""
    result, load = measurement.result, measurement.scenario.load
    began_s = datetime.fromisoformat(measurement.started_utc).timestamp() - measurement.unix_minus_monotonic_s
    ended_s = max([result.measured_to_s, *(sample.time_s for sample in measurement.telemetry.samples)])
    records = sorted(result.records, key=lambda record: record.id)
    if len(records) < measurement.workload.requests:
        # The run was ended early, and requests in flight were given up. These are mostly long ones, so the
        # run counts as if the first of them had never been sent.
        records = [r for i, r in takewhile(lambda pair: pair[1].id == pair[0], enumerate(records))]
    series = () if result.records else result.series
    return Trace(
        requests=traced(records, result.measured_from_s),
        series=tuple((round(end_s - result.measured_from_s, 6), rate) for end_s, rate in series),
        concurrency=load.at_once,
        gpus=result.gpus,
        open_loop=load.arrival is not None,
        startup_s=max(0.0, ended_s - began_s - measurement.measured_s),
        series_requests=measurement.workload.requests if series else 0,
        energy=_energy(measurement),
        settings_for=measurement.scenario.engine.settings_for,
    )


def _energy(measurement: Measurement) -> tuple[tuple[float, float], ...]:
    result, telemetry = measurement.result, measurement.telemetry
    used = max(measurement.scenario.hardware.count, len(telemetry.gpus))
    found = Energy.of(telemetry, result.measured_from_s, result.measured_to_s, used)
    return tuple((round(s - result.measured_from_s, 6), round(joules, 3)) for s, joules in found.over_time)


def traced(records: Iterable[RequestRecord], from_s: float) -> tuple[TracedRequest, ...]:
    """Return the requests that succeeded, in order of start, with times since ``from_s``."""
    done = sorted((r for r in records if r.error is None), key=lambda r: (r.start_s, r.id))
    return tuple(
        (
            round(r.start_s - from_s, 6),
            None if r.first_token_s is None else round(r.first_token_s - from_s, 6),
            round(r.last_token_s - from_s, 6),
            r.input_tokens,
            r.output_tokens,
            r.decoding_iterations,
        )
        for r in done
    )
