"""The numbers behind the pictures of the GPUs: NVML's samples over the measured time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pytest_dsr1.machine.gpu.inventory import gpu_list, node_of
from pytest_dsr1.machine.telemetry.throttling import Span
from pytest_dsr1.machine.values import GpuName, GpuSample
from pytest_dsr1.reporting.charts.request_data import Point

if TYPE_CHECKING:
    from pytest_dsr1.arrays import Floats

POINTS = 60
"""Points in the line of each GPU."""

_READ: Mapping[str, Callable[[GpuSample], float | None]] = {
    "sm_clock_mhz": lambda sample: sample.sm_clock_mhz,
    "power_w": lambda sample: sample.power_w,
    "temperature_c": lambda sample: sample.temperature_c,
}
"""The values that are drawn for each GPU."""


@dataclass(frozen=True, slots=True)
class Extreme:
    """The lowest or the highest sample of a run.

    Attributes:
        value: of the sample.
        gpus: the GPUs that reached it.
        at_s: when the first of them did, in s since the measurement began.
    """

    value: float
    gpus: tuple[GpuName, ...]
    at_s: float


@dataclass(frozen=True, slots=True)
class GpuSeries:
    """One quantity, such as the SM clock, on all GPUs of a run, in NVML's unit.

    Attributes:
        lines: by GPU, or by node if there are several, the mean over each interval; all are equally long.
        band: for each interval its middle in s, and the lowest and highest sample of any GPU. A mean would
            hide an event of three seconds in ten minutes.
        point_s: the length of an interval, in s.
        lowest, highest: of all samples.
        mean: the average of the GPUs' means over time.
        gpus: the number of GPUs.
    """

    lines: Mapping[str, Sequence[Point]]
    band: Sequence[tuple[float, float, float]]
    point_s: float
    lowest: Extreme
    highest: Extreme
    mean: float
    gpus: int


def gpu_series(
    gpus: Mapping[GpuName, Sequence[Span]], measured_from_s: float, measured_s: float
) -> dict[str, GpuSeries]:
    """Return SM clock, power and temperature of the GPUs over the measured time, if NVML reported them.

    Args:
        gpus: the samples of each GPU.
        measured_from_s: monotonic time at which the measured time began.
        measured_s: how long the measured time was.
    """
    import numpy as np

    columns: dict[str, dict[GpuName, Floats]] = {name: {} for name in _READ}
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


def _series(by_gpu: Mapping[GpuName, Floats], until_s: float) -> GpuSeries:
    """Return the series from each GPU's starts, durations and values, an array of shape (3, samples)."""
    import numpy as np

    count = min(POINTS, max(columns.shape[1] for columns in by_gpu.values()))
    point_s = until_s / count
    middle_s = (np.arange(count) + 0.5) * point_s
    low, high = np.full(count, np.inf), np.full(count, -np.inf)
    covered_s: dict[str, Floats] = {}
    sums: dict[str, Floats] = {}
    means = []
    for gpu, (begin_s, seconds, values) in by_gpu.items():
        part = np.minimum(begin_s / point_s, count - 1).astype(int)
        np.minimum.at(low, part, values)
        np.maximum.at(high, part, values)
        of = node_of(gpu)[0] or gpu_list([gpu])
        covered_s.setdefault(of, np.zeros(count))[:] += np.bincount(part, seconds, count)
        sums.setdefault(of, np.zeros(count))[:] += np.bincount(part, seconds * values, count)
        means.append(float(np.average(values, weights=seconds)))
    lines = {
        of: _rows(middle_s[seen_s > 0], sums[of][seen_s > 0] / seen_s[seen_s > 0])
        for of, seen_s in covered_s.items()
    }
    known = low <= high
    return GpuSeries(
        lines=lines,
        band=_rows(middle_s[known], low[known], high[known]),
        point_s=point_s,
        lowest=_extreme(by_gpu, float(low.min())),
        highest=_extreme(by_gpu, float(high.max())),
        mean=sum(means) / len(means),
        gpus=len(means),
    )


def _rows(*columns: Floats) -> list[Any]:
    return list(zip(*(column.tolist() for column in columns), strict=True))


def _extreme(by_gpu: Mapping[GpuName, Floats], value: float) -> Extreme:
    firsts_s = {
        gpu: float(begin_s[values == value][0])
        for gpu, (begin_s, _, values) in by_gpu.items()
        if value in values
    }
    return Extreme(value, tuple(firsts_s), min(firsts_s.values()))
