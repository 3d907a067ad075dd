"""Energy from counters: known power, and every reason for which it is unknown."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.energy import COUNTER as SHOWN
from benchmarks.energy import RECORDED, watch
from pytest_dsr1.machine.gpu.inventory import read_machine
from pytest_dsr1.machine.telemetry import energy, recorder
from pytest_dsr1.machine.telemetry.energy import Energy
from pytest_dsr1.machine.telemetry.recorder import TelemetryRecorder
from pytest_dsr1.machine.values import GpuSample, Telemetry
from tests.helpers.gpu_samples import SAMPLE
from tests.helpers.waiting import wait_until
from tests.standins.nvml.control import FakeMachine

Action = Callable[[FakeMachine], None]
COUNTER = "nvmlDeviceGetTotalEnergyConsumption"
FROM_S, TO_S = 100.0, 200.0


def read(*readings: tuple[float, float | None], gpu: int = 0) -> list[GpuSample]:
    return [replace(SAMPLE, gpu=gpu, time_s=time_s, energy_j=joules) for time_s, joules in readings]


def each_second(power_w: float = 600.0, *, gpu: int = 0, without: Sequence[int] = ()) -> list[GpuSample]:
    """Return a reading per second from 99.4 to 200.4 s, without the ones of some seconds."""
    times_s = [second + 0.4 for second in range(99, 201) if second not in without]
    return read(*((time_s, power_w * time_s) for time_s in times_s), gpu=gpu)


def of(*gpus: Sequence[GpuSample], used: int = 0) -> Energy:
    samples = sorted((sample for gpu in gpus for sample in gpu), key=lambda sample: sample.time_s)
    telemetry = Telemetry(gpus=tuple(range(len(gpus))), samples=tuple(samples))
    return Energy.of(telemetry, FROM_S, TO_S, max(used, len(gpus)))


def test_the_counters_of_all_gpus_between_the_ends() -> None:
    found = of(each_second(600.0), each_second(500.0, gpu=1))
    assert (found.gpu_j(0), found.gpu_j(1), found.total_j) == pytest.approx((60000, 50000, 110000))
    assert found.why_no_total == ""
    assert found.over_time[0] == (100.0, 0.0)
    assert found.over_time[1] == pytest.approx((100.4, 440))
    assert found.over_time[-1] == pytest.approx((200.0, 110000))
    assert len(found.over_time) == 102


def test_readings_exactly_at_the_ends_need_no_others() -> None:
    times_s = range(100, 201)
    assert of(read(*((float(s), 600.0 * s) for s in times_s))).total_j == pytest.approx(60000)


@pytest.mark.parametrize(
    ("samples", "why"),
    [
        ([], "no energy counter, or NVML cannot read it"),
        (read((99.4, None), (200.4, None)), "no energy counter, or NVML cannot read it"),
        (each_second()[1:], "the energy counter was not read before the measurement began"),
        (each_second()[:-1], "the energy counter was not read after the measurement ended"),
        (
            each_second(without=(160, 161, 162)),
            "the energy counter was not read for 4.0 s (allowed 3 s), from 00:59 into the measurement",
        ),
        (
            each_second(without=(100, 101, 102)),
            "the energy counter was not read for 4.0 s (allowed 3 s), from 00:00 before the measurement "
            "began",
        ),
        (
            [*each_second()[:50], *read(*((s + 0.4, 600.0 * (s - 148.6)) for s in range(149, 201)))],
            "the energy counter fell from 89,040 to 240 J, 00:49 into the measurement: was the GPU reset?",
        ),
        (read(*((s + 0.4, 7.0) for s in range(99, 201))), "the energy counter stayed at 7 J"),
        (
            read(*((s + 0.4, 600.0 * min(s + 0.4, 150.4)) for s in range(99, 201))),
            "the energy counter stood still for 50.0 s (allowed 3 s) while the GPU drew power, from 00:50 "
            "into the measurement",
        ),
        (
            [*each_second()[:50], *read((149.4, float("nan"))), *each_second()[51:]],
            "the energy counter was nan J, 00:49 into the measurement",
        ),
        (
            [*each_second()[:-1], *read((200.4, float("inf")))],
            "the energy counter was inf J, 01:40 into the measurement",
        ),
        (
            [*each_second()[:50], *read(*((s + 0.4, 600.0 * (s + 0.4) + 1e9) for s in range(149, 201)))],
            "the energy counter grew by 1,000,059,400 J, but the power samples add up to 59,400 J (allowed "
            "difference 11,880 J)",
        ),
        (
            each_second(0.6),
            "the energy counter grew by 59 J, but the power samples add up to 59,400 J (allowed difference "
            "11,880 J)",
        ),
    ],
)
def test_a_counter_that_does_not_show_the_energy(samples: Sequence[GpuSample], why: str) -> None:
    found = of(samples)
    assert found.why_no_total == f"GPU 0: {why}"
    assert (found.gpu_j(0), found.total_j, found.over_time) == (None, None, [])


def powered(watts: float | None) -> list[GpuSample]:
    """Return a counter of 600 W that stands still from 150.4 to 154.4 s and then catches up."""
    still = read(*((s + 0.4, 600.0 * (150.4 if 150 <= s <= 154 else s + 0.4)) for s in range(99, 201)))
    return [replace(each, power_w=watts) for each in still]


def test_a_counter_may_stand_still_for_three_seconds_or_if_no_power_is_known() -> None:
    assert of(powered(600.0)).why_no_total == (
        "GPU 0: the energy counter stood still for 4.0 s (allowed 3 s) while the GPU drew power, from 00:50 "
        "into the measurement"
    )
    assert of(powered(None)).total_j == pytest.approx(60000), "no power is known"
    short = [each for each in powered(600.0) if each.time_s != 154.4]
    assert of(short).total_j == pytest.approx(60000)


@pytest.mark.parametrize("factor", [0.85, 1.15])
def test_a_counter_that_is_a_little_unlike_the_power_counts(factor: float) -> None:
    assert of(each_second(600.0 * factor)).total_j == pytest.approx(60000 * factor)


def test_in_a_short_run_the_power_may_lag() -> None:
    """Of 5 s at 600 W the power, a mean over a second, still shows idle for the first."""
    samples = [s for s in each_second() if 99 < s.time_s < 106]
    lagging = [replace(each, power_w=100.0 if each.time_s < 101.5 else 600.0) for each in samples]
    found = Energy.of(Telemetry(gpus=(0,), samples=tuple(lagging)), FROM_S, 105.0, 1)
    assert found.total_j == pytest.approx(3000)


def test_power_samples_with_a_long_gap_are_not_compared() -> None:
    samples = [replace(s, power_w=None if 110 < s.time_s < 190 else 600.0) for s in each_second(300.0)]
    assert of(samples).total_j == pytest.approx(30000)


def test_a_gap_of_three_seconds_is_allowed() -> None:
    assert of(each_second(without=(160, 161))).total_j == pytest.approx(60000)


def test_one_gpu_without_a_counter_takes_the_total_but_not_the_others() -> None:
    found = of(each_second(), [replace(one, energy_j=None) for one in each_second(gpu=1)])
    assert found.why_no_total == "GPU 1: no energy counter, or NVML cannot read it"
    assert found.gpu_j(0) == pytest.approx(60000)
    assert (found.gpu_j(1), found.total_j) == (None, None)


def test_all_reasons_are_given_at_once() -> None:
    found = of(each_second(without=(160, 161, 162))[1:], [], used=8)
    assert found.why_no_total == (
        "GPU 0: the energy counter was not read before the measurement began; the energy counter was not "
        "read for 4.0 s (allowed 3 s), from 00:59 into the measurement; GPU 1: no energy counter, or NVML "
        "cannot read it; 6 of the 8 GPUs were not watched"
    )
    assert of(each_second(), [], [], []).why_no_total == (
        "GPUs 1-3: no energy counter, or NVML cannot read it"
    ), "alike GPUs share a reason"
    assert of().total_j is None


def test_what_happened_outside_the_measured_time_does_not_count() -> None:
    """The counter begins again while the model loads; nothing is read for a minute after the end."""
    before = read((30.0, 9e9), (95.0, 1.0))
    after = read((260.0, 1e9))
    assert of([*before, *each_second(), *after]).total_j == pytest.approx(60000)


@given(st.floats(100, 101), st.floats(190, 200), st.floats(50, 300), st.floats(300, 700))
def test_the_error_at_a_jump_is_at_most_a_quarter_of_a_reading(
    from_s: float, to_s: float, idle_w: float, busy_w: float
) -> None:
    """Idle before and after, busy in between: the counter as it is, read once per second."""

    def counter(time_s: float) -> float:
        busy_s = min(max(time_s - from_s, 0.0), to_s - from_s)
        return idle_w * (time_s - busy_s) + busy_w * busy_s

    samples = read(*((s + 0.4, counter(s + 0.4)) for s in range(98, 203)))
    without_power = tuple(replace(sample, power_w=None) for sample in samples)
    found = Energy.of(Telemetry(gpus=(0,), samples=without_power), from_s, to_s, 1)
    truth_j = busy_w * (to_s - from_s)
    assert found.total_j is not None
    assert truth_j - 2 * (busy_w - idle_w) / 4 - 1e-6 <= found.total_j <= truth_j + 1e-6


# Recorded from a driver


@pytest.fixture
def recorded(two: FakeMachine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Action], Energy]:
    """Return what two GPUs drew while something was done to them; each reading finds 10 J more.

    They are read far more often than once per second, so no power is like that.
    """
    monkeypatch.setattr(recorder, "SLOW_INTERVAL_S", 0.0)
    two.set_all(**{"error.nvmlDeviceGetPowerUsage": 3})

    def wait_for_readings() -> None:
        count = len(two.calls())
        wait_until(lambda: two.calls()[count:].count(f"{COUNTER} 0") >= 3)

    def record(action: Action) -> Energy:
        gpus = read_machine(os.environ).gpus
        with TelemetryRecorder(gpus, tmp_path / "telemetry.jsonl", interval_s=0.001) as watch:
            wait_for_readings()
            from_s = time.monotonic()
            wait_for_readings()
            action(two)
            wait_for_readings()
            to_s = time.monotonic()
        return Energy.of(watch.telemetry, from_s, to_s, 2)

    return record


def test_the_counters_of_a_driver(recorded: Callable[[Action], Energy]) -> None:
    found = recorded(lambda _: None)
    assert found.why_no_total == ""
    for gpu in (0, 1):
        joules = found.gpu_j(gpu)
        assert joules is not None
        readings = [energy_j for _, energy_j in found.readings[gpu]]
        assert readings[-2] - readings[1] <= joules <= readings[-1] - readings[0]


def test_a_gpu_without_a_counter(recorded: Callable[[Action], Energy], two: FakeMachine) -> None:
    two.set_gpu(1, **{f"error.{COUNTER}": 3})
    found = recorded(lambda _: None)
    assert found.gpu_j(0) is not None
    assert found.why_no_total == "GPU 1: no energy counter, or NVML cannot read it"


def test_a_counter_that_begins_again(recorded: Callable[[Action], Energy]) -> None:
    found = recorded(lambda machine: machine.set_gpu(1, energy_mj=0))
    assert found.gpu_j(0) is not None
    assert re.fullmatch(
        r"GPU 1: the energy counter fell from 5,\d{3} to \d+ J, 00:0\d into the measurement: "
        r"was the GPU reset\?",
        found.why_no_total,
    )


def test_a_counter_that_is_not_read_for_a_while(
    recorded: Callable[[Action], Energy], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(energy, "LONGEST_GAP_S", 0.5)

    def fail_for_a_while(machine: FakeMachine) -> None:
        machine.set_gpu(1, **{f"error.{COUNTER}": 999})
        time.sleep(0.6)
        machine.set_gpu(1, **{f"error.{COUNTER}": 0})

    found = recorded(fail_for_a_while)
    assert re.fullmatch(
        r"GPU 1: the energy counter was not read for \d\.\d s \(allowed 0\.5 s\), "
        r"from 00:0\d into the measurement",
        found.why_no_total,
    )


# The benchmark that compares a counter with the power, without a load


def compared(capsys: pytest.CaptureFixture[str]) -> str:
    watch(read_machine(os.environ).gpus[0], nullcontext, seconds=0.4, idle_s=0.2, watched_s=0.02)
    return capsys.readouterr().out


def test_what_the_benchmark_prints(two: FakeMachine, capsys: pytest.CaptureFixture[str]) -> None:
    """The counter grows by 10 J per reading; the powers stay at 101, 99 and 100 W."""
    before = two.settings()
    said = compared(capsys)
    assert re.search(r"^the load, 0\.\d s$", said, re.MULTILINE)
    assert re.search(rf"^  {SHOWN} +[\d.,]+ J +[\d.]+ W$", said, re.MULTILINE)
    assert re.search(rf"^  {RECORDED} +4\d\.\d J +[+-]\d+\.\d\d% of the counter$", said, re.MULTILINE)
    assert "power, instant: " in said
    assert re.search(
        r"^a run would report [\d.,]+ J \([+-][\d.]+% of the counter at 10 Hz\)$", said, re.MULTILINE
    )
    assert re.search(rf"^{SHOWN}: \d+ readings, changes every \d+\.\d ms$", said, re.MULTILINE)
    assert re.search(
        r"average: \d+ readings, changes every unknown, 99\.0 / 99\.0 / 99\.0 W$", said, re.MULTILINE
    )
    assert two.settings() == before
    assert two.commands() == []


def test_it_has_nothing_to_compare_without_a_counter(
    two: FakeMachine, capsys: pytest.CaptureFixture[str]
) -> None:
    two.set_gpu(0, **{"error.nvmlDeviceGetTotalEnergyConsumption": 3})
    assert compared(capsys) == "NVML reports no energy counter\n"
