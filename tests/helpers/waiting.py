"""Waiting as long as it takes: a busy machine is slow, and that is no failure."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil


def ever_longer(first_s: float, reached: Callable[[], bool]) -> Iterator[float]:
    """Limits to try in turn, until what must happen within one has happened.

    A test of a limit that is exceeded waits for all of it, so the limit must be short. What the test looks at
    must come about within it all the same, and nobody knows how long that takes on a busy machine.
    """
    for limit_s in (first_s, 4 * first_s, 16 * first_s, 60.0):
        yield limit_s
        if reached():
            return


def written(folder: Path, pattern: str, sought: str = "") -> bool:
    """Whether a file of that name below the folder has this text in it, or any."""
    return any(text and sought in text for text in (path.read_text() for path in folder.glob(pattern)))


def gone(pid: int) -> bool:
    """Whether a process has ended; its parent may not have noticed."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_until_gone(*pids: int) -> None:
    deadline = time.monotonic() + 30
    while not all(map(gone, pids)):
        assert time.monotonic() < deadline, f"of {pids} some still run"
        time.sleep(0.01)
