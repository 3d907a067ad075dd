"""The energy of the GPUs over a time, from NVML's counters, which only grow while the driver is loaded."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from math import isfinite
from operator import itemgetter

from pytest_dsr1.machine.gpu.inventory import gpu_list
from pytest_dsr1.machine.values import GpuName, Telemetry
from pytest_dsr1.text import clock

LONGEST_GAP_S = 3.0
"""The longest time between two readings of a counter, in s; the recorder reads it once per second. A counter
loses nothing in a gap, but telemetry that stops for so long cannot show a reset within it."""

MOST_OFF = 0.2
"""The most by which a counter may differ from the power samples, as a share; on a real H200 it is 0.5%."""
LATE_S = 2.0
"""This many seconds at the highest power are an allowed difference, or a short run would be condemned:
power is a mean over the last second, and one of 15 s differs by 2 to 3% on a real H200."""

Reading = tuple[float, float]
"""Monotonic time in s, and a counter in J or a power in W."""


@dataclass(frozen=True, slots=True)
class Energy:
    """The energy of a run's GPUs over a time.

    A counter at either end of the time is interpolated between the readings before and after it. If the power
    changes by P watts at an end, and readings are T seconds apart, this is wrong by at most P * T / 4 joules.

    Attributes:
        from_s: monotonic time at which it begins.
        to_s: monotonic time at which it ends.
        used: the number of GPUs that the run used.
        readings: by GPU, from the last reading at or before the time to the first one at or after it.
        why_not: by GPU, why its energy over the time is unknown, one reason or more; only such GPUs.
    """

    from_s: float
    to_s: float
    used: int
    readings: Mapping[GpuName, Sequence[Reading]]
    why_not: Mapping[GpuName, Sequence[str]]

    @classmethod
    def of(cls, telemetry: Telemetry, from_s: float, to_s: float, used: int) -> Energy:
        """Return the energy of the watched GPUs between two monotonic times."""
        found: dict[GpuName, list[Reading]] = {gpu: [] for gpu in telemetry.gpus}
        powers: dict[GpuName, list[Reading]] = {gpu: [] for gpu in telemetry.gpus}
        for sample in telemetry.samples:
            if sample.energy_j is not None and sample.gpu in found:
                found[sample.gpu].append((sample.time_s, sample.energy_j))
            if sample.power_w is not None and sample.gpu in powers:
                powers[sample.gpu].append((sample.time_s, sample.power_w))
        around = {gpu: _around(readings, from_s, to_s) for gpu, readings in found.items()}
        doubts = {gpu: list(_doubts(around[gpu], powers[gpu], from_s, to_s)) for gpu in around}
        return cls(from_s, to_s, used, around, {gpu: each for gpu, each in doubts.items() if each})

    def gpu_j(self, gpu: GpuName) -> float | None:
        """Return the energy of one GPU in J; None if it is unknown."""
        if gpu not in self.readings or gpu in self.why_not:
            return None
        return _at(self.readings[gpu], self.to_s) - _at(self.readings[gpu], self.from_s)

    @property
    def why_no_total(self) -> str:
        """The reasons why the energy of all GPUs is unknown; empty if it is known."""
        alike: dict[str, list[GpuName]] = {}
        for gpu, each in self.why_not.items():
            alike.setdefault("; ".join(each), []).append(gpu)
        reasons = [f"{gpu_list(gpus)}: {why}" for why, gpus in alike.items()]
        unseen = self.used - len(self.readings)
        if unseen > 0:
            reasons.append(f"{unseen} of the {self.used} GPUs were not watched")
        return "; ".join(reasons)

    @property
    def total_j(self) -> float | None:
        """The energy of all GPUs in J; None if that of any is unknown."""
        known = [each for gpu in self.readings if (each := self.gpu_j(gpu)) is not None]
        return sum(known) if known and not self.why_no_total else None

    @property
    def over_time(self) -> list[Reading]:
        """The energy of all GPUs in J since the start, at both ends and at each reading of the first GPU.

        Empty without a total.
        """
        if self.total_j is None:
            return []
        first, *_ = self.readings.values()
        times_s = [self.from_s, *(s for s, _ in first if self.from_s < s < self.to_s), self.to_s]
        begun_j = sum(_at(readings, self.from_s) for readings in self.readings.values())
        return [(s, sum(_at(readings, s) for readings in self.readings.values()) - begun_j) for s in times_s]


def _around(readings: Sequence[Reading], from_s: float, to_s: float) -> Sequence[Reading]:
    times_s = [time_s for time_s, _ in readings]
    return readings[max(bisect_right(times_s, from_s) - 1, 0) : bisect_left(times_s, to_s) + 1]


def _doubts(
    readings: Sequence[Reading], powers: Sequence[Reading], from_s: float, to_s: float
) -> Iterator[str]:
    """Yield why the energy between two times is unknown, given the readings around them, and the power."""
    if not readings:
        yield "no energy counter, or NVML cannot read it"
        return
    if wrong := next((reading for reading in readings if not isfinite(reading[1])), None):
        yield f"the energy counter was {wrong[1]} J, {_since(wrong[0], from_s)}"
        return
    if readings[0][0] > from_s:
        yield "the energy counter was not read before the measurement began"
    if readings[-1][0] < to_s:
        yield "the energy counter was not read after the measurement ended"
    steps = list(pairwise(readings))
    gap_s, begin_s = max(((after - before, before) for (before, _), (after, _) in steps), default=(0.0, 0.0))
    if gap_s > LONGEST_GAP_S:
        yield (
            f"the energy counter was not read for {gap_s:.1f} s (allowed {LONGEST_GAP_S:g} s), "
            f"from {_since(begin_s, from_s)}"
        )
    for (_, before_j), (after_s, after_j) in steps:
        if after_j < before_j:
            yield (
                f"the energy counter fell from {before_j:,.0f} to {after_j:,.0f} J, "
                f"{_since(after_s, from_s)}: was the GPU reset?"
            )
            return
    if steps and readings[0][1] == readings[-1][1]:
        yield f"the energy counter stayed at {readings[0][1]:,.0f} J"
        return
    if stuck := next(_stuck(readings, powers), None):
        begin_s, end_s = stuck
        yield (
            f"the energy counter stood still for {end_s - begin_s:.1f} s (allowed {LONGEST_GAP_S:g} s) while "
            f"the GPU drew power, from {_since(begin_s, from_s)}"
        )
        return
    yield from _unlike_power(readings, [each for each in powers if from_s <= each[0] <= to_s])


def _stuck(readings: Sequence[Reading], powers: Sequence[Reading]) -> Iterator[Reading]:
    """Yield begin and end of each time in which a counter stood still too long while power was drawn."""
    for _, same in groupby(readings, key=itemgetter(1)):
        (begin_s, _), *_, (end_s, _) = [*same] * 2
        if end_s - begin_s <= LONGEST_GAP_S:
            continue
        during = [watts for time_s, watts in powers if begin_s <= time_s <= end_s]
        if during and min(during) > 0:
            yield begin_s, end_s


def _unlike_power(readings: Sequence[Reading], powers: Sequence[Reading]) -> Iterator[str]:
    """Yield that a counter differs grossly from power samples without a long gap between them."""
    steps = list(pairwise(powers))
    if not steps or max(after - before for (before, _), (after, _) in steps) > LONGEST_GAP_S:
        return
    (begin_s, _), (end_s, _) = powers[0], powers[-1]
    counted_j = _at(readings, end_s) - _at(readings, begin_s)
    drawn_j = sum((after - before) * (low + high) / 2 for (before, low), (after, high) in steps)
    allowed_j = max(MOST_OFF * drawn_j, LATE_S * max(watts for _, watts in powers))
    if not abs(counted_j - drawn_j) <= allowed_j:
        yield (
            f"the energy counter grew by {counted_j:,.0f} J, but the power samples add up to {drawn_j:,.0f} "
            f"J (allowed difference {allowed_j:,.0f} J)"
        )


def _since(time_s: float, from_s: float) -> str:
    if time_s < from_s:
        return f"{clock(from_s - time_s)} before the measurement began"
    return f"{clock(time_s - from_s)} into the measurement"


def _at(readings: Sequence[Reading], time_s: float) -> float:
    """Return a counter at a time, interpolated between two readings; beyond them, the nearest one."""
    after = bisect_left(readings, (time_s,))
    if after == 0 or after == len(readings):
        return readings[min(after, len(readings) - 1)][1]
    (before_s, before_j), (after_s, after_j) = readings[after - 1], readings[after]
    return before_j + (after_j - before_j) * (time_s - before_s) / (after_s - before_s)
