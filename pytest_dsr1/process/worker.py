"""The shared part of the engines' worker programs: events, commands and requests.

A worker reads a job file and writes events, one JSON object per line, to the descriptor in the environment
variable ``DSR1_EVENTS_FD``, or to standard output if it is not set. It reads commands, one per line, from the
descriptor in ``DSR1_COMMANDS_FD``; the line ``stop`` ends a measurement before all its requests, and the line
``ask`` after a measurement asks the job's questions. Only the standard library is used.

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
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from pytest_dsr1.process.child import COMMANDS_FD, EVENTS_FD

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
    """The stream that takes events."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._next_progress_s = 0.0

    @classmethod
    def open(cls) -> Events:
        """Open the descriptor that the engine gave us; the processes we start do not inherit it."""
        descriptor = os.environ.pop(EVENTS_FD, None)
        if descriptor is None:
            return cls(sys.stdout)
        os.set_inheritable(int(descriptor), False)
        return cls(os.fdopen(int(descriptor), "w", encoding="utf-8"))

    def send(self, event: str, **fields: Any) -> None:
        """Write one event."""
        self._stream.write(json.dumps({"event": event, "time_s": time.monotonic(), **fields}) + "\n")
        self._stream.flush()

    def progress(self, requests: int, output_tokens: int) -> None:
        """Write a progress event, unless the last one is younger than ``PROGRESS_S``."""
        now = time.monotonic()
        if now >= self._next_progress_s:
            self._next_progress_s = now + PROGRESS_S
            self.send("progress", requests=requests, output_tokens=output_tokens)


@contextlib.contextmanager
def commands() -> Iterator[BinaryIO | None]:
    """Yield the stream of the engine's commands; None if a person started the worker.

    The processes we start do not inherit it.
    """
    descriptor = os.environ.pop(COMMANDS_FD, None)
    if descriptor is None:
        yield None
        return
    os.set_inheritable(int(descriptor), False)
    with os.fdopen(int(descriptor), "rb", buffering=0) as stream:
        yield stream


class StopLine:
    """A check whether the line ``stop`` has arrived, or ``ask``; the end of the stream does not count."""

    def __init__(self, stream: BinaryIO | None) -> None:
        self._stream = stream
        self._received = b""
        self._ended = False

    def __call__(self) -> bool:
        """Return whether it has arrived, without waiting."""
        while self._stream is not None and select.select([self._stream], [], [], 0)[0]:
            if data := os.read(self._stream.fileno(), 1 << 12):
                self._received += data
            else:
                self._stream, self._ended = None, True
        return self._has(STOP)

    def asked(self) -> bool:
        """Wait for the line ``ask`` and return whether it came before the end; True without an engine."""
        if self._stream is None:
            return not self._ended
        while not self._has(ASK) and (data := os.read(self._stream.fileno(), 1 << 12)):
            self._received += data
        return self._has(ASK)

    def _has(self, command: str) -> bool:
        return command.encode() in self._received.split(b"\n")[:-1]


def main(
    argv: Sequence[str],
    work: Callable[[Path, Events, BinaryIO | None], None],
    explain: Callable[[Exception], str],
) -> int:
    """Run a worker program: do the job named on the command line, and report an error as an event.

    Args:
        argv: the arguments; the first is the job file.
        work: does the job; called with the job file, the events, and the stream of commands or None.
        explain: describes an error that is not a :class:`WorkerError` in one sentence.

    Returns:
        The exit status: 1 after an error event.
    """
    import traceback

    events = Events.open()
    try:
        with commands() as stream:
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
