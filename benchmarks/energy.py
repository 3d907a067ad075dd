"""The energy counter of one GPU against its power readings, under a load. No setting is changed.

    python -m benchmarks.energy [--seconds 20] [--idle-s 3]

Multiplies matrices with PyTorch on the first visible GPU, between idle times. Meanwhile it reads the energy
counter and the power (at this moment, and NVML's mean over a second) 10 times a second, and the recorder of
a run watches the same GPU. Prints the counter's energy against the integral of each power, the energy that a
run would report for the load, how often each value changes, and the lowest, mean and highest power.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import pairwise
from pathlib import Path
from statistics import fmean, median

from pytest_dsr1.machine.gpu import nvml
from pytest_dsr1.machine.gpu.inventory import GpuReading, read_machine
from pytest_dsr1.machine.telemetry.energy import Energy
from pytest_dsr1.machine.telemetry.recorder import TelemetryRecorder

INTERVAL_S = 0.1
SETTLED_S = 2.0
"""The start of the load that the second comparison leaves out: a mean over a second lags behind."""
WATCHED_S = 2.0
"""How long each value is read without a pause, to see how often it changes."""
SIZE = 8192

COUNTER, RECORDED = "energy counter", "power, as recorded"
READINGS: Mapping[str, Callable[[nvml.Gpu], float | None]] = {
    COUNTER: nvml.Gpu.energy_j,
    "power, instant": nvml.Gpu.power_instant_w,
    "power, average": nvml.Gpu.power_average_w,
    RECORDED: nvml.Gpu.power_w,
}

Point = tuple[float, float]
"""Monotonic time in s, and a value in J or W."""
Load = Callable[[], AbstractContextManager[None]]


def at(points: Sequence[Point], time_s: float) -> float:
    """Return a value at a time, interpolated between two readings.

    Raises:
        ValueError: the time is before the first or after the last reading.
    """
    for (before_s, before), (after_s, after) in pairwise(points):
        if before_s <= time_s <= after_s:
            return before + (after - before) * (time_s - before_s) / (after_s - before_s)
    raise ValueError(f"no readings around {time_s:.3f} s")


def integral(points: Sequence[Point], from_s: float, to_s: float) -> float:
    """Return the integral between two times, by trapezoids between readings."""
    inside = [point for point in points if from_s < point[0] < to_s]
    edges = [(from_s, at(points, from_s)), *inside, (to_s, at(points, to_s))]
    return sum((before + after) / 2 * (end - start) for (start, before), (end, after) in pairwise(edges))


def update_interval_s(points: Sequence[Point]) -> float | None:
    """Return the median time between two changes of a value; None with fewer than three changes."""
    changes_s = [after_s for (_, before), (after_s, after) in pairwise(points) if after != before]
    return median(end - start for start, end in pairwise(changes_s)) if len(changes_s) > 2 else None


def sample(gpu: nvml.Gpu, seconds: float, found: Mapping[str, list[Point]]) -> None:
    """Read everything each 100 ms and append it; a value that NVML does not report stays empty."""
    due_s = time.monotonic()
    end_s = due_s + seconds
    while due_s < end_s:
        for name, read in READINGS.items():
            time_s, value = time.monotonic(), read(gpu)
            if value is not None:
                found[name].append((time_s, value))
        due_s = max(due_s + INTERVAL_S, time.monotonic())
        time.sleep(max(min(due_s, end_s) - time.monotonic(), 0.0))


def polled(read: Callable[[nvml.Gpu], float | None], gpu: nvml.Gpu, seconds: float) -> list[Point]:
    """Read one value without a pause; empty if NVML does not report it."""
    points: list[Point] = []
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s and (value := read(gpu)) is not None:
        points.append((time.monotonic(), value))
    return points


def matrix_products() -> Load:
    """Return a load of the first visible GPU, in a thread: BF16 products of random matrices."""
    os.environ["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"  # as NVML counts
    import torch

    left, right = (torch.randn(SIZE, SIZE, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    torch.mm(left, right)
    torch.cuda.synchronize()

    @contextmanager
    def load() -> Iterator[None]:
        stop = threading.Event()

        def work() -> None:
            while not stop.is_set():
                for _ in range(10):
                    torch.mm(left, right)
                torch.cuda.synchronize()

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    return load


def print_comparison(title: str, found: Mapping[str, Sequence[Point]], from_s: float, to_s: float) -> None:
    """Print the counter's energy between two times, and the integral of each power against it."""
    counted_j = at(found[COUNTER], to_s) - at(found[COUNTER], from_s)
    print(f"{title}, {to_s - from_s:.1f} s")
    print(f"  {COUNTER:<20}{counted_j:>12,.1f} J{counted_j / (to_s - from_s):>10.1f} W")
    for name, points in found.items():
        if name != COUNTER and points:
            summed_j = integral(points, from_s, to_s)
            print(f"  {name:<20}{summed_j:>12,.1f} J{summed_j / counted_j - 1:>+10.2%} of the counter")


def watch(gpu: GpuReading, load: Load, seconds: float, idle_s: float, watched_s: float = WATCHED_S) -> None:
    """Run the load between idle times, then again for the update intervals, and print everything."""
    found: dict[str, list[Point]] = {name: [] for name in READINGS}
    with nvml.opened() as library, tempfile.TemporaryDirectory() as folder:
        opened = library.gpu(gpu.index)
        path = Path(folder) / "telemetry.jsonl"
        with TelemetryRecorder((gpu,), path, expected=(os.getpid(),)) as recorder:
            sample(opened, idle_s, found)
            with load():
                from_s = time.monotonic()
                sample(opened, seconds, found)
                to_s = time.monotonic()
            sample(opened, idle_s, found)
        with load():
            time.sleep(watched_s)
            intervals = {
                name: update_interval_s(polled(read, opened, watched_s)) for name, read in READINGS.items()
            }
    if not found[COUNTER]:
        print("NVML reports no energy counter")
        return
    print_comparison("the load", found, from_s, to_s)
    if seconds > SETTLED_S:
        print_comparison(f"the load without its first {SETTLED_S:g} s", found, from_s + SETTLED_S, to_s)
    counted_j = at(found[COUNTER], to_s) - at(found[COUNTER], from_s)
    energy = Energy.of(recorder.telemetry, from_s, to_s, 1)
    if energy.total_j is None:
        print(f"a run would report no energy: {energy.why_no_total}")
    else:
        share = energy.total_j / counted_j - 1
        print(f"a run would report {energy.total_j:,.1f} J ({share:+.2%} of the counter at 10 Hz)")
    for name, points in found.items():
        interval_s = intervals[name]
        often = "unknown" if interval_s is None else f"{interval_s * 1e3:.1f} ms"
        inside = [value for time_s, value in points if from_s <= time_s <= to_s]
        power = (
            f", {min(inside):.1f} / {fmean(inside):.1f} / {max(inside):.1f} W"
            if name != COUNTER and inside
            else ""
        )
        print(f"{name}: {len(points)} readings, changes every {often}{power}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=20.0, help="length of the load")
    parser.add_argument("--idle-s", type=float, default=3.0, help="idle time before and after it")
    options = parser.parse_args()
    machine = read_machine(os.environ)
    if machine.problem is not None:
        parser.exit(1, f"{machine.problem}\n")
    gpu = machine.gpus[0]
    print(f"{gpu.name}, driver {machine.driver}, BF16 products of {SIZE} x {SIZE}")
    watch(gpu, matrix_products(), options.seconds, options.idle_s)


if __name__ == "__main__":
    main()
