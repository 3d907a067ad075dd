from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from pydantic import TypeAdapter

from pytest_dsr1.machine import host
from pytest_dsr1.machine.gpu.inventory import read_machine
from pytest_dsr1.machine.telemetry import recorder as module
from pytest_dsr1.machine.telemetry.recorder import Now, TelemetryRecorder
from pytest_dsr1.machine.values import ErrorCounters, Event, GpuSample
from tests.helpers.waiting import wait_until
from tests.standins.nvml.control import GIB, FakeMachine


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "telemetry.jsonl"


@pytest.fixture(autouse=True)
def _look_for_others_at_every_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SLOW_INTERVAL_S", 0.0)


def record(path: Path) -> TelemetryRecorder:
    return TelemetryRecorder(read_machine(os.environ).gpus, path, interval_s=0.001)


def rounds(machine: FakeMachine) -> int:
    """How often the processes of GPU 0 were asked for, which ends a round of samples.

    NVML's binding asks twice in a round, for their number first, where there are any.
    """
    return machine.calls().count("nvmlDeviceGetComputeRunningProcesses_v3 0")


def wait_a_round(machine: FakeMachine) -> None:
    """Until a round has begun and ended after now: the rest of this one, a whole one, and the next begun."""
    now = rounds(machine)
    wait_until(lambda: rounds(machine) >= now + 4)


def test_every_reading_of_every_gpu_is_kept(two: FakeMachine, path: Path) -> None:
    two.set_gpu(1, sm_clock=1500, power_mw=650_500, memory_used=70 * GIB, utilization=98, temperature=71)
    two.set_all(throttle_reasons="0x4")
    with record(path) as recorder:
        wait_a_round(two)
    seen = recorder.telemetry
    assert seen.gpus == (0, 1)
    assert seen.max_sm_clock_mhz == (1980, 1980)
    assert seen.pcie_generation_max == (5, 5)
    assert seen.ecc_uncorrected_before == seen.ecc_uncorrected_after == (0, 0)
    assert seen.events == ()
    assert seen.processes_visible
    assert 0 < seen.overhead_share <= 1
    assert {sample.gpu for sample in seen.samples} == {0, 1}
    sample = next(one for one in seen.samples if one.gpu == 1)
    assert sample == GpuSample(
        time_s=sample.time_s,
        gpu=1,
        sm_clock_mhz=1500,
        memory_clock_mhz=3201,
        power_w=sample.power_w,
        energy_j=sample.energy_j,
        temperature_c=71,
        memory_used_gib=70.0,
        utilization_percent=98,
        throttle_reasons=4,
        pcie_generation=5,
    )
    assert sample.power_w == pytest.approx(650.5)
    times = [one.time_s for one in seen.samples]
    assert times == sorted(times)
    energies = [s.energy_j for s in seen.samples if s.gpu == 1 and s.energy_j is not None]
    assert energies == sorted(energies)
    assert energies[0] < energies[-1]


