"""NVIDIA's management library, read through pynvml: one typed method for each value, with clear errors.

It is only read: every change goes through nvidia-smi (:mod:`pytest_dsr1.machine.nvidia_smi`). Methods
return None for a value that the driver or the GPU does not offer.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from pytest_dsr1.machine.gpu.fabric import Fabric, read_fabric
from pytest_dsr1.machine.gpu.nvml_calls import (
    GpuLostError,
    NvmlError,
    ask,
    call,
    fill,
    need,
)
from pytest_dsr1.process.log.gpus import DRIVER_RELOAD, DRIVER_REPLACED

GIB = 1024**3

_POWER_INSTANT, _POWER_AVERAGE = 186, 185
"""NVML_FI_DEV_POWER_INSTANT and NVML_FI_DEV_POWER_AVERAGE in nvml.h, in mW."""
_NVLINK_SPEED = 90
"""NVML_FI_DEV_NVLINK_SPEED_MBPS_COMMON in nvml.h: of each active link, in MB/s."""
_CPU_WORDS = 32
"""The 64-bit words of a mask of CPUs: room for 2,048 of them."""
_NVLINK_ERRORS = (38, 45, 52, 59)
"""NVML_FI_DEV_NVLINK_*_ERROR_COUNT_TOTAL in nvml.h: CRC of flow control and of data, replays, recoveries."""

POWER_PROFILES = {
    0: "max-P",
    1: "max-Q",
    2: "compute",
    3: "memory bound",
    4: "network",
    5: "balanced",
    6: "LLM inference",
    7: "LLM training",
}
"""NVML_POWER_PROFILE_* in nvml.h."""


class _PowerProfiles(ctypes.Structure):
    """nvmlWorkloadPowerProfileCurrentProfiles_v1_t in nvml.h."""

    VERSION = 0x01000064
    _fields_ = (
        ("version", ctypes.c_uint),
        ("known", ctypes.c_uint * 8),
        ("requested", ctypes.c_uint * 8),
        ("enforced", ctypes.c_uint * 8),
    )


@dataclass(frozen=True, slots=True)
class GpuProcess:
    """A compute process on a GPU, with the process id that the driver reports."""

    pid: int
    memory_gib: float | None


@dataclass(frozen=True, slots=True)
class Remap:
    """Row remapping of a GPU.

    Attributes:
        rows: the memory rows that have been replaced by spare ones.
        pending: whether a row waits for a GPU reset.
        failed: whether no spare row was left.
    """

    rows: int
    pending: bool
    failed: bool


_Number = TypeVar("_Number", int, float)


def _times(value: int | None, factor: _Number) -> _Number | None:
    return None if value is None else value * factor


class Gpu:
    """One GPU while NVML is open. Every method, and making it, may raise GpuLostError or NvmlError."""

    def __init__(self, index: int, handle: object):
        self.index = index
        self._handle = handle
        self.uuid: str = need("nvmlDeviceGetUUID", handle)
        self.name: str = ask("nvmlDeviceGetName", handle) or ""

    def _read(self, names: str | Sequence[str], *arguments: object) -> Any:
        return ask(names, self._handle, *arguments)

    def memory_gib(self) -> tuple[float, float] | None:
        """Return total and used memory in GiB; memory reserved by the driver does not count as used."""
        import pynvml

        memory = self._read("nvmlDeviceGetMemoryInfo", pynvml.nvmlMemory_v2)
        memory = memory or self._read("nvmlDeviceGetMemoryInfo")
        return (memory.total / GIB, memory.used / GIB) if memory else None

    def mig(self) -> bool | None:
        """Return whether the GPU is divided into instances."""
        mode = self._read("nvmlDeviceGetMigMode")
        return None if mode is None else bool(mode[0])

    def ecc(self) -> bool | None:
        """Return whether error correction is on."""
        mode = self._read("nvmlDeviceGetEccMode")
        return None if mode is None else bool(mode[0])

    def ecc_uncorrected(self) -> int | None:
        """Return uncorrectable errors since the driver loaded."""
        import pynvml

        count: int | None = self._read(
            "nvmlDeviceGetTotalEccErrors",
            pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED,
            pynvml.NVML_VOLATILE_ECC,
        )
        return count

    def ecc_corrected(self) -> int | None:
        """Return corrected errors since the driver loaded."""
        import pynvml

        count: int | None = self._read(
            "nvmlDeviceGetTotalEccErrors",
            pynvml.NVML_MEMORY_ERROR_TYPE_CORRECTED,
            pynvml.NVML_VOLATILE_ECC,
        )
        return count

    def remap(self) -> Remap | None:
        """Return the state of row remapping."""
        rows = self._read("nvmlDeviceGetRemappedRows")
        return None if rows is None else Remap(rows[0] + rows[1], bool(rows[2]), bool(rows[3]))

    def vbios(self) -> str | None:
        """Return the version of the video BIOS."""
        value: str | None = self._read("nvmlDeviceGetVbiosVersion")
        return value

    def pcie_generation(self) -> int | None:
        """Return the generation of the PCIe link now; an idle GPU lowers it."""
        return self._integer("nvmlDeviceGetCurrPcieLinkGeneration")

    def pcie_generation_max(self) -> int | None:
        """Return the highest generation of the PCIe link that GPU and slot allow."""
        return self._integer("nvmlDeviceGetMaxPcieLinkGeneration")

    def pcie_width(self) -> int | None:
        """Return the number of PCIe lanes in use."""
        return self._integer("nvmlDeviceGetCurrPcieLinkWidth")

    def pcie_width_max(self) -> int | None:
        """Return the number of PCIe lanes that GPU and slot allow."""
        return self._integer("nvmlDeviceGetMaxPcieLinkWidth")

    def pcie_replays(self) -> int | None:
        """Return the packets that PCIe sent again since the driver loaded."""
        return self._integer("nvmlDeviceGetPcieReplayCounter")

    def cpus(self) -> frozenset[int] | None:
        """Return the CPUs of the GPU's NUMA node."""
        words = self._read("nvmlDeviceGetCpuAffinity", _CPU_WORDS)
        if words is None:
            return None
        return frozenset(
            64 * number + bit for number, word in enumerate(words) for bit in range(64) if word >> bit & 1
        )

    def _integer(self, function: str) -> int | None:
        value: int | None = self._read(function)
        return value

    def nvlinks(self) -> tuple[int, int] | None:
        """Return the number of active NVLinks and of all; None without NVLink."""
        import pynvml

        states: list[int] = []
        for link in range(pynvml.NVML_NVLINK_MAX_LINKS):
            try:
                state = self._read("nvmlDeviceGetNvLinkState", link)
            except GpuLostError:
                raise
            except NvmlError:  # invalid argument: there are no more links
                break
            if state is None:
                break
            states.append(state)
        return (sum(states), len(states)) if states else None

    def nvlink_mb_s(self) -> int | None:
        """Return the speed of each active NVLink in one direction, in MB/s."""
        found = self._fields(_NVLINK_SPEED)
        return found[0] if found else None

    def nvlink_errors(self) -> int | None:
        """Return the errors on all NVLinks since the driver loaded: CRC, replays and recoveries."""
        found = self._fields(*_NVLINK_ERRORS)
        return None if found is None else sum(found)

    def fabric(self) -> Fabric | None:
        """Return the NVLink fabric as this GPU sees it."""
        return read_fabric(self._handle)

    def processes(self) -> tuple[GpuProcess, ...] | None:
        """Return the compute processes on this GPU."""
        # The unversioned name raises a different error if the driver is older than the binding.
        found = self._read(
            ("nvmlDeviceGetComputeRunningProcesses_v3", "nvmlDeviceGetComputeRunningProcesses_v2")
        )
        if found is None:
            return None
        return tuple(GpuProcess(p.pid, _times(p.usedGpuMemory, 1 / GIB)) for p in found)

    def persistence(self) -> bool | None:
        """Return whether persistence mode is on."""
        mode = self._read("nvmlDeviceGetPersistenceMode")
        return None if mode is None else bool(mode)

    def power_limit_w(self) -> float | None:
        """Return the power limit in W."""
        return _times(self._read("nvmlDeviceGetPowerManagementLimit"), 0.001)

    def power_enforced_w(self) -> float | None:
        """Return the power limit in force, in W: the lowest of all limits on the GPU."""
        return _times(self._read("nvmlDeviceGetEnforcedPowerLimit"), 0.001)

    def power_profiles(self) -> tuple[str, ...] | None:
        """Return the workload power profiles in force (Blackwell)."""
        name = "nvmlDeviceWorkloadPowerProfileGetCurrentProfiles"
        found = fill(_PowerProfiles(version=_PowerProfiles.VERSION), name, self._handle)
        if found is None:
            return None
        numbers = [
            32 * at + bit for at, word in enumerate(found.enforced) for bit in range(32) if word >> bit & 1
        ]
        return tuple(POWER_PROFILES.get(number, f"profile {number}") for number in numbers)

    def power_default_w(self) -> float | None:
        """Return the power limit after a reset, in W."""
        return _times(self._read("nvmlDeviceGetPowerManagementDefaultLimit"), 0.001)

    def power_w(self) -> float | None:
        """Return the power drawn, in W; since Ampere (except GA100) a mean over the last second."""
        return _times(self._read("nvmlDeviceGetPowerUsage"), 0.001)

    def power_instant_w(self) -> float | None:
        """Return the power drawn at this moment, in W."""
        found = self._fields(_POWER_INSTANT)
        return found[0] * 0.001 if found else None

    def power_average_w(self) -> float | None:
        """Return the mean power of the last second, in W."""
        found = self._fields(_POWER_AVERAGE)
        return found[0] * 0.001 if found else None

    def _fields(self, *fields: int) -> list[int] | None:
        """Return values of NVML's fields; None if one of them is not offered."""
        import pynvml

        values = self._read("nvmlDeviceGetFieldValues", list(fields))
        if values is None or any(value.nvmlReturn for value in values):
            return None
        wide = (pynvml.NVML_VALUE_TYPE_UNSIGNED_LONG_LONG, pynvml.NVML_VALUE_TYPE_UNSIGNED_LONG)
        return [int(each.value.ullVal if each.valueType in wide else each.value.uiVal) for each in values]

    def energy_j(self) -> float | None:
        """Return the energy since the driver loaded, in J."""
        return _times(self._read("nvmlDeviceGetTotalEnergyConsumption"), 0.001)

    def temperature_c(self) -> int | None:
        """Return the temperature in degrees Celsius."""
        import pynvml

        value: int | None = self._read("nvmlDeviceGetTemperature", pynvml.NVML_TEMPERATURE_GPU)
        return value

    def sm_clock_mhz(self) -> int | None:
        """Return the SM clock now, in MHz."""
        return self._clock_mhz("nvmlDeviceGetClockInfo", "NVML_CLOCK_SM")

    def memory_clock_mhz(self) -> int | None:
        """Return the memory clock now, in MHz."""
        return self._clock_mhz("nvmlDeviceGetClockInfo", "NVML_CLOCK_MEM")

    def max_sm_clock_mhz(self) -> int | None:
        """Return the highest SM clock, in MHz."""
        return self._clock_mhz("nvmlDeviceGetMaxClockInfo", "NVML_CLOCK_SM")

    def application_clock_mhz(self) -> int | None:
        """Return the graphics clock that ``nvidia-smi -ac`` set, or the default one, in MHz."""
        return self._clock_mhz("nvmlDeviceGetApplicationsClock", "NVML_CLOCK_GRAPHICS")

    def application_memory_clock_mhz(self) -> int | None:
        """Return the memory clock that ``nvidia-smi -ac`` set, or the default one, in MHz."""
        return self._clock_mhz("nvmlDeviceGetApplicationsClock", "NVML_CLOCK_MEM")

    def _clock_mhz(self, function: str, clock: str) -> int | None:
        import pynvml

        value: int | None = self._read(function, getattr(pynvml, clock))
        return value

    def utilization_percent(self) -> int | None:
        """Return the percentage of the last sampling period in which a kernel ran."""
        rates = self._read("nvmlDeviceGetUtilizationRates")
        return None if rates is None else int(rates.gpu)

    def throttle_reasons(self) -> int | None:
        """Return the bit mask of reasons for the current clocks."""
        # Renamed in driver 535; the older name is the fallback.
        value: int | None = self._read(
            ("nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons")
        )
        return value


