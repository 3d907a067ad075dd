"""The server that knows the truth: compile it, start it, read its values."""

from __future__ import annotations

import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from types import TracebackType

from pydantic import TypeAdapter

_SOURCE = Path(__file__).with_name("truth_server.c")
_STARTS_WITHIN_S = 10.0


@dataclass(frozen=True, slots=True)
class Times:
    """Statistics of one kind of time, in ms."""

    mean: float
    p50: float
    p99: float
    max: float


@dataclass(frozen=True, slots=True)
class Truth:
    """The actions of the server since its last reset.

    Attributes:
        seconds: from the first request read to the last token written.
        cpu_s: CPU time that the server used.
        ttft_ms: the time from reading a request to writing its first token.
        tpot_ms: a request's mean time between tokens.
        gap_ms: every single time between two tokens of a request.
        late_ms: how late tokens were written: the server's own error.
    """

    requests: int
    completed: int
    aborted: int
    tokens: int
    connections: int
    most_in_flight: int
    seconds: float
    cpu_s: float
    ttft_ms: Times
    tpot_ms: Times
    gap_ms: Times
    late_ms: Times

    @property
    def tok_s(self) -> float:
        """Output tokens per second over the whole run."""
        return self.tokens / self.seconds if self.seconds else 0.0


def together(truths: Sequence[Truth]) -> Truth:
    """Return what servers with equal loads did, as one.

    Counts are sums; the time is that of the slowest server. Of times, means and percentiles are means over
    the servers, and the maximum is the largest.
    """

    def times(name: str) -> Times:
        each: list[Times] = [getattr(truth, name) for truth in truths]
        return Times(
            fmean(t.mean for t in each),
            fmean(t.p50 for t in each),
            fmean(t.p99 for t in each),
            max(t.max for t in each),
        )

    return Truth(
        requests=sum(truth.requests for truth in truths),
        completed=sum(truth.completed for truth in truths),
        aborted=sum(truth.aborted for truth in truths),
        tokens=sum(truth.tokens for truth in truths),
        connections=sum(truth.connections for truth in truths),
        most_in_flight=sum(truth.most_in_flight for truth in truths),
        seconds=max(truth.seconds for truth in truths),
        cpu_s=sum(truth.cpu_s for truth in truths),
        ttft_ms=times("ttft_ms"),
        tpot_ms=times("tpot_ms"),
        gap_ms=times("gap_ms"),
        late_ms=times("late_ms"),
    )


def compile_server(folder: Path) -> Path:
    """Build the program with the machine's C compiler; return its path."""
    program = folder / "truth_server"
    subprocess.run(["cc", "-O2", "-o", str(program), str(_SOURCE), "-lm"], check=True)
    return program


class TruthServer:
    """A server that runs while the context is open.

    Args:
        program: compiled.
        ttft_us: the time from a request to its first token.
        gap_us: the time from event to event; 0 for as fast as the client reads.
        tokens_per_event: the tokens of each event.
    """

    def __init__(self, program: Path, ttft_us: int, gap_us: int, tokens_per_event: int) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self._argv = [str(program), *map(str, (port, ttft_us, gap_us, tokens_per_event))]

    def __enter__(self) -> TruthServer:
        self._process = subprocess.Popen(self._argv)
        until_s = time.monotonic() + _STARTS_WITHIN_S
        while True:
            try:
                self._get("/health")
            except urllib.error.URLError:
                if time.monotonic() > until_s:
                    raise
                time.sleep(0.02)
            else:
                return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait()

    def forget(self, skip: int = 0) -> None:
        """Reset; ignore the next ``skip`` requests, which are a warm-up."""
        self._get(f"/truth/reset?skip={skip}")

    def truth(self) -> Truth:
        """Return the actions of the server since its last reset."""
        return TypeAdapter(Truth).validate_json(self._get("/truth"))

    def arrivals_s(self) -> list[float]:
        """Return when each request was read, on the monotonic clock, in order."""
        return [int(line) / 1e9 for line in self._get("/truth/arrivals").split()]

    def _get(self, path: str) -> bytes:
        with urllib.request.urlopen(f"{self.url}{path}", timeout=60) as answer:
            text: bytes = answer.read()
            return text
