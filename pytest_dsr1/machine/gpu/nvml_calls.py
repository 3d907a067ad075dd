"""Calls of NVIDIA's management library through pynvml, with clear errors."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from pytest_dsr1.errors import InvalidRunError

_Structure = TypeVar("_Structure", bound=ctypes.Structure)


class NvmlError(InvalidRunError):
    """The driver did not answer; the message says why, and ``advice`` what to do next."""

    advice = "see `nvidia-smi` and `dmesg | grep -i nvrm` on the host"


class GpuLostError(NvmlError):
    """The GPU fell off the bus or needs a reset: NVML_ERROR_GPU_IS_LOST, NVML_ERROR_RESET_REQUIRED."""

    advice = "reset it or reboot"


class NotPermittedError(NvmlError):
    """This process may not ask: NVML_ERROR_NO_PERMISSION, such as for a GPU of another job or container."""


class NotOfferedError(NvmlError):
    """The driver or the GPU does not have the value."""


def call(name: str, function: Callable[..., Any], *arguments: object) -> Any:
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
            pynvml.NVML_ERROR_NOT_SUPPORTED: NotOfferedError,
            pynvml.NVML_ERROR_FUNCTION_NOT_FOUND: NotOfferedError,
            pynvml.NVML_ERROR_ARGUMENT_VERSION_MISMATCH: NotOfferedError,
            getattr(pynvml, "NVML_ERROR_DEPRECATED", 26): NotOfferedError,  # older bindings do not name it
        }
        raise kinds.get(error.value, NvmlError)(f"{name}: {error}") from None


def need(name: str, *arguments: object) -> Any:
    """Call a pynvml function whose answer nothing works without, such as a handle.

    Raises:
        NvmlError: the driver did not give it, for whatever reason.
    """
    import pynvml

    return call(name, getattr(pynvml, name), *arguments)


def ask(names: str | Sequence[str], *arguments: object) -> Any:
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
        with suppress(NotOfferedError, NotPermittedError):
            return call(name, function, *arguments)
    return None


def fill(structure: _Structure, name: str, handle: object) -> _Structure | None:
    """Let a function of NVML fill a structure of our own; None if the driver does not offer it.

    Older bindings declare neither the function nor the structure.

    Raises:
        GpuLostError: the GPU is gone.
        NvmlError: the driver failed otherwise.
    """
    try:
        call(name, _fill, structure, name, handle)
    except (NotOfferedError, NotPermittedError):
        return None
    return structure


def _fill(structure: ctypes.Structure, name: str, handle: object) -> None:
    import pynvml

    library = ctypes.CDLL("libnvidia-ml.so.1")  # pynvml has loaded it, so this is the same one
    function = getattr(library, name, None)
    if function is None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_FUNCTION_NOT_FOUND)
    if code := function(handle, ctypes.byref(structure)):
        raise pynvml.NVMLError(code)
