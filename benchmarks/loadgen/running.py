"""A run of a client, and the cost of its processes."""

from __future__ import annotations

import os
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path

import psutil

_LOOK_S = 0.25


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of a process and all its children.

    Attributes:
        status: the exit status.
        cpu_s: user and system time, from start to end.
        peak_mib: the most memory at one time (resident, shared pages counted in each process).
    """

    status: int
    cpu_s: float
    peak_mib: float


def run(argv: list[str], folder: Path, environment: dict[str, str]) -> Cost:
    """Run a command to its end; its output goes to ``folder/output.txt``."""
    with (folder / "output.txt").open("w") as output:
        process = subprocess.Popen(
            argv,
            cwd=folder,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
        peak = _Peak(process.pid)
        # wait4 reports the time of the process and of all its children that were waited for.
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        return Cost(process.returncode, used.ru_utime + used.ru_stime, peak.stop())


class _Peak:
    """The peak memory of a process tree, read a few times per second."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._bytes = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _watch(self) -> None:
        while not self._over.wait(_LOOK_S):
            try:
                parent = psutil.Process(self._pid)
                tree = [parent, *parent.children(recursive=True)]
                self._bytes = max(self._bytes, sum(each.memory_info().rss for each in tree))
            except psutil.Error:  # one of them has just ended
                continue

    def stop(self) -> float:
        self._over.set()
        self._thread.join()
        return self._bytes / 2**20
