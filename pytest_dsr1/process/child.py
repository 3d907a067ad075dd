"""A child process that leaves nothing behind; its output is read line by line as it arrives."""

from __future__ import annotations

import contextlib
import fcntl
import os
import queue
import re
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal

from pytest_dsr1.errors import EngineError
from pytest_dsr1.masking import secrets_of
from pytest_dsr1.process import supervisor
from pytest_dsr1.process.event_lines import EventSplitter
from pytest_dsr1.process.kept_log import KeptLog
from pytest_dsr1.process.line_budget import RATE, LineBudget
from pytest_dsr1.process.secret_filter import SecretFilter

MAX_LINE = 1_000_000
"""The most bytes kept of a line."""
_READ = 1 << 20
"""The most bytes of one read, and the size of the pipe, so that the command need not wait for us."""
_FULL = 1 << 16
_PAUSE_S = 0.005
"""The pause after a small read when reads follow each other fast: many lines then cost one read."""

_Source = Literal["log", "event", "status"]
_TERMINATOR = re.compile(rb"\r\n|\n|\r")


@dataclass(frozen=True, slots=True)
class Line:
    """One line of output, without its line end; ``time_s`` is when it arrived (``time.monotonic``)."""

    kind: Literal["log", "event"]
    text: str
    time_s: float


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return our environment variables and ``more``; a child's Python does not buffer its output."""
    return {**os.environ, "PYTHONUNBUFFERED": "1", **(more or {})}


class LineSplitter:
    """A splitter of a stream of bytes into lines.

    A carriage return also ends a line, because progress bars write them. Empty lines are left out.
    Undecodable bytes are replaced. A line is cut after ``MAX_LINE`` bytes.
    """

    def __init__(self) -> None:
        self._pending = bytearray()

    def feed(self, data: bytes) -> list[str]:
        """Return the lines that ``data`` completes."""
        *whole, rest = _TERMINATOR.split(data)
        lines = []
        for piece in whole:
            self._append(piece)
            lines.append(self._take())
        self._append(rest)
        return [line for line in lines if line]

    def end(self) -> list[str]:
        """Return the last line if it has no line end."""
        return [line] if (line := self._take()) else []

    def _append(self, piece: bytes) -> None:
        self._pending += piece[: MAX_LINE - len(self._pending)]

    def _take(self) -> str:
        text = self._pending.decode("utf-8", "replace")
        self._pending.clear()
        return text


