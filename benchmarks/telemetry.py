"""The cost of watching the GPUs of this machine. It only reads: no setting is changed.

    python -m benchmarks.telemetry [--seconds 20] [--repetitions 5]

Prints the time of one round of samples over all GPUs, for each kind of sample; the share of one CPU core that
the recorder takes at 10 Hz (by its own account, and by the operating system's account of the whole process,
less that of an idle one); the rate of samples, which should be 10 Hz; and the loss of a thread that never
leaves Python in the same process. This loss is more than the share above, because each sample hands the
interpreter over twice. Engines run in separate processes and do not have it.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median, quantiles

from pytest_dsr1.machine.gpu import nvml
from pytest_dsr1.machine.gpu.inventory import GpuReading, read_machine
from pytest_dsr1.machine.telemetry.recorder import INTERVAL_S, TelemetryRecorder

GOAL_SHARE = 0.05
"""The most that the recorder may take, as a share of one core."""

READINGS: dict[str, Callable[[nvml.Gpu], object]] = {
    "memory": nvml.Gpu.memory_gib,
    "SM clock": nvml.Gpu.sm_clock_mhz,
    "memory clock": nvml.Gpu.memory_clock_mhz,
    "power": nvml.Gpu.power_w,
    "energy": nvml.Gpu.energy_j,
    "temperature": nvml.Gpu.temperature_c,
    "utilization": nvml.Gpu.utilization_percent,
    "throttle reasons": nvml.Gpu.throttle_reasons,
    "processes (1 Hz)": nvml.Gpu.processes,
}


def print_readings(gpus: tuple[GpuReading, ...], rounds: int = 50) -> None:
    """Print the time of each reading of one GPU, in microseconds."""
    with nvml.opened() as library:
        opened = [library.gpu(gpu.index) for gpu in gpus]
        total_us = 0.0
        print(f"{'reading of one GPU':<20}{'median us':>12}{'p95 us':>12}")
        for name, read in READINGS.items():
            times_us = []
            for _ in range(rounds):
                for gpu in opened:
                    start_s = time.perf_counter()
                    read(gpu)
                    times_us.append((time.perf_counter() - start_s) * 1e6)
            total_us += median(times_us) if "1 Hz" not in name else 0.0
            print(f"{name:<20}{median(times_us):>12.1f}{quantiles(times_us, n=20)[-1]:>12.1f}")
        round_ms = total_us * len(opened) / 1e3
        print(f"one round of {len(opened)} GPUs: {round_ms:.2f} ms of {INTERVAL_S * 1e3:g} ms")


def cpu_share(seconds: float) -> float:
    """Return the share of one core that this process takes while its main thread sleeps."""
    start_s, start_cpu_s = time.perf_counter(), time.process_time()
    time.sleep(seconds)
    return (time.process_time() - start_cpu_s) / (time.perf_counter() - start_s)


def work_rate(seconds: float) -> float:
    """Return how often per second a fixed piece of Python work is done."""
    rounds, start_s = 0, time.perf_counter()
    while time.perf_counter() - start_s < seconds:
        sum(range(20_000))
        rounds += 1
    return rounds / (time.perf_counter() - start_s)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=20.0, help="length of one measurement")
    parser.add_argument("--repetitions", type=int, default=5)
    options = parser.parse_args()
    machine = read_machine(os.environ)
    if machine.problem is not None:
        parser.exit(1, f"{machine.problem}\n")
    print(f"{len(machine.gpus)} x {machine.gpus[0].name}, driver {machine.driver}")
    print_readings(machine.gpus)
    shares, above_idle, rates_hz, slowdowns = [], [], [], []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "telemetry.jsonl"
        for _ in range(options.repetitions):
            idle = cpu_share(options.seconds / 4)
            alone = work_rate(options.seconds / 4)
            with TelemetryRecorder(machine.gpus, path) as recorder:
                above_idle.append(cpu_share(options.seconds) - idle)
            seen = recorder.telemetry
            shares.append(seen.overhead_share)
            times_s = [sample.time_s for sample in seen.samples if sample.gpu == seen.gpus[0]]
            rates_hz.append((len(times_s) - 1) / (times_s[-1] - times_s[0]))
            with TelemetryRecorder(machine.gpus, path):
                slowdowns.append(1 - work_rate(options.seconds / 4) / alone)
            for event in seen.events:
                print(f"event: {event.kind}: {event.message}")
    print(f"{'over ' + str(options.repetitions) + ' repetitions':<44}{'median':>10}{'worst':>10}")
    for name, values, worst in (
        ("share of one core, recorder's own account", shares, max),
        ("share of one core, process less an idle one", above_idle, max),
        ("loss of a busy Python thread", slowdowns, max),
    ):
        print(f"{name:<46}{median(values):>8.2%}{worst(values):>10.2%}")
    print(f"{'samples per GPU and second (expected 10)':<46}{median(rates_hz):>8.2f}{min(rates_hz):>10.2f}")
    met = "met" if median(shares) <= GOAL_SHARE else "missed"
    print(f"goal: at most {GOAL_SHARE:.0%} of one core at the median: {met}")


if __name__ == "__main__":
    main()
