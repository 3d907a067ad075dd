"""A command run as a child that leaves nothing behind, whose output is read line by line as it comes."""

from __future__ import annotations

import contextlib
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
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Literal

from pytest_dsr1.errors import EngineError
from pytest_dsr1.process import supervisor

EVENTS_FD = "DSR1_EVENTS_FD"
"""The environment variable that tells a command which descriptor takes its events."""
COMMANDS_FD = "DSR1_COMMANDS_FD"
"""Likewise from which descriptor it reads what it is told; the descriptor's end is the end of its work."""
MAX_LINE = 1_000_000
"""Bytes of a line that are kept."""

_Source = Literal["log", "event", "status"]
_TERMINATOR = re.compile(rb"\r\n|\n|\r")


@dataclass(frozen=True, slots=True)
class Line:
    """One line the command wrote, without its end; ``time_s`` is when it came (``time.monotonic``)."""

    kind: Literal["log", "event"]
    text: str
    time_s: float


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return our environment variables with those of a child, whose Python shall write its output at once."""
    return {**os.environ, "PYTHONUNBUFFERED": "1", **(more or {})}


class LineSplitter:
    """Cuts a stream of bytes into lines.

    A carriage return ends a line too, as progress bars write them. Empty lines are left out, undecodable
    bytes are replaced, and of a line longer than ``MAX_LINE`` bytes the rest is dropped.
    """

    def __init__(self) -> None:
        self._pending = bytearray()

    def feed(self, data: bytes) -> list[str]:
        """The lines that ``data`` completes."""
        *whole, rest = _TERMINATOR.split(data)
        lines = []
        for piece in whole:
            self._append(piece)
            lines.append(self._take())
        self._append(rest)
        return [line for line in lines if line]

    def end(self) -> list[str]:
        """The last line, where nothing ended it."""
        return [line] if (line := self._take()) else []

    def _append(self, piece: bytes) -> None:
        self._pending += piece[: MAX_LINE - len(self._pending)]

    def _take(self) -> str:
        text = self._pending.decode("utf-8", "replace")
        self._pending.clear()
        return text


class Child:
    """A command and everything it starts, as a context manager.

    Standard output and error of the command are merged, appended to ``log`` as they come, and handed out by
    :meth:`read`. With ``events`` the command finds in the environment variable ``DSR1_EVENTS_FD`` a
    descriptor whose lines are handed out as kind ``event`` and not logged; with ``commands`` it finds in
    ``DSR1_COMMANDS_FD`` one from which it reads what :meth:`send` writes. Standard input is empty.

    When the command ends, on :meth:`stop`, on leaving the context in any way, and when this process dies in
    any way, each process it started is ended too: SIGTERM, ``grace_s`` seconds, SIGKILL.

    Attributes:
        argv: the command; ``argv[0]`` is looked up in the PATH of ``env``.
        log: where its output is kept.
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
        grace_s: float = 5.0,
    ) -> None:
        self.argv = list(argv)
        self.log = log
        self._env = dict(env)
        self._cwd = cwd
        self._events = events
        self._with_commands = commands
        self._commands: int | None = None
        self._grace_s = grace_s
        self._lines: queue.SimpleQueue[Line | None] = queue.SimpleQueue()
        self._report: dict[str, str] = {}
        # Not Thread.join: interrupted by Ctrl-C it takes the thread for ended (Python < 3.13).
        self._ended = threading.Event()
        self._log_error: OSError | None = None

    def __enter__(self) -> Child:
        # `theirs` are the ends only the supervisor keeps; `ours` belong to the reading thread from its start.
        with ExitStack() as theirs, ExitStack() as ours, ExitStack() as lifeline_owner:

            def pipe() -> tuple[int, int]:
                read, write = os.pipe()
                ours.callback(os.close, read)
                theirs.callback(os.close, write)
                return read, write

            log = ours.enter_context(self.log.open("ab", buffering=0))
            output, output_write = pipe()
            status, status_write = pipe()
            passed = [status_write]
            sources: dict[int, _Source] = {output: "log", status: "status"}
            if self._events:
                events, events_write = pipe()
                sources[events] = "event"
                passed.append(events_write)
                self._env[EVENTS_FD] = str(events_write)
            if self._with_commands:
                commands_read, self._commands = os.pipe()
                theirs.callback(os.close, commands_read)
                lifeline_owner.callback(self.end_commands)
                passed.append(commands_read)
                self._env[COMMANDS_FD] = str(commands_read)
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
                stdin=subprocess.DEVNULL,
                stdout=output_write,
                stderr=subprocess.STDOUT,
                pass_fds=[lifeline_read, *passed],
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
            self._cut_lifeline()  # whatever happened above, the supervisor ends everything on this

    @property
    def returncode(self) -> int | None:
        """The command's exit status once it and all it started are gone, else None.

        The negative number of the signal that ended it; 127 when it was not found and 126 when it could not
        be executed, as in a shell.
        """
        if not self._ended.is_set():
            return None
        ended = self._process.wait()
        if "signal" in self._report:
            return -int(self._report["signal"])
        # Without a report the supervisor itself was killed, and took the command with it.
        return int(self._report.get("exit", ended))

    def read(self, timeout_s: float) -> list[Line]:
        """What was written since the last call; waits up to ``timeout_s`` for the first line.

        Returns at once, with what is left, when the command has ended: an empty list then means that all was
        read.

        Raises:
            EngineError: the log cannot be written.
        """
        lines: list[Line] = []
        with contextlib.suppress(queue.Empty):
            while (line := self._lines.get(timeout=0 if lines else timeout_s)) is not None:
                lines.append(line)
            self._lines.put(None)  # the end stays, for the next call
            self._ended.wait()
        if self._log_error:
            raise EngineError(f"{self.log}: cannot write the log: {self._log_error.strerror}")
        return lines

    def stop(self, grace_s: float | None = None) -> None:
        """End the command and all it started: SIGTERM, ``grace_s`` seconds, SIGKILL, all gone on return.

        Raises:
            EngineError: processes survive even SIGKILL.
        """
        grace_s = self._grace_s if grace_s is None else grace_s
        self._ask(grace_s)
        try:
            self._ended.wait()
        except KeyboardInterrupt:  # somebody is in a hurry
            self._ask(0)
            self._ended.wait()
            raise
        self._process.wait()
        if left := self._report.get("left"):
            raise EngineError(
                f"processes {left} of {self.argv[0]} survive SIGKILL, so they hang in the kernel "
                "(GPU driver?); look at dmesg, and reset the GPU or reboot before the next run"
            )

    def send(self, command: str) -> None:
        """Write a line to the command, at most a pipe's capacity (64 KiB) ahead of it; needs ``commands``."""
        assert self._commands is not None
        with contextlib.suppress(BrokenPipeError):  # it ended by itself, which read() tells
            os.write(self._commands, f"{command}\n".encode())

    def end_commands(self) -> None:
        """Nothing more will be sent."""
        if self._commands is not None:
            os.close(self._commands)
            self._commands = None

    def descendants(self) -> set[int]:
        """The ids of all processes that belong to this child now, the supervisor included."""
        return {self._process.pid, *supervisor.descendants(self._process.pid)}

    def _ask(self, grace_s: float) -> None:
        with contextlib.suppress(BrokenPipeError):  # it ended by itself
            os.write(self._lifeline, f"{grace_s}\n".encode())

    def _read_all(self, sources: Mapping[int, _Source], log: FileIO, owned: ExitStack) -> None:
        """Until the supervisor has ended: cut what comes into lines, and keep the log."""
        splitters = {source: LineSplitter() for source in sources}

        def take(source: int, lines: list[str]) -> None:
            kind, now_s = sources[source], time.monotonic()
            for text in lines:
                if kind == "status":
                    word, _, rest = text.partition(" ")
                    self._report[word] = rest
                else:
                    self._lines.put(Line(kind, text, now_s))

        def chunk(source: int) -> bytes:
            data = os.read(source, 1 << 16)
            if sources[source] == "log" and not self._log_error:
                try:
                    log.write(data)
                except OSError as error:  # the disk is full; the command must not block on us for that
                    self._log_error = error
            take(source, splitters[source].feed(data))
            return data

        try:
            with owned, selectors.DefaultSelector() as selector:
                for source in sources:
                    os.set_blocking(source, False)
                    selector.register(source, selectors.EVENT_READ)
                running = True
                while running:
                    for key, _ in selector.select():
                        if not chunk(key.fd):
                            selector.unregister(key.fd)
                            running &= sources[key.fd] != "status"  # held by the supervisor alone
                for source in sources:  # what the pipes still hold
                    with contextlib.suppress(BlockingIOError):
                        while chunk(source):
                            pass
                    take(source, splitters[source].end())
        finally:
            self._lines.put(None)
            self._ended.set()


def signal_name(number: int) -> str:
    """``SIGKILL`` for 9; some signals have no name."""
    return next((known.name for known in signal.Signals if known == number), f"signal {number}")


def quoted(lines: Iterable[str]) -> str:
    """Lines of a log under a message; the bar keeps a CI server from obeying one (``::error::``)."""
    return "".join(f"\n  | {line}" for line in lines)