class Child:
    """A command and everything it starts, as a context manager.

    Standard output and error of the command are merged, appended to ``log`` as they arrive, and returned by
    :meth:`read`. With ``events`` its standard output may have events (:mod:`.event_lines`); :meth:`read`
    returns them as kind ``event``, and they are not logged. With ``commands`` its standard input is what
    :meth:`send` writes, else empty. It also gets the descriptors in ``inherited``.

    The secrets in its environment and its command are replaced in all of this output, also in the log.

    Each process that the command started is stopped with SIGTERM, and SIGKILL after ``grace_s`` seconds. This
    happens when the command ends, on :meth:`stop`, when the context is left, and when this process dies.

    Attributes:
        argv: the command; ``argv[0]`` is looked up in the PATH of ``env``.
        log: the file that keeps its output.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: Path,
        log: Path,
        events: bool = False,
        commands: bool = False,
        inherited: Sequence[int] = (),
        grace_s: float = 5.0,
    ) -> None:
        self.argv = list(argv)
        self.log = log
        self._env = dict(env)
        self._cwd = cwd
        self._events = events
        self._with_commands = commands
        self._inherited = inherited
        self._commands: int | None = None
        self._grace_s = grace_s
        self._lines: queue.SimpleQueue[Line | None] = queue.SimpleQueue()
        self._report: dict[str, str] = {}
        # Not Thread.join: after Ctrl-C it believes that the thread has ended (Python < 3.13).
        self._ended = threading.Event()
        self._budget = LineBudget(time.monotonic())

    def __enter__(self) -> Child:
        # Only the supervisor keeps the ends in `theirs`; the reading thread owns those in `ours`.
        with ExitStack() as theirs, ExitStack() as ours, ExitStack() as lifeline_owner:

            def pipe() -> tuple[int, int]:
                read, write = os.pipe()
                ours.callback(os.close, read)
                theirs.callback(os.close, write)
                return read, write

            log = KeptLog(self.log)
            ours.callback(log.close)
            self._kept_log = log
            output, output_write = pipe()
            with contextlib.suppress(OSError, AttributeError):  # a lower limit of the system, or not Linux
                fcntl.fcntl(output, fcntl.F_SETPIPE_SZ, _READ)
            status, status_write = pipe()
            sources: dict[int, _Source] = {output: "log", status: "status"}
            events_write, commands_read = output_write, subprocess.DEVNULL
            if self._events:
                events, events_write = pipe()
                sources[events] = "event"
            if self._with_commands:
                commands_read, self._commands = os.pipe()
                theirs.callback(os.close, commands_read)
                lifeline_owner.callback(self.end_commands)
            lifeline_read, self._lifeline = os.pipe()
            theirs.callback(os.close, lifeline_read)
            lifeline_owner.callback(os.close, self._lifeline)
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-I", "-S", supervisor.__file__),
                    *(str(lifeline_read), str(status_write), str(self._grace_s), "--", *self.argv),
                ],
                env=self._env,
                cwd=self._cwd,
                stdin=commands_read,
                stdout=events_write,
                stderr=output_write,
                pass_fds=[lifeline_read, status_write, *self._inherited],
                start_new_session=True,
            )
            self._cut_lifeline = lifeline_owner.pop_all().close
            reader = threading.Thread(
                target=self._read_all, args=(sources, log, ours.pop_all()), name="dsr1-child", daemon=True
            )
        reader.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self.stop()
        finally:
            self._cut_lifeline()  # the supervisor then ends everything, even if stop() failed

    @property
    def returncode(self) -> int | None:
        """The command's exit status after it and all processes it started have ended, else None.

        A negative number is the signal that ended it. As in a shell, 127 means that the command was not found
        and 126 that it could not be executed.
        """
        if not self._ended.is_set():
            return None
        ended = self._process.wait()
        if "signal" in self._report:
            return -int(self._report["signal"])
        # Without a report the supervisor itself was killed, and the command with it.
        return int(self._report.get("exit", ended))

    def read(self, timeout_s: float) -> list[Line]:
        """Return the lines written since the last call; wait up to ``timeout_s`` for the first one.

        If the command has ended, return the remaining lines at once. An empty list then means that all lines
        were read.

        Raises:
            EngineError: the log cannot be written.
        """
        lines: list[Line] = []
        with contextlib.suppress(queue.Empty):
            while (line := self._lines.get(timeout=0 if lines else timeout_s)) is not None:
                lines.append(line)
            self._lines.put(None)  # the next call must see the end too
            self._ended.wait()
        if error := self._kept_log.error:
            raise EngineError(f"{self.log}: cannot write the log: {error.strerror}")
        return lines

    @property
    def unsearched(self) -> str | None:
        """What of the log :meth:`read` did not return, in words; None if it returned every line."""
        if not self._budget.skipped:
            return None
        return (
            f"the log grew faster than {RATE / 1e6:g} MB/s, so {self._budget.skipped / 1e6:,.1f} MB in "
            f"its middle "
            "were not searched for progress or causes"
        )

    @property
    def logged(self) -> int:
        """The position in the log, for :meth:`copy_log`."""
        return self._kept_log.position

    def copy_log(self, position: int, path: Path) -> None:
        """Copy the log from a position on to another file; may raise OSError."""
        self._kept_log.copy_from(position, path)

    def stop(self, grace_s: float | None = None) -> None:
        """End the command and all it started: SIGTERM, then SIGKILL after ``grace_s`` seconds.

        All these processes have ended on return.

        Raises:
            EngineError: processes survive even SIGKILL.
        """
        self.begin_stop(grace_s)
        try:
            self._ended.wait()
        except KeyboardInterrupt:  # the user does not want to wait
            self.begin_stop(0)
            self._ended.wait()
            raise
        self._process.wait()
        if left := self._report.get("left"):
            raise EngineError(
                f"processes {left} of {self.argv[0]} survived SIGKILL, so they hang in the kernel "
                "(GPU driver?); look at dmesg, and reset the GPU or reboot before the next run"
            )

    def begin_stop(self, grace_s: float | None = None) -> None:
        """Begin what :meth:`stop` does, and do not wait for the end."""
        grace_s = self._grace_s if grace_s is None else grace_s
        with contextlib.suppress(BrokenPipeError):  # it ended by itself
            os.write(self._lifeline, f"{grace_s}\n".encode())

    def send(self, command: str) -> None:
        """Write a line to the command; needs ``commands``.

        Blocks if the command has not read the last 64 KiB (a pipe's capacity).
        """
        assert self._commands is not None
        with contextlib.suppress(BrokenPipeError):  # it ended by itself; read() reports that
            os.write(self._commands, f"{command}\n".encode())

    def end_commands(self) -> None:
        """Close the pipe for commands."""
        if self._commands is not None:
            os.close(self._commands)
            self._commands = None

    def descendants(self) -> set[int]:
        """Return the ids of all processes that belong to this child now, including the supervisor."""
        return {self._process.pid, *supervisor.descendants(self._process.pid)}

    def _read_all(self, sources: Mapping[int, _Source], log: KeptLog, owned: ExitStack) -> None:
        """Split the output into lines and write the log until the supervisor has ended."""
        statuses, logged, events = LineSplitter(), LineSplitter(), EventSplitter()
        secrets = secrets_of(self._env, self.argv)
        filters = {source: SecretFilter(secrets) for source in sources}
        of_events = SecretFilter(secrets)

        def put(kind: Literal["log", "event"], lines: Iterable[str]) -> None:
            now_s = time.monotonic()
            for text in lines:
                self._lines.put(Line(kind, text, now_s))

        def pass_on(source: int, data: bytes) -> None:
            if sources[source] == "status":
                self._report |= {word: rest for word, _, rest in map(_words, statuses.feed(data))}
                return
            log.write(data)
            put("log", logged.feed(self._budget.take(data, time.monotonic())))

        def chunk(source: int) -> bytes:
            data = rest = os.read(source, _READ)
            if sources[source] == "event":
                whole, rest = events.feed(data)
                put("event", ((of_events.feed(event) + of_events.end()).decode() for event in whole))
            pass_on(source, filters[source].feed(rest))
            return data

        try:
            with owned, selectors.DefaultSelector() as selector:
                for source in sources:
                    os.set_blocking(source, False)
                    selector.register(source, selectors.EVENT_READ)
                running, before_s = True, 0.0
                while running:
                    small = True
                    for key, _ in selector.select():
                        if not (data := chunk(key.fd)):
                            selector.unregister(key.fd)
                            running &= sources[key.fd] != "status"  # only the supervisor has it open
                        small &= len(data) < _FULL
                    now_s = time.monotonic()
                    if small and now_s - before_s < _PAUSE_S:
                        time.sleep(_PAUSE_S)
                    before_s = now_s
                for source in sources:  # the pipes may still contain data
                    with contextlib.suppress(BlockingIOError):
                        while chunk(source):
                            pass
                    rest = events.end() if sources[source] == "event" else b""
                    pass_on(source, filters[source].feed(rest) + filters[source].end())
                put("log", logged.feed(self._budget.rest()))
                put("log", logged.end())
                log.finish()
        finally:
            self._lines.put(None)
            self._ended.set()


def _words(text: str) -> tuple[str, str, str]:
    return text.partition(" ")


def signal_name(number: int) -> str:
    """Return ``SIGKILL`` for 9, and ``signal N`` for a signal without a name."""
    return next((known.name for known in signal.Signals if known == number), f"signal {number}")
