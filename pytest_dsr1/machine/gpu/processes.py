"""Foreign processes: compute processes on a GPU that do not belong to this run.

If the driver's process ids are this system's, our processes are this one and its descendants. In most
containers they are not. There, any process beyond the number after warm-up is foreign; the preflight finds
those that were there before the engine started.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from pytest_dsr1.machine import host
from pytest_dsr1.machine.gpu.nvml import GpuProcess


def describe_process(pid: int, named: bool) -> str:
    """Describe a process in a message: its id, and its name and user if ids are the host's."""
    if not named:
        return f"pid {pid} on the host"
    import psutil

    try:
        process = psutil.Process(pid)
        return f"pid {pid} ({process.name()}, user {process.username()})"
    except psutil.Error:
        return f"pid {pid}"


def _describe_with_memory(process: GpuProcess) -> str:
    memory = "" if process.memory_gib is None else f" with {process.memory_gib:.1f} GiB"
    return f"{describe_process(process.pid, named=True)}{memory}"


class ProcessWatch:
    """The processes of one run: which are ours, and which were reported already.

    Args:
        expected: ids of the measured server's processes, if it was running before this run.
    """

    def __init__(self, expected: Iterable[int] = ()) -> None:
        self.visible = host.pids_are_the_hosts()
        self._ours = set(expected)
        self._reported: set[tuple[int, int]] = set()
        self._after_warm_up: dict[int, int] = {}
        self._warm = False

    def warmed_up(self) -> None:
        """Note that all of the engine's processes are running: the next count is the expected one."""
        self._warm = True

    def foreign(self, gpu: int, processes: Sequence[GpuProcess]) -> list[str]:
        """Return a sentence for each foreign process not reported before."""
        if self.visible:
            return [_describe_with_memory(one) for one in processes if self._is_new_foreign(gpu, one.pid)]
        if not self._warm:
            return []
        expected = self._after_warm_up.setdefault(gpu, len(processes))
        if len(processes) <= expected:
            return []
        self._after_warm_up[gpu] = len(processes)
        return [f"{len(processes)} compute processes instead of the {expected} after warm-up"]

    def _is_new_foreign(self, gpu: int, pid: int) -> bool:
        if (gpu, pid) in self._reported or self._is_ours(pid):
            return False
        self._reported.add((gpu, pid))
        return True

    def _is_ours(self, pid: int) -> bool:
        if pid in self._ours or pid == os.getpid():
            return True
        import psutil

        try:
            ours = any(parent.pid == os.getpid() for parent in psutil.Process(pid).parents())
        except psutil.NoSuchProcess:
            return True  # it ended before the lookup; a process that stays is seen again
        except psutil.Error:
            return False
        if ours:
            self._ours.add(pid)
        return ours
