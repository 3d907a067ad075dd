"""The NVLink fabric of a machine with NVSwitches, as NVML reports it."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

from pytest_dsr1.machine.gpu.nvml_calls import fill

FABRIC_STATES = {0: "not supported", 1: "not started", 2: "in progress", 3: "completed"}
"""nvmlGpuFabricState_t in nvml.h."""
_PROBLEMS = {0: "degraded bandwidth", 2: "route recovery", 4: "unhealthy route", 6: "access timeout"}
"""NVML_GPU_FABRIC_HEALTH_MASK_SHIFT_* in nvml.h: the first of two bits, which are 1 for yes and 2 for no."""


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


@dataclass(frozen=True, slots=True)
class Fabric:
    """The NVLink fabric as a GPU sees it.

    Attributes:
        state: one of FABRIC_STATES, and its error, if any.
        problems: what its health mask reports.
    """

    state: str
    problems: tuple[str, ...] = ()


def read_fabric(handle: object) -> Fabric | None:
    """Return the fabric as the GPU of this handle sees it; None if the driver does not report it.

    Raises:
        GpuLostError: the GPU is gone.
        NvmlError: the driver failed otherwise.
    """
    info = fill(_FabricInfo(version=_FabricInfo.VERSION), "nvmlDeviceGetGpuFabricInfoV", handle)
    if info is None:
        return None
    state = FABRIC_STATES.get(info.state, f"state {info.state}")
    return Fabric(
        state if info.status == 0 else f"{state}, error {info.status}",
        tuple(problem for shift, problem in _PROBLEMS.items() if info.health_mask >> shift & 3 == 1),
    )