def register(gpu: Gpu, event_types: int, events: object) -> None:
    """Add events of a GPU to an event set of NVML.

    Raises:
        NvmlError: the driver does not offer it.
    """
    import pynvml

    call("nvmlDeviceRegisterEvents", pynvml.nvmlDeviceRegisterEvents, gpu._handle, event_types, events)


class Nvml:
    """NVML while it is open."""

    def driver(self) -> str | None:
        """Return the driver's version."""
        value: str | None = ask("nvmlSystemGetDriverVersion")
        return value

    def cuda(self) -> str | None:
        """Return the newest CUDA version that the driver supports."""
        version: int | None = ask(("nvmlSystemGetCudaDriverVersion_v2", "nvmlSystemGetCudaDriverVersion"))
        return None if version is None else f"{version // 1000}.{version % 1000 // 10}"

    def count(self) -> int:
        """Return the number of GPUs that the driver shows."""
        count: int = need("nvmlDeviceGetCount")
        return count

    def gpu(self, index: int) -> Gpu:
        """Return one GPU by its index.

        Raises:
            NotPermittedError: the GPU belongs to another job or container.
            NvmlError: the driver did not give it otherwise.
        """
        return Gpu(index, need("nvmlDeviceGetHandleByIndex", index))


@contextmanager
def opened() -> Iterator[Nvml]:
    """Open NVML while the block runs.

    Raises:
        NvmlError: there is no driver, or it does not answer.
    """
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        if error.value == pynvml.NVML_ERROR_LIBRARY_NOT_FOUND:
            message = "this machine has no NVIDIA driver (libnvidia-ml.so.1 is not found)"
        elif error.value == pynvml.NVML_ERROR_DRIVER_NOT_LOADED:
            message = "the NVIDIA driver is installed but not loaded (see: dmesg | grep -i nvrm)"
        elif error.value == pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH:
            message = f"{DRIVER_REPLACED}; {DRIVER_RELOAD}"
        else:
            message = f"the NVIDIA driver does not answer ({error}); {NvmlError.advice}"
        raise NvmlError(message) from None
    try:
        yield Nvml()
    finally:
        with suppress(pynvml.NVMLError):  # a driver that was unloaded has nothing to shut down
            pynvml.nvmlShutdown()
