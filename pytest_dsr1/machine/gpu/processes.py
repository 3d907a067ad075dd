"""Who else is on a GPU: compute processes that are not ours.

Where the driver's process ids are this system's, ours are this process and what descends from it. In most
containers they are not: then a foreign process is one more than there were after warm-up (one that was there
before the engine started is found by the preflight).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from pytest_dsr1.machine import host
from pytest_dsr1.machine.gpu.nvml import GpuProcess


def describe_process(pid: int, named: bool) -> str:
    """A process for a person: its id, and its name and user where ids are the host's."""
    if not named:
        return f"pid {pid} of the host"
    import psutil

    try:
        process = psutil.Process(pid)
        return f"pid {pid} ({process.name()} of {process.username()})"
    except psutil.Error:
        return f"pid {pid}"


def _described(process: GpuProcess) -> str:
    memory = "" if process.memory_gib is None else f" with {process.memory_gib:.1f} GiB"
    return f"{describe_process(process.pid, named=True)}{memory}"


class ProcessWatch:
    """Remembers whose the processes are; one for each run.

    Args:
        expected: the processes of a server that was there before the run, and is measured.
    """

    def __init__(self, expected: Iterable[int] = ()) -> None:
        self.visible = host.pids_are_the_hosts()
        self._ours = set(expected)
        self._reported: set[tuple[int, int]] = set()
        self._after_warm_up: dict[int, int] = {}
        self._warm = False

    def warmed_up(self) -> None:
        """All of the engine's processes are there now: what is counted next is the measure."""
        self._warm = True

    def foreign(self, gpu: int, processes: Sequence[GpuProcess]) -> list[str]:
        """A sentence for each foreign process that was not reported before."""
        if self.visible:
            return [_described(one) for one in processes if self._is_news(gpu, one.pid)]
        if not self._warm:
            return []
        expected = self._after_warm_up.setdefault(gpu, len(processes))
        if len(processes) <= expected:
            return []
        self._after_warm_up[gpu] = len(processes)
        return [f"{len(processes)} compute processes instead of the {expected} after warm-up"]

    def _is_news(self, gpu: int, pid: int) -> bool:
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
            return True  # it ended before it could be looked up; one that stays is seen again
        except psutil.Error:
            return False
        if ours:
            self._ours.add(pid)
        return ours
