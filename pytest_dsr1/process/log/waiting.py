"""The time limit of a program that starts: Slurm's queue does not count, and a hopeless log ends it early."""

from __future__ import annotations

import re
import time

from pytest_dsr1.process.log.launch import END_STEP, WAITS
from pytest_dsr1.process.log.lines import plain_line
from pytest_dsr1.process.log.reader import LogReader

PATIENCE_S = 30.0
"""The silence after which a program is stopped whose log shows that nothing more can come."""
_POLL_S = 1.0
_QUEUED = re.compile(
    r"(?:srun|salloc): (?:job|Pending job allocation) (\d+)(?: queued and waiting for resources)?$"
)
_STEP_QUEUED = re.compile(rf"srun: Job (\d+) {WAITS.pattern}", re.IGNORECASE)
_ALLOCATED = re.compile(
    r"(?:srun|salloc): (?:job \d+ has been allocated resources|Granted job allocation|Step created for )"
)


class Waiting:
    """The wait for a program.

    Args:
        log: of the program.
        limit_s: the longest time, without the time in Slurm's queue.
    """

    def __init__(self, log: LogReader, limit_s: float) -> None:
        self._log = log
        self._heard_s = time.monotonic()
        self._queued_from_s: float | None = None
        self.restart(limit_s)

    def restart(self, limit_s: float) -> None:
        """Begin another wait, with another limit."""
        self.limit_s = limit_s
        self._began_s = time.monotonic()
        self._queued_s = 0.0

    def heard(self, text: str) -> str | None:
        """Take a line of the log; return what Slurm lets the program wait for from now on, in words."""
        self._heard_s = time.monotonic()
        if "srun: " not in text and "salloc: " not in text:
            return None
        line = plain_line(text).text
        if found := _QUEUED.match(line):
            self._queued_from_s = self._queued_from_s or self._heard_s
            return f"job {found[1]} waits in Slurm's queue"
        if found := _STEP_QUEUED.match(line):
            self._queued_from_s = self._queued_from_s or self._heard_s
            return f"srun waits for another step of job {found[1]}: {END_STEP}"
        if _ALLOCATED.match(line) and self._queued_from_s is not None:
            self._queued_s += self._heard_s - self._queued_from_s
            self._queued_from_s = None
        return None

    @property
    def left_s(self) -> float:
        """The seconds until the limit, at least 0; the whole rest while the job waits in the queue."""
        now_s = time.monotonic()
        queued_s = self._queued_s + (now_s - self._queued_from_s if self._queued_from_s is not None else 0.0)
        return max(0.0, self._began_s + self.limit_s + queued_s - now_s)

    @property
    def poll_s(self) -> float:
        """The seconds to wait for the next line."""
        return min(self.left_s, _POLL_S)

    @property
    def over(self) -> bool:
        """Whether the limit is exceeded."""
        return not self.left_s

    @property
    def given_up(self) -> str:
        """The end of a sentence about a program that was stopped because it is hopeless."""
        return f"nothing can come after that, so it was stopped after {PATIENCE_S:g} s of silence"

    @property
    def hopeless(self) -> bool:
        """Whether nothing more can come, and nothing came for a while."""
        return self._log.hopeless and time.monotonic() - self._heard_s >= PATIENCE_S
