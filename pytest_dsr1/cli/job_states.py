"""What becomes of the tasks of job arrays, as squeue reports it."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pytest_dsr1.text import brief, say
from pytest_dsr1.verdict.verdict import EXIT_STATUS, Status

POLL_S = 10.0
"""How often squeue is asked; it burdens the controller of the whole cluster."""
_FINAL = frozenset(
    (
        *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY"),
        *("PREEMPTED", "REVOKED", "TIMEOUT"),
    )
)
"""The states of a job that has ended (squeue(1), JOB STATE CODES)."""
_BY_ITSELF = frozenset(("COMPLETED", "FAILED"))
"""The states of a script that ended by itself, with an exit status."""
_FORGOTTEN = "forgotten by Slurm"
_FIELDS = ("ArrayJobID", "ArrayTaskID", "State", "exit_code", "Reason")
INVALID = EXIT_STATUS[Status.INVALID]
_VERDICTS = tuple(dict.fromkeys(EXIT_STATUS.values()))
WORST_FIRST = (*_VERDICTS[:2], *range(2, 6), *_VERDICTS[2:], 0)
"""Exit statuses of verdicts, and after those of runs that do not count, pytest's own errors (2 to 5)."""

Task = tuple[str, int]
"""The id of a job array, and the number of a task in it."""


@dataclass(frozen=True, slots=True)
class TaskState:
    """The state of a task.

    Attributes:
        state: in Slurm's words.
        reason: why it waits; empty if it does not.
        status: the exit status of its script; None unless that ended by itself.
    """

    state: str
    reason: str = ""
    status: int | None = None

    @property
    def has_ended(self) -> bool:
        """Whether it no longer changes."""
        return self.state in _FINAL or self.state == _FORGOTTEN

    @property
    def words(self) -> str:
        """The state for people."""
        if self.status is not None:
            return f"exit status {self.status}"
        return f"{self.state} ({self.reason})" if self.reason else self.state

    @property
    def exit_status(self) -> int:
        """The exit status as one of pytest's; a run that something else ended does not count."""
        return INVALID if self.status not in WORST_FIRST or self.status is None else self.status


def worst(states: Iterable[TaskState]) -> int:
    """Return the worst exit status."""
    return min((state.exit_status for state in states), key=WORST_FIRST.index)


def wait(names: Mapping[Task, str]) -> dict[Task, TaskState]:
    """Wait until all tasks have ended, and say every change; return how they ended.

    Args:
        names: what each task runs.
    """
    known: dict[Task, TaskState] = {}
    silent = False
    while True:
        found, problem = _asked(sorted({job for job, _ in names}, key=int))
        if problem and not silent:
            say(f"squeue: {problem}; it is asked again every {POLL_S:g} s", error=True)
        silent = bool(problem)
        for task, name in names.items() if not problem else ():
            before = known.get(task)
            if before is not None and before.has_ended:
                continue
            known[task] = found.get(task, TaskState(_FORGOTTEN))
            if known[task] != before:
                say(f"{task[0]}_{task[1]} {name}: {known[task].words}")
        if len(known) == len(names) and all(state.has_ended for state in known.values()):
            return known
        time.sleep(POLL_S)


def _asked(jobs: Sequence[str]) -> tuple[dict[Task, TaskState], str]:
    """Return the states that squeue lists, or why it lists none; it does not list forgotten jobs."""
    fields = ",".join(f"{field}:40" for field in _FIELDS)
    command = ["squeue", "--noheader", "--array", "--states=all", f"--jobs={','.join(jobs)}"]
    try:
        done = subprocess.run(
            [*command, f"--Format={fields}"], capture_output=True, text=True, errors="replace", check=False
        )
    except OSError as error:
        return {}, f"cannot be started: {error.strerror}"
    if done.returncode and "Invalid job id" not in done.stderr:
        return {}, brief(done.stderr) if done.stderr.strip() else f"exit status {done.returncode}"
    lines = (line.split(maxsplit=len(_FIELDS) - 1) for line in done.stdout.splitlines())
    rows = (words for words in lines if len(words) == len(_FIELDS) and words[1].isdecimal())
    return {(job, int(task)): _state_of(*rest) for job, task, *rest in rows}, ""


def _state_of(state: str, wait_status: str, reason: str) -> TaskState:
    if state in _BY_ITSELF:
        status = os.waitstatus_to_exitcode(int(wait_status))
        return TaskState(state, status=status if status >= 0 else None)
    reason = reason.strip()
    return TaskState(state, "" if reason == "None" or state != "PENDING" else reason)
