"""Xid errors: what NVIDIA's driver reports about a GPU while a run is watched, and what each code means."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Literal

from pytest_dsr1.machine.gpu.nvml import Gpu, register
from pytest_dsr1.machine.gpu.nvml_calls import NvmlError, call

XidClass = Literal["hardware", "application", "other"]
"""``hardware``: the GPU or a link is faulty, or hangs. ``application``: a program did something wrong, or was
ended. ``other``: the driver replaced memory or announces an action; the work goes on."""

_MOST = 64
"""Xid errors that one look takes: a broken GPU may report without end."""


@dataclass(frozen=True, slots=True)
class Xid:
    """The meaning of one code."""

    name: str
    kind: XidClass


XIDS: Mapping[int, Xid] = {
    13: Xid("graphics engine exception", "application"),
    31: Xid("memory page fault", "application"),
    43: Xid("GPU stopped processing", "application"),
    45: Xid("cleanup after a program ended", "application"),
    46: Xid("GPU stopped processing and needs a reset", "hardware"),
    48: Xid("double-bit ECC error", "hardware"),
    62: Xid("internal microcontroller halt", "hardware"),
    63: Xid("a memory row is remapped", "other"),
    64: Xid("a memory row could not be remapped", "hardware"),
    74: Xid("NVLink error", "hardware"),
    79: Xid("GPU has fallen off the bus", "hardware"),
    92: Xid("high rate of single-bit ECC errors", "other"),
    94: Xid("contained memory error", "hardware"),
    95: Xid("uncontained memory error", "hardware"),
    109: Xid("context switch timeout", "hardware"),
    110: Xid("security fault", "hardware"),
    119: Xid("GSP does not answer", "hardware"),
    120: Xid("GSP error", "hardware"),
    136: Xid("link training failed", "hardware"),
    140: Xid("unrecovered ECC error", "hardware"),
    143: Xid("GPU initialization failed", "hardware"),
    **{code: Xid("NVLink error", "hardware") for code in range(144, 151)},
    154: Xid("recovery action changed", "other"),
    158: Xid("fatal timeout", "hardware"),
}
"""NVIDIA's Xid catalog (docs.nvidia.com/deploy/xid-errors, read in 2026-11) for Ampere and newer GPUs.

``hardware`` are the codes whose immediate action there resets the GPU, restarts the machine or follows a
workflow for ECC or NVLink; and 94, a memory error although the program alone must be restarted.
"""


def described(code: int) -> str:
    """Return a code with its meaning, such as ``Xid 79 (GPU has fallen off the bus)``."""
    known = XIDS.get(code)
    return f"Xid {code} ({known.name})" if known else f"Xid {code} (not in our table)"


class XidEvents:
    """The Xid errors since :func:`watched` began."""

    def __init__(self, events: object):
        self._events = events

    def take(self) -> list[tuple[int | None, int]]:
        """Return the index of the GPU and the code of each Xid error since the last call, without waiting.

        Raises:
            NvmlError: the driver failed.
        """
        import pynvml

        found: list[tuple[int | None, int]] = []
        while len(found) < _MOST:
            try:
                event = pynvml.nvmlEventSetWait_v2(self._events, 0)
            except pynvml.NVMLError as error:
                if error.value == pynvml.NVML_ERROR_TIMEOUT:
                    break
                raise NvmlError(f"nvmlEventSetWait_v2: {error}") from None
            index: int | None = None
            with suppress(NvmlError):
                index = call("nvmlDeviceGetIndex", pynvml.nvmlDeviceGetIndex, event.device)
            found.append((index, int(event.eventData)))
        return found


@contextmanager
def watched(gpus: Sequence[Gpu]) -> Iterator[XidEvents | None]:
    """Watch for Xid errors while the block runs; None if the driver does not offer it."""
    import pynvml

    try:
        events = call("nvmlEventSetCreate", pynvml.nvmlEventSetCreate)
    except NvmlError:
        yield None
        return
    try:
        yield XidEvents(events) if _register(gpus, events) else None
    finally:
        with suppress(pynvml.NVMLError):
            pynvml.nvmlEventSetFree(events)


def _register(gpus: Sequence[Gpu], events: object) -> bool:
    import pynvml

    for gpu in gpus:
        try:
            register(gpu, pynvml.nvmlEventTypeXidCriticalError, events)
        except NvmlError:
            return False
    return True
