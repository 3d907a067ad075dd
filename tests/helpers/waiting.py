"""Functions that wait as long as needed: a slow machine is not a failure."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil


def ever_longer(first_s: float, reached: Callable[[], bool]) -> Iterator[float]:
    """Yield limits to try in turn, until ``reached`` is true within one of them.

    A test that exceeds a limit waits for all of it, so the limit must be short. But something else must
    happen within the same limit, and on a busy machine it is unknown how long that takes.
    """
    for limit_s in (first_s, 4 * first_s, 16 * first_s, 60.0):
        yield limit_s
        if reached():
            return


def written(folder: Path, pattern: str, sought: str = "") -> bool:
    """Return whether a file that matches the pattern contains this text, or any text."""
    return any(text and sought in text for text in (path.read_text() for path in folder.glob(pattern)))


def wait_until(condition: Callable[[], object]) -> None:
    """Wait until the condition holds, asking every millisecond."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "what the test waits for did not happen within 20 s"
        time.sleep(0.001)


def gone(pid: int) -> bool:
    """Return whether a process has ended, even if its parent has not noticed."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_until_gone(*pids: int) -> None:
    deadline = time.monotonic() + 30
    while not all(map(gone, pids)):
        assert time.monotonic() < deadline, f"of {pids} some still run"
        time.sleep(0.01)
