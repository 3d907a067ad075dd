"""Clocks, power, temperature and throttling of the GPUs, sampled in a background thread during a run."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from pytest_dsr1.machine.gpu import nvml
from pytest_dsr1.machine.gpu.inventory import GpuReading
from pytest_dsr1.machine.gpu.nvml_calls import GpuLostError, NvmlError
from pytest_dsr1.machine.gpu.processes import ProcessWatch
from pytest_dsr1.machine.gpu.xids import XidEvents, described, watched
from pytest_dsr1.machine.values import ErrorCounters, Event, GpuSample, Telemetry

INTERVAL_S = 0.1
SLOW_INTERVAL_S = 1.0
"""The interval for reading energy and PCIe, for checking processes and Xid errors, and for flushing the file.

A real H200 takes 3 ms (10 ms at worst) for its energy counter and about 2 us for each other value; the
counter only grows, so reading it less often loses nothing.
"""


@dataclass(frozen=True, slots=True)
class Now:
    """Current values, averaged over the GPUs; None if unknown."""

    power_w: float | None
    sm_clock_mhz: float | None


def mean_of(samples: Collection[GpuSample]) -> Now:
    """Return the mean of these samples."""
    powers = [one.power_w for one in samples if one.power_w is not None]
    clocks = [one.sm_clock_mhz for one in samples if one.sm_clock_mhz is not None]
    return Now(
        sum(powers) / len(powers) if powers else None,
        sum(clocks) / len(clocks) if clocks else None,
    )


def _sample(gpu: nvml.Gpu, *, slow: bool) -> GpuSample:
    memory = gpu.memory_gib()
    return GpuSample(
        time_s=time.monotonic(),
        gpu=gpu.index,
        sm_clock_mhz=gpu.sm_clock_mhz(),
        memory_clock_mhz=gpu.memory_clock_mhz(),
        power_w=gpu.power_w(),
        energy_j=gpu.energy_j() if slow else None,
        temperature_c=gpu.temperature_c(),
        memory_used_gib=None if memory is None else memory[1],
        utilization_percent=gpu.utilization_percent(),
        throttle_reasons=gpu.throttle_reasons(),
        pcie_generation=gpu.pcie_generation() if slow else None,
    )


def _repaired(gpu: nvml.Gpu) -> ErrorCounters:
    remap = gpu.remap()
    return ErrorCounters(
        pcie_replays=gpu.pcie_replays(),
        nvlink_errors=gpu.nvlink_errors(),
        ecc_corrected=gpu.ecc_corrected(),
        remapped_rows=None if remap is None else remap.rows,
    )


class TelemetryRecorder:
    """Watches GPUs inside a ``with`` block; does nothing for a run on the CPU (no GPUs).

    No failure of a GPU ends the run: a lost GPU or a failed reading becomes an event.

    Attributes:
        telemetry: everything recorded; complete once the block has ended.
    """

    def __init__(
        self,
        gpus: Sequence[GpuReading],
        path: Path,
        interval_s: float = INTERVAL_S,
        *,
        expected: Iterable[int] = (),
        out: IO[str] | None = None,
    ):
        """Write samples to ``path``, one :class:`GpuSample` per line as JSON, at most a second late.

        The process ids ``expected`` do not count as foreign. ``out`` takes the lines instead of a file.
        """
        self.telemetry = Telemetry(interval_s=interval_s)
        self._readings = tuple(gpus)
        self._path = path
        self._out = out
        self._interval_s = interval_s
        self._watch = ProcessWatch(expected)
        self._stop = threading.Event()
        self._first = threading.Event()
        self._thread: threading.Thread | None = None
        self._samples: list[GpuSample] = []
        self._events: list[Event] = []
        self._last: dict[int, GpuSample] = {}
        self._lost: set[int] = set()
        self._ecc: list[tuple[int | None, ...]] = []
        self._errors: list[tuple[ErrorCounters, ...]] = []
        self._xids: XidEvents | None = None
        self._xids_watched = False
        self._overhead_share = 0.0

    def __enter__(self) -> TelemetryRecorder:
        if self._readings:
            self._thread = threading.Thread(target=self._run, name="dsr1-telemetry", daemon=True)
            self._thread.start()
            # The run starts after the first sample and the first reading of the counters.
            self._first.wait()
        return self

    def __exit__(self, *_: object) -> None:
        if self._thread is None:
            return
        self._stop.set()
        self._thread.join()
        unknown = (None,) * len(self._readings)
        before, after = [*self._ecc, unknown, unknown][:2]
        errors_before, errors_after = [*self._errors, (), ()][:2]
        self.telemetry = Telemetry(
            interval_s=self._interval_s,
            gpus=tuple(gpu.index for gpu in self._readings),
            max_sm_clock_mhz=tuple(gpu.max_sm_clock_mhz for gpu in self._readings),
            pcie_generation_max=tuple(gpu.pcie_generation_max for gpu in self._readings),
            samples=tuple(self._samples),
            ecc_uncorrected_before=before,
            ecc_uncorrected_after=after,
            errors_before=errors_before,
            errors_after=errors_after,
            xids_watched=self._xids_watched,
            events=tuple(self._events),
            processes_visible=self._watch.visible,
            overhead_share=self._overhead_share,
        )

    def warmed_up(self) -> None:
        """Note that all of the engine's processes are running: the measurement begins."""
        self._watch.warmed_up()

    def latest(self) -> Now:
        """Return the mean of each GPU's newest sample."""
        return mean_of(list(self._last.values()))

    def _event(self, gpu: int | None, error: NvmlError) -> None:
        lost = isinstance(error, GpuLostError)
        if lost and gpu is not None:
            self._lost.add(gpu)
        if not any((one.gpu, one.message) == (gpu, str(error)) for one in self._events):
            self._events.append(Event(time.monotonic(), gpu, "lost" if lost else "error", str(error)))

    def _run(self) -> None:
        began_s, began_cpu_s = time.monotonic(), time.thread_time()
        try:
            with nvml.opened() as library:
                gpus = self._handles(library)
                with watched(gpus) as self._xids:
                    self._xids_watched = self._xids is not None
                    self._count_errors(gpus)
                    try:
                        with self._out or self._path.open("w", encoding="utf-8") as file:
                            self._loop(gpus, file)
                    except OSError as error:
                        message = f"{self._path}: telemetry cannot be written: {error.strerror}"
                        self._events.append(Event(time.monotonic(), None, "error", message))
                        self._loop(gpus, None)
                    self._count_errors(gpus)
        except NvmlError as error:
            self._event(None, error)
        finally:
            self._first.set()
        elapsed_s = time.monotonic() - began_s
        self._overhead_share = (time.thread_time() - began_cpu_s) / elapsed_s

    def _handles(self, library: nvml.Nvml) -> list[nvml.Gpu]:
        gpus = []
        for reading in self._readings:
            try:
                gpus.append(library.gpu(reading.index))
            except NvmlError as error:
                self._event(reading.index, error)
        return gpus

    def _count_errors(self, gpus: Sequence[nvml.Gpu]) -> None:
        uncorrected: dict[int, int | None] = {}
        repaired: dict[int, ErrorCounters] = {}
        for gpu in gpus:
            if gpu.index not in self._lost:
                try:
                    uncorrected[gpu.index] = gpu.ecc_uncorrected()
                    repaired[gpu.index] = _repaired(gpu)
                except NvmlError as error:
                    self._event(gpu.index, error)
        self._ecc.append(tuple(uncorrected.get(reading.index) for reading in self._readings))
        self._errors.append(tuple(repaired.get(reading.index, ErrorCounters()) for reading in self._readings))

    def _loop(self, gpus: Sequence[nvml.Gpu], file: IO[str] | None) -> None:
        due_s = slow_due_s = time.monotonic()
        stopped = False
        while not stopped:
            slow = time.monotonic() >= slow_due_s
            self._tick(gpus, file, slow=slow)
            if slow:
                now_s = time.monotonic()
                in_time = slow_due_s + SLOW_INTERVAL_S > now_s
                slow_due_s = (slow_due_s if in_time else now_s) + SLOW_INTERVAL_S
                self._look_for_others(gpus)
                self._look_for_xids()
                if file is not None:
                    file.flush()
            self._first.set()
            # A late tick delays the next ones: samples are never taken in a burst to catch up.
            due_s = max(due_s + self._interval_s, time.monotonic())
            stopped = self._stop.wait(due_s - time.monotonic())
        self._tick(gpus, file, slow=True)  # so that the energy of the whole run is known
        self._look_for_xids()

    def _look_for_xids(self) -> None:
        if self._xids is None:
            return
        try:
            for gpu, code in self._xids.take():
                self._events.append(Event(time.monotonic(), gpu, "xid", described(code), code))
        except NvmlError as error:
            self._event(None, error)

    def _tick(self, gpus: Sequence[nvml.Gpu], file: IO[str] | None, *, slow: bool) -> None:
        for gpu in gpus:
            if gpu.index in self._lost:
                continue
            try:
                sample = _sample(gpu, slow=slow)
            except NvmlError as error:
                self._event(gpu.index, error)
                continue
            self._samples.append(sample)
            self._last[gpu.index] = sample
            if file is not None:
                file.write(json.dumps(asdict(sample)) + "\n")

    def _look_for_others(self, gpus: Sequence[nvml.Gpu]) -> None:
        for gpu in gpus:
            if gpu.index in self._lost:
                continue
            try:
                processes = gpu.processes() or ()
            except NvmlError as error:
                self._event(gpu.index, error)
                continue
            for message in self._watch.foreign(gpu.index, processes):
                self._events.append(Event(time.monotonic(), gpu.index, "foreign process", message))
