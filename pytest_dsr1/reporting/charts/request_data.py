"""The numbers behind the pictures: a measurement over time, and the distributions of its requests."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from pytest_dsr1.measurement.measurement import Measurement
from pytest_dsr1.metrics.inputs import Requests, row
from pytest_dsr1.metrics.registry import percentile
from pytest_dsr1.metrics.streaming import tpot_ms, ttft_ms
from pytest_dsr1.metrics.token_flow import flowed, output_flow
from pytest_dsr1.steady.figure import NoSteadyFigureError, SteadyFigure, steady_figure, warmup_of
from pytest_dsr1.steady.trace import trace

if TYPE_CHECKING:
    from pytest_dsr1.arrays import Floats

BINS = 120
"""Points of a line over time: a picture is about 400 pixels wide."""
COLUMNS = 40
"""The most columns of a histogram."""
SHOWN = 0.99
"""A histogram's right edge, as a share of a run's requests: one slow request would squeeze all others."""

RATE = "total_output_throughput"
"""The metric that is drawn over time, and whose steady figure every report shows."""

Point = tuple[float, float]
"""Seconds since the measurement began, and a value."""


@dataclass(frozen=True, slots=True)
class Steady:
    """The steady figure of a run's output throughput, and the time that it covers.

    Attributes:
        from_s: the start of that time, in s since the measurement began.
        to_s: its end.
        found: the figure, in tok/s.
    """

    from_s: float
    to_s: float
    found: SteadyFigure


@dataclass(frozen=True, slots=True)
class Spread:
    """The distribution of one duration of the requests.

    Attributes:
        edges: of the columns in ms, shape (columns + 1,).
        shares: the share of the requests in each column, in percent, shape (columns,).
        count: the number of requests.
        median, p90, p99, most: in ms, computed as the metrics are.
    """

    edges: tuple[float, ...]
    shares: tuple[float, ...]
    count: int
    median: float
    p90: float
    p99: float
    most: float


def steady(measurement: Measurement) -> Steady | str:
    """Return the steady figure of the output throughput, as a gate computes it, or why there is none."""
    try:
        kept = trace(measurement)
        warmup = warmup_of(measurement.scenario)
        found = steady_figure(kept, RATE, warmup_requests=warmup)
    except NoSteadyFigureError as error:
        return str(error)
    begin_s = (kept.requests[0][0] if kept.requests else 0.0) + found.cut_s
    return Steady(begin_s, begin_s + found.window_s, found)


def output_rate(measurement: Measurement) -> list[Point]:
    """Return output tok/s over time; empty without request records and without a series."""
    import numpy as np

    requests, from_s = _requests(measurement), measurement.result.measured_from_s
    if requests is None:
        series = measurement.result.series
        times_s = np.array([time_s for time_s, _ in series]) - from_s
        return _thinned(times_s, np.array([rate for _, rate in series]), BINS)
    edges_s = _edges(measurement)
    flow = output_flow(
        requests.start_s - from_s,
        requests.first_token_s - from_s,
        requests.last_token_s - from_s,
        requests.output_tokens,
    )
    return _points(edges_s, np.diff(flowed(edges_s, *flow)) / np.diff(edges_s))


def in_flight(measurement: Measurement) -> list[Point]:
    """Return requests in flight over time, as means of short intervals; empty without request records."""
    import numpy as np

    requests, from_s = _requests(measurement), measurement.result.measured_from_s
    if requests is None:
        return []
    edges_s = _edges(measurement)
    # The integral up to a moment: all the time since each start, less all the time since each end.
    request_s = _since(edges_s, requests.start_s - from_s) - _since(edges_s, requests.last_token_s - from_s)
    return _points(edges_s, np.diff(request_s) / np.diff(edges_s))


def _since(times_s: Floats, moments_s: Floats) -> Floats:
    """Return, for each time, the sum of the seconds since each earlier moment."""
    import numpy as np

    ordered = np.sort(moments_s)
    count = np.searchsorted(ordered, times_s)
    sums = np.concatenate(([0.0], np.cumsum(ordered)))
    passed: Floats = count * times_s - sums[count]
    return passed


def _requests(measurement: Measurement) -> Requests | None:
    """Return the requests that succeeded; None without any."""
    done = [row(record) for record in measurement.result.records if record.error is None]
    return Requests.of(done) if done else None


def _edges(measurement: Measurement) -> Floats:
    import numpy as np

    return np.linspace(0.0, max(measurement.measured_s, 1e-9), BINS + 1)


def _points(edges_s: Floats, values: Floats) -> list[Point]:
    return [
        ((begin + end) / 2, value)
        for (begin, end), value in zip(pairwise(edges_s.tolist()), values.tolist(), strict=True)
    ]


def _thinned(times_s: Floats, values: Floats, most: int) -> list[Point]:
    """Return at most ``most`` points, each the mean of its neighbors."""
    import numpy as np

    parts = np.array_split(np.arange(len(times_s)), min(most, max(len(times_s), 1)))
    return [(float(times_s[part].mean()), float(values[part].mean())) for part in parts if len(part)]


def request_times(measurement: Measurement) -> dict[str, Floats]:
    """Return ``latency`` of the requests that succeeded, in ms; with streaming also ``ttft`` and ``tpot``."""
    import numpy as np

    requests = _requests(measurement)
    if requests is None:
        return {}
    times = {"latency": requests.latency_s * 1e3}
    if requests.streamed:
        times |= {"ttft": ttft_ms(requests), "tpot": tpot_ms(requests)}
    known = {name: values[~np.isnan(values)] for name, values in times.items()}
    return {name: values for name, values in known.items() if len(values)}


def spread(values_ms: Floats, edges: Sequence[float] | None = None) -> Spread:
    """Return the distribution of durations.

    Args:
        values_ms: one duration per request, at least one.
        edges: of the columns, to overlay several distributions; by default from the values.
    """
    import numpy as np

    ordered: list[float] = np.sort(values_ms).tolist()
    borders = np.asarray(columns_of([values_ms]) if edges is None else edges)
    counts, _ = np.histogram(values_ms, borders)
    return Spread(
        edges=tuple(borders.tolist()),
        shares=tuple((100 * counts / len(values_ms)).tolist()),
        count=len(values_ms),
        median=percentile(ordered, 0.5),
        p90=percentile(ordered, 0.9),
        p99=percentile(ordered, 0.99),
        most=ordered[-1],
    )


def columns_of(runs_ms: Sequence[Floats]) -> list[float]:
    """Return the edges of the columns of one histogram for several runs.

    The last edge is the largest 99th percentile of the runs; for up to a hundred requests, the maximum.
    """
    import numpy as np

    low = min(float(values_ms.min()) for values_ms in runs_ms)
    high = max(percentile(np.sort(values_ms).tolist(), SHOWN) for values_ms in runs_ms)
    if math.isclose(low, high):  # all are equal: one column around them
        return [low * 0.95, low * 1.05] if low else [0.0, 1.0]
    count = round(2 * sum(map(len, runs_ms)) ** (1 / 3))  # Rice's rule
    edges: list[float] = np.linspace(low, high, min(max(count, 5), COLUMNS) + 1).tolist()
    return edges
