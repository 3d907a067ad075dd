"""A small program that runs one command and ends all its descendants, however the command ends.

:mod:`pytest_dsr1.process.child` starts it as ``python -I -S supervisor.py LIFELINE STATUS GRACE -- argv``. It
uses the standard library only, so that it starts in milliseconds.

* LIFELINE is the read end of a pipe. Only the process that started us has its write end. A line on it is a
  request to stop, with the grace period in seconds. End of file means that the process died.
* STATUS is a pipe for the outcome, as lines ``exit CODE``, ``signal NUMBER`` and ``left PID...``.
* GRACE is the time in seconds between SIGTERM and SIGKILL for descendants that outlive the command.

On Linux we are a child subreaper: a descendant whose parent ended becomes our child. So the tree below us is
complete, even if its members moved to other sessions or process groups. On other systems we use the command's
process group instead.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time
from pathlib import Path

NOT_EXECUTABLE = 126
NOT_FOUND = 127
UNKILLABLE_AFTER_S = 30.0
"""A process that survives SIGKILL this long hangs in the kernel; we report it and exit."""

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_POLL_S = 0.05
_HANDLED = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def descendants(root: int) -> set[int]:
    """Return the ids of all processes below ``root``, including zombies, without ``root`` itself."""
    children: dict[int, list[int]] = {}
    for pid, parent in _parents():
        children.setdefault(parent, []).append(pid)
    found: set[int] = set()
    todo = [root]
    while todo:
        below = set(children.get(todo.pop(), ())) - found
        found |= below
        todo.extend(below)
    return found


def _parents() -> list[tuple[int, int]]:
    """Return (process, its parent) of every process of the machine."""
    if sys.platform != "linux":
        with os.popen("ps -A -o pid=,ppid=") as output:  # noqa: S605 - a constant command
            text = output.read()
        return [(int(pid), int(parent)) for pid, parent in map(str.split, text.splitlines())]
    pairs = []
    for name in os.listdir("/proc"):  # noqa: PTH208 - we need strings
        if name.isdigit():
            with contextlib.suppress(OSError):  # it ended meanwhile
                stat = Path(f"/proc/{name}/stat").read_bytes()
                # The second field is the name in parentheses; it may itself contain spaces and parentheses.
                pairs.append((int(name), int(stat[stat.rindex(b")") + 2 :].split()[1])))
    return pairs


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        import ctypes

        if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "prctl")


def _start(argv: list[str]) -> int:
    """Start the command in its own session and return the id of its process."""
    # Our handlers must not swallow a signal that reaches the new process before it becomes the command.
    signal.pthread_sigmask(signal.SIG_BLOCK, _HANDLED)
    pid = os.fork()
    if pid:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _HANDLED)
        return pid
    try:
        os.setsid()
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # in case the supervisor itself gets SIGKILL
        for number in (*_HANDLED, signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores the last two
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _HANDLED)
        os.execvp(argv[0], argv)  # noqa: S606 - running the command is our purpose
    except OSError as error:
        os.write(2, f"cannot start {argv[0]}: {error.strerror}\n".encode())
        os._exit(NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE)


class _Supervisor:
    def __init__(self, lifeline: int, grace_s: float) -> None:
        self.lifeline: int | None = lifeline
        self.grace_s = grace_s
        self.stop = False
        self.command = 0
        self.wait_status: int | None = None
        self.wake, write = os.pipe()
        os.set_blocking(write, False)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        for number in _HANDLED:
            signal.signal(number, lambda *_: None)  # the wake-up descriptor gives its number

    def wait(self, timeout_s: float | None) -> None:
        """Wait for the end of a child, a signal, a request to stop, or the death of our starter."""
        sources = [self.wake] if self.lifeline is None else [self.wake, self.lifeline]
        for source in select.select(sources, [], [], timeout_s)[0]:
            data = os.read(source, 4096)
            if source == self.wake:
                self.stop |= any(number != signal.SIGCHLD for number in data)
                continue
            self.stop = True
            if data:
                self.grace_s = float(data.split()[-1])
            else:
                self.lifeline = None
        self.reap()

    def reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                if ended[0] == self.command:
                    self.wait_status = ended[1]

    def end_all(self) -> set[int]:
        """Send SIGTERM, then SIGKILL after the grace period, to all below us; return the survivors."""
        began = time.monotonic()
        asked: set[int] = set()
        while True:
            self.reap()
            left = descendants(os.getpid())
            elapsed_s = time.monotonic() - began
            if not left or elapsed_s > self.grace_s + UNKILLABLE_AFTER_S:
                return left
            if elapsed_s >= self.grace_s:
                self._signal(left, signal.SIGKILL)
            else:
                self._signal(left - asked, signal.SIGTERM)
                asked |= left
            self.wait(_POLL_S)

    def _signal(self, pids: set[int], number: int) -> None:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)
        if sys.platform != "linux" and self.command:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.command, number)


def main(arguments: list[str]) -> None:
    """Run the command to its end, end the processes it left, and report."""
    lifeline, status, grace_s = int(arguments[0]), int(arguments[1]), float(arguments[2])
    for own in (lifeline, status):
        os.set_inheritable(own, False)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    supervisor = _Supervisor(lifeline, grace_s)
    supervisor.command = _start(arguments[4:])
    os.close(0)  # who writes to the command must notice its end
    while supervisor.wait_status is None and not supervisor.stop:
        supervisor.wait(None)
    left = supervisor.end_all()
    report = []
    if supervisor.wait_status is not None:
        code = os.waitstatus_to_exitcode(supervisor.wait_status)
        report.append(f"exit {code}" if code >= 0 else f"signal {-code}")
    if left:
        report.append("left " + " ".join(map(str, sorted(left))))
    with contextlib.suppress(BrokenPipeError):  # our starter is gone, so no process reads the report
        os.write(status, "\n".join(report).encode() + b"\n")


if __name__ == "__main__":
    main(sys.argv[1:])
