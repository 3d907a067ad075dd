"""The agent of a node: it looks at the GPUs there, sets them up, watches them and puts them back.

pytest starts one on each node of a Slurm allocation through ``srun``. It takes requests from its standard
input and answers on its standard output (:mod:`pytest_dsr1.machine.nodes.messages`), with the code that
serves a single machine. At the end of its input, and on SIGTERM, it restores the GPUs and ends.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import select
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from pytest_dsr1.errors import Dsr1Error
from pytest_dsr1.findings import Finding
from pytest_dsr1.machine import host
from pytest_dsr1.machine.lease import Machine, Recorder, look_at_node, prepared
from pytest_dsr1.machine.nodes.messages import (
    REQUEST,
    Again,
    Answer,
    Look,
    Measure,
    Note,
    Prepare,
    Report,
    Request,
    line,
)
from pytest_dsr1.scenario.schema.scenario import Scenario
from pytest_dsr1.scenario.schema.validators import validating


class _Out:
    """The standard output, to which several threads write whole lines."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def raw(self, text: bytes) -> None:
        with self._lock:
            self._stream.write(text)
            self._stream.flush()

    def report(self, report: Report) -> None:
        self.raw(line(report))


class _SampleLines(io.StringIO):
    """A file for the recorder's lines; those since the last flush become one report of samples."""

    def __init__(self, out: _Out) -> None:
        super().__init__()
        self._out = out

    def flush(self) -> None:
        lines = self.getvalue().splitlines()
        self.seek(0)
        self.truncate()
        if lines:
            self._out.raw(f'{{"kind": "samples", "samples": [{",".join(lines)}]}}\n'.encode())

    def close(self) -> None:
        self.flush()
        super().close()


class _Agent:
    """What an agent holds from one request to the next."""

    def __init__(self, out: _Out, called: Callable[[], bool]) -> None:
        """``called`` returns whether there is another request, or no more will come."""
        self._out = out
        self._called = called
        self._machine: Machine | None = None
        self._prepared = ExitStack()
        self._watched = ExitStack()
        self._recorder: Recorder | None = None

    def answer(self, request: Request) -> Answer:
        """Do what is asked.

        Raises:
            Dsr1Error: it cannot be done.
        """
        match request:
            case Look():
                environ, scenario = _environ(request.visible), _scenario(request.scenario)
                found = look_at_node(scenario, request.setup, environ, reused=request.reused)
                return Answer(findings=(*found, *_not_shared(request.shared)))
            case Prepare():
                environ, scenario = _environ(request.visible), _scenario(request.scenario)
                machine = prepared(scenario, request.setup, environ, self._note)
                self._machine = self._prepared.enter_context(machine)
                return self._described(self._machine)
            case Again():
                self._machine = self._held.of(_scenario(request.scenario))
                return self._described(self._machine)
            case Measure():
                (probes,) = self._held.probe(self._log(Path(request.log)), self._called).values()
                return Answer(probes=probes)
        match request.do:
            case "watch":
                watching = self._held.watched(Path("telemetry"), _SampleLines(self._out))
                self._recorder = self._watched.enter_context(watching)
            case "measuring":
                self._held.measuring()
            case "end_watch":
                self._watched.close()
                assert self._recorder is not None
                return Answer(telemetry=replace(self._recorder.telemetry, samples=()))
            case "clock":
                return Answer(time_s=time.monotonic())
            case "port":
                return Answer(port=host.free_port())
            case "release":
                self.release()
        return Answer()

    def release(self) -> None:
        """End what was begun."""
        self._machine = None
        with self._prepared:
            self._watched.close()

    @property
    def _held(self) -> Machine:
        assert self._machine is not None
        return self._machine

    def _described(self, machine: Machine) -> Answer:
        return Answer(
            findings=machine.findings, facts=machine.fingerprint({}).facts, inventory=machine.inventory
        )

    def _log(self, wanted: Path) -> Path:
        """Return where a log can be written: its folder may be on the first node alone."""
        if wanted.parent.is_dir():
            return wanted
        folder = Path(tempfile.mkdtemp(prefix="dsr1-probe-"))
        self._note(f"{wanted.parent} is not here, so the output of its probes is in {folder / wanted.name}")
        return folder / wanted.name

    def _note(self, sentence: str) -> None:
        self._out.report(Note(sentence=sentence))


def _not_shared(path: str) -> Iterator[Finding]:
    """Yield a mismatch if a file that pytest has written is not here."""
    if path and not Path(path).exists():
        message = (
            f"{Path(path).parent} is another folder here than where pytest runs; every node of a run reads "
            "and writes there: name a folder that all nodes share, with --dsr1-results=FOLDER"
        )
        yield Finding("mismatch", "results", message)


def _environ(visible: str | None) -> Mapping[str, str]:
    return os.environ if visible is None else {**os.environ, "CUDA_VISIBLE_DEVICES": visible}


def _scenario(body: Mapping[str, Any]) -> Scenario:
    with validating(body["engine"].get("type")):
        return Scenario.model_validate_json(json.dumps(body))


def serve(requests: IO[bytes], out: IO[bytes]) -> None:
    """Answer requests until their end, then restore the GPUs."""
    lines = _Out(out)
    agent = _Agent(lines, lambda: bool(select.select([requests], [], [], 0)[0]))
    try:
        for text in requests:
            request = REQUEST.validate_json(text)
            try:
                answer = agent.answer(request)
            except Dsr1Error as error:
                answer = Answer(error=str(error))
            lines.report(replace(answer, number=request.number))
    finally:
        agent.release()


def main() -> None:
    """Serve on standard input and output; what else is printed goes to standard error."""
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    with contextlib.suppress(BrokenPipeError):  # pytest has ended
        serve(sys.stdin.buffer, out)


if __name__ == "__main__":
    main()
