"""The command ``pytest-dsr1 bisect``: exit statuses of pytest as ``git bisect run`` understands them."""

from __future__ import annotations

import argparse
import signal
import subprocess
from types import FrameType
from typing import Any

from pytest_dsr1.text import harmless, say, shell_command

GOOD, BAD, SKIP, ABORT = 0, 1, 125, 128
"""What ``git bisect run`` does with a status: 1 to 127 are bad, except 125; from 128 on it stops."""
STOPPING = ("SIGINT", "SIGTERM", "SIGHUP")
"""The signals that stop a bisection; the command gets them too, so that it can stop its engine."""


def add(commands: Any) -> None:
    """Add the command to those of ``pytest-dsr1``."""
    bisect = commands.add_parser(
        "bisect",
        help="run a command for `git bisect run`",
        description="Run a command for `git bisect run`: exit status 0 is good, 1 (FAIL) is bad, and with "
        "any other one, such as 10 (INVALID) or 12 (INCONCLUSIVE), the commit is skipped. Ctrl-C, or a "
        "command that a signal ended, stops the bisection. See `pytest-dsr1 docs gate#bisect`.",
    )
    bisect.add_argument("command", nargs=argparse.REMAINDER, help="after --, such as -- pytest --dsr1-gate")
    bisect.set_defaults(run=_bisect)


def _bisect(options: argparse.Namespace) -> int:
    command: list[str] = options.command[options.command[:1] == ["--"] :]
    if not command:
        say("pytest-dsr1 bisect: expected a command after --; git bisect stops", error=True)
        return ABORT
    shown = harmless(shell_command(command).replace(" \\\n ", ""))
    say(f"bisect: runs {shown}", error=True)
    try:
        status = _status_of(command)
    except OSError as error:
        say(f"bisect: {harmless(command[0])}: {error.strerror}; git bisect stops", error=True)
        return ABORT
    return _told(status)


def _status_of(command: list[str]) -> int:
    """Run a command to its end, and return its exit status; 128 and more after a signal.

    Raises:
        OSError: it cannot be started.
    """
    stopped: list[int] = []
    process: subprocess.Popen[bytes] | None = None

    def stop(number: int, _: FrameType | None) -> None:
        stopped.append(number)
        # The terminal sends Ctrl-C to the command too; a second one would interrupt how it stops.
        if process is not None and number != signal.SIGINT:
            process.send_signal(number)

    before = {name: signal.signal(getattr(signal, name), stop) for name in STOPPING}
    try:
        process = subprocess.Popen(command)
        status = process.wait()
    finally:
        for name, handler in before.items():
            signal.signal(getattr(signal, name), handler)
    if stopped:
        return ABORT + stopped[0]
    return ABORT - status if status < 0 else status


def _told(status: int) -> int:
    """Return the status for git, and say what it means."""
    if status >= ABORT:
        say(f"bisect: exit status {status}: ended by a signal; git bisect stops", error=True)
        return status
    if status in {GOOD, BAD}:
        say(f"bisect: exit status {status}: {'bad' if status else 'good'}", error=True)
        return status
    say(f"bisect: exit status {status}: neither good nor bad; this commit is skipped ({SKIP})", error=True)
    return SKIP