def test_counters_are_read_each_second_and_once_after_a_stall(
    two: FakeMachine, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ticks are 0.1 s apart and 1 ms late; the 31st takes 5 s longer. Time passes only between them."""

    class Clock(threading.Event):
        now_s, waits = 0.0, 0

        def wait(self, timeout: float | None = None) -> bool:
            assert timeout is not None
            self.waits += 1
            self.now_s += max(timeout, 0.0) + (5.0 if self.waits == 31 else 0.001)
            return self.waits == 60

    clock = Clock()
    watch = TelemetryRecorder(read_machine(os.environ).gpus[:1], path, interval_s=0.1)
    times = SimpleNamespace(monotonic=lambda: clock.now_s, thread_time=lambda: clock.now_s)
    monkeypatch.setattr(module, "time", times)
    monkeypatch.setattr(module, "SLOW_INTERVAL_S", 1.0)
    monkeypatch.setattr(watch, "_stop", clock)
    with watch:
        pass
    read_s = [sample.time_s for sample in watch.telemetry.samples if sample.energy_j is not None]
    assert read_s == pytest.approx([0.0, 1.0, 2.0, 3.0, 8.1, 9.1, 10.1, 10.9], abs=0.01), "10.9: the last"


def test_the_file_holds_every_sample_and_can_be_read_again(two: FakeMachine, path: Path) -> None:
    with record(path) as recorder:
        wait_a_round(two)
    sample = TypeAdapter(GpuSample)
    read = [sample.validate_json(line) for line in path.read_text().splitlines()]
    assert tuple(read) == recorder.telemetry.samples


def test_samples_reach_the_file_while_the_run_goes_on(two: FakeMachine, path: Path) -> None:
    with record(path):
        wait_until(lambda: path.exists() and path.read_text().endswith("}\n"))
        assert json.loads(path.read_text().splitlines()[0])["gpu"] == 0


def test_nothing_but_reading_happens(two: FakeMachine, path: Path) -> None:
    before = two.settings()
    with record(path):
        wait_a_round(two)
    assert two.commands() == []
    assert two.settings() == before
    calls = [call.replace("nvmlEventSet", "") for call in two.calls()]
    assert not [call for call in calls if "Set" in call or "Reset" in call]
    assert two.calls()[-1] == "nvmlShutdown -"


def test_the_newest_samples_as_means(two: FakeMachine, path: Path) -> None:
    two.set_gpu(0, sm_clock=1900, power_mw=600_000)
    two.set_gpu(1, sm_clock=1800, power_mw=500_000)
    recorder = record(path)
    assert recorder.latest() == Now(None, None)
    with recorder:
        wait_a_round(two)
        assert recorder.latest() == Now(power_w=550.0, sm_clock_mhz=1850.0)


def test_changes_show_in_the_samples(two: FakeMachine, path: Path) -> None:
    two.set_gpu(0, throttle_reasons="0x0 0x40 0x0", ecc_uncorrected=2)
    with record(path) as recorder:
        wait_a_round(two)
        two.set_gpu(0, ecc_uncorrected=5)
    masks = [one.throttle_reasons for one in recorder.telemetry.samples if one.gpu == 0]
    assert masks[:3] == [0, 0x40, 0]
    assert recorder.telemetry.ecc_uncorrected_before == (2, 0)
    assert recorder.telemetry.ecc_uncorrected_after == (5, 0)


def test_repaired_errors_are_counted_before_and_after(two: FakeMachine, path: Path) -> None:
    two.set_gpu(1, ecc_corrected=1, pcie_replays=2, nvlink_replays=3, remapped_rows=4)
    with record(path) as recorder:
        wait_a_round(two)
        two.set_gpu(1, ecc_corrected=5)
    seen = recorder.telemetry
    assert seen.errors_before == (ErrorCounters(0, 0, 0, 0), ErrorCounters(2, 3, 1, 4))
    assert seen.errors_after == (ErrorCounters(0, 0, 0, 0), ErrorCounters(2, 3, 5, 4))


def test_xid_errors_are_events(two: FakeMachine, path: Path) -> None:
    """The last ones too: those that come while the engine ends, after the last regular look."""
    with record(path) as recorder:
        wait_a_round(two)
        two.set_gpu(1, xids="31 79")
        wait_a_round(two)
        two.set_gpu(0, xids="45")
    seen = recorder.telemetry
    assert seen.xids_watched
    assert [(one.gpu, one.kind, one.message, one.xid) for one in seen.events] == [
        (1, "xid", "Xid 31 (memory page fault)", 31),
        (1, "xid", "Xid 79 (GPU has fallen off the bus)", 79),
        (0, "xid", "Xid 45 (cleanup after a program ended)", 45),
    ]
    assert seen.events == tuple(sorted(seen.events, key=lambda event: event.time_s))


def test_a_driver_without_xid_events_is_watched_otherwise(two: FakeMachine, path: Path) -> None:
    two.set("error.nvmlEventSetCreate", 3)
    with record(path) as recorder:
        wait_a_round(two)
    assert not recorder.telemetry.xids_watched
    assert recorder.telemetry.events == ()
    assert recorder.telemetry.samples


def test_xid_events_that_fail_are_one_event(two: FakeMachine, path: Path) -> None:
    two.set("error.nvmlEventSetWait_v2", 999)
    with record(path) as recorder:
        wait_a_round(two)
    assert [(one.gpu, one.kind, one.message) for one in recorder.telemetry.events] == [
        (None, "error", "nvmlEventSetWait_v2: Unknown Error")
    ]


def test_a_lost_gpu_is_an_event_and_the_others_go_on(two: FakeMachine, path: Path) -> None:
    with record(path) as recorder:
        wait_a_round(two)
        two.set_gpu(1, error=15)
        wait_a_round(two)
        wait_a_round(two)
    seen = recorder.telemetry
    lost = [(one.gpu, one.kind) for one in seen.events]
    assert lost == [(1, "lost")]
    assert seen.events[0].message.endswith(": GPU is lost")
    assert seen.ecc_uncorrected_after == (0, None)
    assert [one for one in seen.samples if one.gpu == 0][-1].time_s > seen.events[0].time_s
    assert [one for one in seen.samples if one.gpu == 1][-1].time_s < seen.events[0].time_s


def test_a_gpu_lost_before_the_first_sample(two: FakeMachine, path: Path) -> None:
    recorder = record(path)
    two.set_gpu(1, error=15)
    with recorder:
        wait_a_round(two)
    assert [(one.gpu, one.kind) for one in recorder.telemetry.events] == [(1, "lost")]
    assert recorder.telemetry.ecc_uncorrected_before == (0, None)


def test_another_error_is_reported_once_and_sampling_continues(two: FakeMachine, path: Path) -> None:
    two.set_gpu(1, **{"error.nvmlDeviceGetPowerUsage": 999})
    two.set_gpu(0, **{"error.nvmlDeviceGetTotalEccErrors": 999})
    two.set_gpu(1, **{"error.nvmlDeviceGetComputeRunningProcesses_v3": 999})
    with record(path) as recorder:
        wait_a_round(two)
        two.set_gpu(1, **{"error.nvmlDeviceGetPowerUsage": 0})
        wait_a_round(two)
    seen = recorder.telemetry
    assert [(one.gpu, one.kind, one.message) for one in seen.events] == [
        (0, "error", "nvmlDeviceGetTotalEccErrors: Unknown Error"),
        (1, "error", "nvmlDeviceGetPowerUsage: Unknown Error"),
        (1, "error", "nvmlDeviceGetComputeRunningProcesses_v3: Unknown Error"),
    ]
    assert 1 in {one.gpu for one in seen.samples}


def test_a_driver_that_goes_away_does_not_end_the_run(two: FakeMachine, path: Path) -> None:
    recorder = record(path)
    two.set("error.nvmlInitWithFlags", 9)
    with recorder:
        pass
    seen = recorder.telemetry
    assert [(one.gpu, one.kind, one.message) for one in seen.events] == [
        (None, "error", "the NVIDIA driver is installed but not loaded (see: dmesg | grep -i nvrm)")
    ]
    assert (seen.samples, seen.ecc_uncorrected_before) == ((), (None, None))


def test_a_file_that_cannot_be_written_is_an_event(two: FakeMachine, tmp_path: Path) -> None:
    path = tmp_path / "no" / "folder" / "telemetry.jsonl"
    with record(path) as recorder:
        wait_a_round(two)
    assert [one.message for one in recorder.telemetry.events] == [
        f"{path}: telemetry cannot be written: No such file or directory"
    ]
    assert recorder.telemetry.samples


def test_on_the_cpu_nothing_runs(two: FakeMachine, path: Path) -> None:
    threads = threading.active_count()
    with TelemetryRecorder((), path) as recorder:
        assert threading.active_count() == threads
        recorder.warmed_up()
        assert recorder.latest() == Now(None, None)
    assert not recorder.telemetry.gpus
    assert not recorder.telemetry.samples
    assert (two.calls(), path.exists()) == ([], False)


def test_a_foreign_process_is_reported_once_and_ours_is_not(two: FakeMachine, path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as ours:
        two.set_gpu(0, processes=f"{os.getpid()}:0 {ours.pid}:0")
        with record(path) as recorder:
            wait_a_round(two)
            two.set_gpu(1, processes=f"{os.getppid()}:{3 * GIB} 4194305:0")
            wait_a_round(two)
            wait_a_round(two)
        ours.communicate(b"\n")
    (event,) = recorder.telemetry.events
    assert (event.gpu, event.kind) == (1, "foreign process")
    assert event.message.startswith(f"pid {os.getppid()} (")
    assert event.message.endswith(") with 3.0 GiB")


def test_in_a_container_one_more_than_after_warm_up_is_foreign(
    two: FakeMachine, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "pids_are_the_hosts", lambda: False)
    two.set_gpu(0, processes="11:0")
    with record(path) as recorder:
        wait_a_round(two)
        two.set_gpu(0, processes="11:0 12:0")  # the engine is still starting its workers
        wait_a_round(two)
        recorder.warmed_up()
        wait_a_round(two)
        two.set_gpu(0, processes="11:0 12:0 13:0")
        wait_a_round(two)
        wait_a_round(two)
    seen = recorder.telemetry
    assert not seen.processes_visible
    assert [(one.gpu, one.kind, one.message) for one in seen.events] == [
        (0, "foreign process", "3 compute processes instead of the 2 after warm-up")
    ]


def test_events_can_be_saved_and_loaded() -> None:
    events = (Event(1.5, None, "error", "words"), Event(2.0, 3, "lost", "words"))
    adapter = TypeAdapter(tuple[Event, ...])
    assert adapter.validate_json(adapter.dump_json(events)) == events
