"""Values about the machine: telemetry, conditions, and the fingerprint."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

SetupMode = Literal["check", "apply", "off"]
"""``--dsr1-gpu-setup``: compare the GPUs' settings with the published ones, apply those, or do neither."""

FactValue = str | int | float | bool | None | list[str]
FORCED = "option.speculation.acceptance_length"
"""The fact of a forced acceptance length; a run of natural acceptance does not have it."""

INHERITED = "environment"
"""The fact of the variables that an engine inherits and that change what it does, each as ``NAME=value``."""

UNVERIFIED = "(unverified: known from documentation, its cost has not been measured)"
"""Ends a warning about something that documentation says and that we have not seen cost performance."""

GpuName = int | str
"""A GPU of a run: NVML's index; on several nodes, the node's name and NVML's index there: ``node2:3``."""


def gpu_name(node: str, gpu: GpuName) -> GpuName:
    """Return the name in the run of a GPU of a node; the only node has no name."""
    return f"{node}:{gpu}" if node else gpu


Notify = Callable[[str], None]
"""Shows a sentence to the user at once."""


@dataclass(frozen=True, slots=True)
class GpuSample:
    """One GPU at one moment. Times are seconds on the host's monotonic clock. None: NVML does not report it.

    ``throttle_reasons`` is NVML's mask of clock-event reasons. ``energy_j``, which counts from the driver's
    load, and ``pcie_generation`` are read once per second.
    """

    time_s: float
    gpu: GpuName
    sm_clock_mhz: int | None
    memory_clock_mhz: int | None
    power_w: float | None
    energy_j: float | None
    temperature_c: int | None
    memory_used_gib: float | None
    utilization_percent: int | None
    throttle_reasons: int | None
    pcie_generation: int | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a GPU while it was watched.

    Attributes:
        time_s: time on the host's monotonic clock.
        gpu: the GPU; None for a machine.
        kind: ``foreign process`` (the GPU is shared), ``lost`` (it fell off the bus), ``xid`` (the driver
            reported an Xid error), ``error`` (a reading failed).
        message: what happened, in words.
        xid: the code of an Xid error.
        node: the node, if the run used several.
    """

    time_s: float
    gpu: GpuName | None
    kind: Literal["foreign process", "lost", "xid", "error"]
    message: str
    xid: int | None = None
    node: str = ""


@dataclass(frozen=True, slots=True)
class ErrorCounters:
    """Errors of a GPU that the hardware repaired, since the driver loaded. None: NVML does not report them.

    Attributes:
        pcie_replays: packets that PCIe sent again.
        nvlink_errors: CRC errors, replays and recoveries of all NVLinks.
        ecc_corrected: memory errors that ECC corrected.
        remapped_rows: memory rows that were replaced by spare ones.
    """

    pcie_replays: int | None = None
    nvlink_errors: int | None = None
    ecc_corrected: int | None = None
    remapped_rows: int | None = None


@dataclass(frozen=True, slots=True)
class Telemetry:
    """The GPUs over the run: samples in time order, and counters before and after.

    Attributes:
        interval_s: the intended time between two samples of one GPU.
        gpus: each watched GPU; empty for a run on the CPU.
        max_sm_clock_mhz: the highest SM clock of each of them; None if unknown.
        pcie_generation_max: the highest PCIe generation of each of them; empty in earlier results.
        samples: every sample.
        ecc_uncorrected_before: uncorrectable ECC errors of each GPU before the run.
        ecc_uncorrected_after: the same after the run.
        errors_before: repaired errors of each GPU before the run; empty in earlier results.
        errors_after: the same after the run.
        xids_watched: whether the driver was asked for Xid errors.
        events: foreign processes, lost GPUs, Xid errors and failed readings, in time order.
        processes_visible: whether process ids could be matched (not in most containers).
        overhead_share: measured share of one CPU core that sampling took.
        clock_error_s: the most by which times of other nodes are wrong; 0 on one node.
    """

    interval_s: float = 0.1
    gpus: tuple[GpuName, ...] = ()
    max_sm_clock_mhz: tuple[int | None, ...] = ()
    pcie_generation_max: tuple[int | None, ...] = ()
    samples: tuple[GpuSample, ...] = ()
    ecc_uncorrected_before: tuple[int | None, ...] = ()
    ecc_uncorrected_after: tuple[int | None, ...] = ()
    errors_before: tuple[ErrorCounters, ...] = ()
    errors_after: tuple[ErrorCounters, ...] = ()
    xids_watched: bool = False
    events: tuple[Event, ...] = ()
    processes_visible: bool = True
    overhead_share: float = 0.0
    clock_error_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Conditions:
    """What the GPUs did over the measured time, in four numbers. None: NVML does not report it.

    Attributes:
        sm_clock_mhz: the mean over time and GPUs, in MHz.
        power_w: the mean over time and GPUs, in W.
        temperature_c: the highest of any GPU, in degrees Celsius.
        throttled_s: how long heat or the hardware slowed down the GPU that was slowed longest, in s.
    """

    sm_clock_mhz: float | None
    power_w: float | None
    temperature_c: float | None
    throttled_s: float | None


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What the run ran on, as dotted keys such as ``gpu.name``, ``driver`` or ``library.torch``."""

    facts: Mapping[str, FactValue] = field(default_factory=dict)
