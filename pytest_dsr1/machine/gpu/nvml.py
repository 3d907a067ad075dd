"""NVIDIA's management library, read through pynvml: one typed method for each value, with clear errors.

It is only read: every change goes through nvidia-smi (:mod:`pytest_dsr1.machine.nvidia_smi`). Methods
return None for a value that the driver or the GPU does not offer.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from pytest_dsr1.errors import InvalidRunError
from pytest_dsr1.process.log.gpus import DRIVER_RELOAD, DRIVER_REPLACED

GIB = 1024**3

FABRIC_STATES = {0: "not supported", 1: "not started", 2: "in progress", 3: "completed"}
"""nvmlGpuFabricState_t in nvml.h."""


_POWER_INSTANT, _POWER_AVERAGE = 186, 185
"""NVML_FI_DEV_POWER_INSTANT and NVML_FI_DEV_POWER_AVERAGE in nvml.h, in mW."""


class _FabricInfo(ctypes.Structure):
    """nvmlGpuFabricInfo_v2_t in nvml.h; bindings before 13.580 do not declare it."""

    VERSION = 0x02000024
    _fields_ = (
        ("version", ctypes.c_uint),
        ("cluster_uuid", ctypes.c_ubyte * 16),
        ("status", ctypes.c_uint),
        ("clique_id", ctypes.c_uint32),
        ("state", ctypes.c_ubyte),
        ("health_mask", ctypes.c_uint32),
    )


class NvmlError(InvalidRunError):
    """The driver did not answer; the message says why, and ``advice`` what to do next."""

    advice = "see `nvidia-smi` and `dmesg | grep -i nvrm` on the host"


class GpuLostError(NvmlError):
    """The GPU fell off the bus or needs a reset: NVML_ERROR_GPU_IS_LOST, NVML_ERROR_RESET_REQUIRED."""

    advice = "reset it or reboot"


class NotPermittedError(NvmlError):
    """This process may not ask: NVML_ERROR_NO_PERMISSION, such as for a GPU of another job or container."""


class _NotOfferedError(NvmlError):
    """The driver or the GPU does not have the value."""


@dataclass(frozen=True, slots=True)
class GpuProcess:
    """A compute process on a GPU, with the process id that the driver reports."""

    pid: int
    memory_gib: float | None


def _call(name: str, function: Callable[..., Any], *arguments: object) -> Any:
    """Return the answer of a pynvml function.

    Raises:
        GpuLostError: the GPU is gone.
        NotPermittedError: this process may not ask.
        NvmlError: the driver failed otherwise, or does not have the value.
    """
    import pynvml

    try:
        return function(*arguments)
    except pynvml.NVMLError as error:
        kinds = {
            pynvml.NVML_ERROR_GPU_IS_LOST: GpuLostError,
            pynvml.NVML_ERROR_RESET_REQUIRED: GpuLostError,
            pynvml.NVML_ERROR_NO_PERMISSION: NotPermittedError,
            pynvml.NVML_ERROR_NOT_SUPPORTED: _NotOfferedError,
            pynvml.NVML_ERROR_FUNCTION_NOT_FOUND: _NotOfferedError,
            pynvml.NVML_ERROR_ARGUMENT_VERSION_MISMATCH: _NotOfferedError,
            getattr(pynvml, "NVML_ERROR_DEPRECATED", 26): _NotOfferedError,  # older bindings do not name it
        }
        raise kinds.get(error.value, NvmlError)(f"{name}: {error}") from None


def _need(name: str, *arguments: object) -> Any:
    """Call a pynvml function whose answer nothing works without, such as a handle.

    Raises:
        NvmlError: the driver did not give it, for whatever reason.
    """
    import pynvml

    return _call(name, getattr(pynvml, name), *arguments)


def _ask(names: str | Sequence[str], *arguments: object) -> Any:
    """Call the first of these pynvml functions that both the binding and the driver have; None without one.

    Raises:
        GpuLostError: the GPU is gone.
        NvmlError: the driver failed otherwise.
    """
    import pynvml

    for name in [names] if isinstance(names, str) else names:
        function = getattr(pynvml, name, None)
        if function is None:
            continue
        with suppress(_NotOfferedError, NotPermittedError):
            return _call(name, function, *arguments)
    return None


def _fabric_info(handle: object) -> _FabricInfo:
    """Read the fabric with a structure of our own, as pynvml reads it with its own.

    Raises:
        pynvml.NVMLError: the driver does not have the function, or it failed.
    """
    import pynvml

    library = ctypes.CDLL("libnvidia-ml.so.1")  # pynvml has loaded it, so this is the same one
    read = getattr(library, "nvmlDeviceGetGpuFabricInfoV", None)
    if read is None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_FUNCTION_NOT_FOUND)
    info = _FabricInfo(version=_FabricInfo.VERSION)
    if code := read(handle, ctypes.byref(info)):
        raise pynvml.NVMLError(code)
    return info


_Number = TypeVar("_Number", int, float)


def _times(value: int | None, factor: _Number) -> _Number | None:
    return None if value is None else value * factor


class Gpu:
    """One GPU while NVML is open. Every method, and making it, may raise GpuLostError or NvmlError."""

    def __init__(self, index: int, handle: object):
        self.index = index
        self._handle = handle
        self.uuid: str = _need("nvmlDeviceGetUUID", handle)
        self.name: str = _ask("nvmlDeviceGetName", handle) or ""

    def _read(self, names: str | Sequence[str], *arguments: object) -> Any:
        return _ask(names, self._handle, *arguments)

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

    def remap(self) -> tuple[bool, bool] | None:
        """Return whether a row remap waits for a GPU reset, and whether one has failed."""
        rows = self._read("nvmlDeviceGetRemappedRows")
        return None if rows is None else (bool(rows[2]), bool(rows[3]))

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

    def fabric(self) -> str | None:
        """Return the state of the NVLink fabric, one of FABRIC_STATES, and its error, if any."""
        try:
            info = _call("nvmlDeviceGetGpuFabricInfoV", _fabric_info, self._handle)
        except (_NotOfferedError, NotPermittedError):
            return None
        state = FABRIC_STATES.get(info.state, f"state {info.state}")
        return state if info.status == 0 else f"{state}, error {info.status}"

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

    def power_default_w(self) -> float | None:
        """Return the power limit after a reset, in W."""
        return _times(self._read("nvmlDeviceGetPowerManagementDefaultLimit"), 0.001)

    def power_w(self) -> float | None:
        """Return the power drawn, in W; since Ampere (except GA100) a mean over the last second."""
        return _times(self._read("nvmlDeviceGetPowerUsage"), 0.001)

    def power_instant_w(self) -> float | None:
        """Return the power drawn at this moment, in W."""
        return self._field_w(_POWER_INSTANT)

    def power_average_w(self) -> float | None:
        """Return the mean power of the last second, in W."""
        return self._field_w(_POWER_AVERAGE)

    def _field_w(self, field: int) -> float | None:
        values = self._read("nvmlDeviceGetFieldValues", [field])
        return None if values is None or values[0].nvmlReturn else float(values[0].value.uiVal * 0.001)

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


class Nvml:
    """NVML while it is open."""

    def driver(self) -> str | None:
        """Return the driver's version."""
        value: str | None = _ask("nvmlSystemGetDriverVersion")
        return value

    def cuda(self) -> str | None:
        """Return the newest CUDA version that the driver supports."""
        version: int | None = _ask(("nvmlSystemGetCudaDriverVersion_v2", "nvmlSystemGetCudaDriverVersion"))
        return None if version is None else f"{version // 1000}.{version % 1000 // 10}"

    def count(self) -> int:
        """Return the number of GPUs that the driver shows."""
        count: int = _need("nvmlDeviceGetCount")
        return count

    def gpu(self, index: int) -> Gpu:
        """Return one GPU by its index.

        Raises:
            NotPermittedError: the GPU belongs to another job or container.
            NvmlError: the driver did not give it otherwise.
        """
        return Gpu(index, _need("nvmlDeviceGetHandleByIndex", index))


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
