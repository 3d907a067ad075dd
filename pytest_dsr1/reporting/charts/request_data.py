"""The numbers behind the pictures: what a measurement looks like over time, and how its requests spread."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from pytest_dsr1.measurement.measurement import Measurement
from pytest_dsr1.metrics.registry import percentile
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

Point = tuple[float, float]
"""Seconds since the measurement began, and a value."""


@dataclass(frozen=True, slots=True)
class Steady:
    """The steady figure of a run's output throughput, and the time that it is of.

    Attributes:
        from_s: its begin, since the measurement began; ``to_s`` its end.
        found: the figure, in tok/s.
    """

    from_s: float
    to_s: float
    found: SteadyFigure


@dataclass(frozen=True, slots=True)
class Spread:
    """How a time of the requests spreads.

    Attributes:
        edges: of the columns in ms, shape (columns + 1,).
        shares: of the requests in each column, in percent, shape (columns,).
        count: requests.
        median, p90, p99, most: in ms, by the rule of the metrics.
    """

    edges: tuple[float, ...]
    shares: tuple[float, ...]
    count: int
    median: float
    p90: float
    p99: float
    most: float


def steady(measurement: Measurement) -> Steady | str:
    """The steady figure, or why there is none."""
    try:
        kept = trace(measurement)
        warmup = warmup_of(measurement.scenario)
        found = steady_figure(kept, "total_output_throughput", warmup_requests=warmup)
    except NoSteadyFigureError as error:
        return str(error)
    begin_s = (kept.requests[0][0] if kept.requests else 0.0) + found.cut_s
    return Steady(begin_s, begin_s + found.window_s, found)


def output_rate(measurement: Measurement) -> list[Point]:
    """Output tok/s over time; empty where neither request records nor a series tell it."""
    import numpy as np

    columns = _columns(measurement)
    if columns is None:
        series = measurement.result.series
        times_s = np.array([time_s for time_s, _ in series]) - measurement.result.measured_from_s
        return _thinned(times_s, np.array([rate for _, rate in series]), BINS)
    start_s, first_s, last_s, tokens = columns
    edges_s = _edges(measurement)
    came = flowed(edges_s, *output_flow(start_s, first_s, last_s, tokens))
    return _points(edges_s, np.diff(came) / np.diff(edges_s))


def in_flight(measurement: Measurement) -> list[Point]:
    """Requests in flight over time, as means over short times; empty without request records."""
    import numpy as np

    columns = _columns(measurement)
    if columns is None:
        return []
    start_s, _, last_s, _ = columns
    edges_s = _edges(measurement)
    # The integral up to a moment: all the time since each start, less all the time since each end.
    request_s = _since(edges_s, start_s) - _since(edges_s, last_s)
    return _points(edges_s, np.diff(request_s) / np.diff(edges_s))


def _since(times_s: Floats, moments_s: Floats) -> Floats:
    """At each time, the sum of the seconds that have passed since each earlier moment."""
    import numpy as np

    ordered = np.sort(moments_s)
    count = np.searchsorted(ordered, times_s)
    sums = np.concatenate(([0.0], np.cumsum(ordered)))
    passed: Floats = count * times_s - sums[count]
    return passed


def _columns(measurement: Measurement) -> tuple[Floats, Floats, Floats, Floats] | None:
    """Start, first token (NaN where unknown), last token in s since the measurement began; output tokens."""
    import numpy as np

    done = [r for r in measurement.result.records if r.error is None]
    if not done:
        return None
    from_s = measurement.result.measured_from_s
    first_s = np.array([r.first_token_s for r in done], dtype=float) - from_s
    return (
        np.array([r.start_s for r in done]) - from_s,
        first_s,
        np.array([r.last_token_s for r in done]) - from_s,
        np.array([r.output_tokens for r in done], dtype=float),
    )


def _edges(measurement: Measurement) -> Floats:
    import numpy as np

    return np.linspace(0.0, max(measurement.measured_s, 1e-9), BINS + 1)


def _points(edges_s: Floats, values: Floats) -> list[Point]:
    return [
        ((begin + end) / 2, value)
        for (begin, end), value in zip(pairwise(edges_s.tolist()), values.tolist(), strict=True)
    ]


def _thinned(times_s: Floats, values: Floats, most: int) -> list[Point]:
    """At most so many points, each the mean of those around it."""
    import numpy as np

    parts = np.array_split(np.arange(len(times_s)), min(most, max(len(times_s), 1)))
    return [(float(times_s[part].mean()), float(values[part].mean())) for part in parts if len(part)]


def request_times(measurement: Measurement) -> dict[str, Floats]:
    """Times of the requests that succeeded, in ms: ``latency``, and where it streamed ``ttft`` and ``tpot``.

    The definitions are those of :mod:`pytest_dsr1.metrics`.
    """
    import numpy as np

    columns = _columns(measurement)
    if columns is None:
        return {}
    start_s, first_s, last_s, tokens = columns
    times = {"latency": (last_s - start_s) * 1e3}
    if not np.isnan(first_s).any():
        times["ttft"] = (first_s - start_s) * 1e3
        several = (tokens > 1) & (last_s > first_s)
        times["tpot"] = (last_s - first_s)[several] * 1e3 / (tokens[several] - 1)
    return {name: values for name, values in times.items() if len(values)}


def spread(values_ms: Floats, edges: Sequence[float] | None = None) -> Spread:
    """How times spread.

    Args:
        values_ms: of each request, at least one.
        edges: of the columns, to lay several spreads over each other; by default from the values.
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
    """Edges of the columns of one histogram for several runs.

    They reach to the value that 99% of the requests of each run keep to: all of up to a hundred requests.
    """
    import numpy as np

    low = min(float(values_ms.min()) for values_ms in runs_ms)
    high = max(percentile(np.sort(values_ms).tolist(), SHOWN) for values_ms in runs_ms)
    if math.isclose(low, high):  # all are equal: one column around them
        return [low * 0.95, low * 1.05] if low else [0.0, 1.0]
    count = round(2 * sum(map(len, runs_ms)) ** (1 / 3))  # Rice's rule
    edges: list[float] = np.linspace(low, high, min(max(count, 5), COLUMNS) + 1).tolist()
    return edges
