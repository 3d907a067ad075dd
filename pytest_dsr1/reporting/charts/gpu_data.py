"""The numbers behind the pictures of the GPUs: what NVML told of them over the measured time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_dsr1.machine.telemetry.throttling import (
    Span,
)
from pytest_dsr1.machine.values import GpuSample
from pytest_dsr1.reporting.charts.request_data import Point

if TYPE_CHECKING:
    from pytest_dsr1.arrays import Floats

POINTS = 60
"""Points of the line of each GPU."""

_READ: Mapping[str, Callable[[GpuSample], float | None]] = {
    "sm_clock_mhz": lambda sample: sample.sm_clock_mhz,
    "power_w": lambda sample: sample.power_w,
    "temperature_c": lambda sample: sample.temperature_c,
}
"""What is drawn of the GPUs."""


@dataclass(frozen=True, slots=True)
class Extreme:
    """The lowest or the highest sample of a run.

    Attributes:
        value: of the sample.
        gpus: those that reached it.
        at_s: when the first of them did, in s since the measurement began.
    """

    value: float
    gpus: tuple[int, ...]
    at_s: float


@dataclass(frozen=True, slots=True)
class GpuSeries:
    """What NVML told of one thing, such as the SM clock, on all GPUs of a run; values are in its unit.

    Attributes:
        lines: of each GPU the mean over each of equal times.
        band: the middle of each of those times, and the lowest and the highest sample of any GPU in it. Of
            three seconds in ten minutes a mean shows nothing.
        point_s: how long each of those times is, in s.
        lowest, highest: of all samples.
        mean: over time, of the means of the GPUs.
    """

    lines: Mapping[int, Sequence[Point]]
    band: Sequence[tuple[float, float, float]]
    point_s: float
    lowest: Extreme
    highest: Extreme
    mean: float


def gpu_series(
    gpus: Mapping[int, Sequence[Span]], measured_from_s: float, measured_s: float
) -> dict[str, GpuSeries]:
    """SM clock, power and temperature of the GPUs over the measured time, where NVML gave them.

    Args:
        gpus: the samples of each.
        measured_from_s: monotonic time at which the measured time began.
        measured_s: how long it was.
    """
    import numpy as np

    columns: dict[str, dict[int, Floats]] = {name: {} for name in _READ}
    for gpu, spans in gpus.items():
        for name, read in _READ.items():
            known = [
                (span.from_s - measured_from_s, span.seconds, value)
                for span in spans
                if (value := read(span.sample)) is not None
            ]
            if known:
                columns[name][gpu] = np.array(known, dtype=float).T
    return {name: _series(by_gpu, measured_s) for name, by_gpu in columns.items() if by_gpu}


def _series(by_gpu: Mapping[int, Floats], until_s: float) -> GpuSeries:
    """From each GPU's begins, seconds and values, an array of shape (3, samples)."""
    import numpy as np

    count = min(POINTS, max(columns.shape[1] for columns in by_gpu.values()))
    point_s = until_s / count
    middle_s = (np.arange(count) + 0.5) * point_s
    low, high = np.full(count, np.inf), np.full(count, -np.inf)
    lines, means = {}, []
    for gpu, (begin_s, seconds, values) in by_gpu.items():
        part = np.minimum(begin_s / point_s, count - 1).astype(int)
        np.minimum.at(low, part, values)
        np.maximum.at(high, part, values)
        covered_s = np.bincount(part, seconds, count)
        sums, known = np.bincount(part, seconds * values, count), covered_s > 0
        lines[gpu] = _rows(middle_s[known], sums[known] / covered_s[known])
        means.append(float(np.average(values, weights=seconds)))
    known = low <= high
    return GpuSeries(
        lines=lines,
        band=_rows(middle_s[known], low[known], high[known]),
        point_s=point_s,
        lowest=_extreme(by_gpu, float(low.min())),
        highest=_extreme(by_gpu, float(high.max())),
        mean=sum(means) / len(means),
    )


def _rows(*columns: Floats) -> list[Any]:
    return list(zip(*(column.tolist() for column in columns), strict=True))


def _extreme(by_gpu: Mapping[int, Floats], value: float) -> Extreme:
    firsts_s = {
        gpu: float(begin_s[values == value][0])
        for gpu, (begin_s, _, values) in by_gpu.items()
        if value in values
    }
    return Extreme(value, tuple(firsts_s), min(firsts_s.values()))
