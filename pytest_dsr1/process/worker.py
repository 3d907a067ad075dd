"""The shared part of the engines' worker programs: events, commands and requests.

A worker reads a job file and writes events, JSON objects, to its standard output
(:mod:`pytest_dsr1.process.event_lines`); what else is printed goes to standard error. It reads commands, one
per line, from standard input or another descriptor; the line ``stop`` ends a measurement before all its
requests, and the line ``ask`` after a measurement asks the job's questions. Only the standard library is
used.

Events (key ``event``; ``time_s`` is ``time.monotonic``):

* ``phase``: ``phase`` (loading, warm-up, measuring, finishing) and ``detail``;
* ``progress``: measured ``requests`` and ``output_tokens`` so far;
* ``record``: ``record``, the fields of a `RequestRecord`;
* ``iteration``: ``iteration``, the fields of an `IterationSample`, if the engine reports its steps;
* ``warning``: a ``message`` for the user;
* ``result``: ``versions`` and ``facts``; the last event of a measurement that succeeded;
* ``answer``: ``answer``, the fields of an `Answer`, one for each question after ``ask``;
* ``error``: a ``message`` in one sentence; the last event of a worker that failed.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from pytest_dsr1.process.event_lines import event_lines

PROGRESS_S = 0.2
STOP = "stop"
"""The line that ends a measurement before all its requests."""
ASK = "ask"
"""The line that asks the job's questions after the measurement."""


class WorkerError(Exception):
    """The reason why there is no measurement, in one sentence."""


@dataclass(frozen=True, slots=True)
class Item:
    """One request: its position in the dataset, its input, and the number of tokens to make."""

    id: int
    input_ids: list[int]
    output_tokens: int


class Events:
    """The stream that takes events, without a buffer."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._next_progress_s = 0.0

    @classmethod
    @contextlib.contextmanager
    def opened(cls) -> Iterator[Events]:
        """Take standard output: what else is printed meanwhile goes to standard error.

        The processes we start do not inherit it.
        """
        with os.fdopen(os.dup(1), "wb", buffering=0) as stream:
            os.dup2(2, 1)
            try:
                yield cls(stream)
            finally:
                os.dup2(stream.fileno(), 1)

    def send(self, event: str, **fields: Any) -> None:
        """Write one event."""
        for line in event_lines(json.dumps({"event": event, "time_s": time.monotonic(), **fields})):
            self._stream.write(line)

    def progress(self, requests: int, output_tokens: int) -> None:
        """Write a progress event, unless the last one is younger than ``PROGRESS_S``."""
        now = time.monotonic()
        if now >= self._next_progress_s:
            self._next_progress_s = now + PROGRESS_S
            self.send("progress", requests=requests, output_tokens=output_tokens)


@contextlib.contextmanager
def commands(descriptor: int = 0) -> Iterator[BinaryIO]:
    """Yield the stream of the engine's commands; the processes we start do not inherit it."""
    with os.fdopen(os.dup(descriptor), "rb", buffering=0) as stream, Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), descriptor)
        yield stream


class StopLine:
    """A check whether the line ``stop`` has arrived, or ``ask``; the end of the stream does not count."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._received = b""
        self._ended = False

    def __call__(self) -> bool:
        """Return whether it has arrived, without waiting."""
        while not self._ended and select.select([self._stream], [], [], 0)[0]:
            self._read()
        return self._has(STOP)

    def asked(self) -> bool:
        """Wait for the line ``ask`` and return whether it came before the end."""
        while not (self._ended or self._has(ASK)):
            self._read()
        return self._has(ASK)

    def _read(self) -> None:
        data = os.read(self._stream.fileno(), 1 << 12)
        self._received += data
        self._ended = not data

    def _has(self, command: str) -> bool:
        return command.encode() in self._received.split(b"\n")[:-1]


def main(
    argv: Sequence[str],
    work: Callable[[Path, Events, BinaryIO], None],
    explain: Callable[[Exception], str],
) -> int:
    """Run a worker program: do the job named on the command line, and report an error as an event.

    Args:
        argv: the arguments: the job file, and the descriptor of the commands if it is not standard input.
        work: does the job; called with the job file, the events, and the stream of commands.
        explain: describes an error that is not a :class:`WorkerError` in one sentence.

    Returns:
        The exit status: 1 after an error event.
    """
    import traceback

    with Events.opened() as events:
        try:
            with commands(*map(int, argv[1:])) as stream:
                work(Path(argv[0]), events, stream)
        except WorkerError as error:
            events.send("error", message=str(error))
            return 1
        except Exception as error:  # noqa: BLE001  # the log gets the traceback, the user one sentence
            traceback.print_exc()
            events.send("error", message=explain(error))
            return 1
        return 0


def first_line(error: BaseException) -> str:
    """Return the first line of an error's text; the log has all of it."""
    return str(error).strip().partition("\n")[0]


def read_requests(path: Path, count: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number, request) for the first ``count`` requests of a dataset with a checked format.

    Raises:
        WorkerError: the dataset has fewer requests.
    """
    found = 0
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if found == count:
                break
            if line.strip():
                found += 1
                yield number, json.loads(line)
    if found < count:
        raise WorkerError(f"{path}: {found} requests, expected at least {count} (`load.num_requests`)")


def input_ids(request: dict[str, Any]) -> list[int] | None:
    """Return the token ids of a request; None if it has text."""
    return request.get("input_ids") or request.get("logits")


def warmup_items(items: Sequence[Item], count: int) -> list[Item]:
    """Return ``count`` requests from the dataset; a shorter dataset is repeated."""
    return [items[i % len(items)] for i in range(count)]
