"""The sampler, which reads a server's metrics once per second in its own thread.

It writes ``server_metrics.jsonl`` during the run: one
:class:`~pytest_dsr1.engines.openai.server.metrics.ServerSample` per line. A server without metrics is normal.
No answer of the server affects the measurement.
"""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from pytest_dsr1.engines.facts import RoleServer
from pytest_dsr1.engines.openai.client.failures import hidden
from pytest_dsr1.engines.openai.endpoint import Site
from pytest_dsr1.engines.openai.server.metrics import IterationStats, ServerSample, Window, read_text
from pytest_dsr1.engines.openai.server.prometheus import is_exposition
from pytest_dsr1.metrics.inputs import ServerStatistics

FILE = "server_metrics.jsonl"
_PATHS = {"trtllm-serve": ("/prometheus/metrics", "/metrics")}
"""Newer versions of trtllm-serve have both; the first costs them less, and reading it has no side effects."""
_INTERVAL_S = 1.0
_TIMEOUT_S = 5.0
"""The longest wait for an answer; trtllm-serve takes 2 s to list its iterations."""
_PATIENCE_S = 0.8
"""The longest time that a measurement waits for the sample before it, and for the sample after it."""
_SETTLE_S = 0.4
"""The longest time that a counter of tokens may grow after the last request."""
_AGAIN_S = 0.05
_CLOSE_S = 0.1
_LARGEST = 1 << 24
_LATE = "no answer in time"
_TOLERANCE = 0.01
_CACHED = 0.05
_NO_CACHE = (
    "turn the cache off (vLLM: --no-enable-prefix-caching, SGLang: --disable-radix-cache, trtllm-serve: "
    "kv_cache_config.enable_block_reuse: false), or send requests that no warm-up or earlier run has sent"
)


@dataclass(frozen=True, slots=True)
class ServerSummary:
    """The part of an engine's result that comes from the server's metrics."""

    report: Mapping[str, float]
    server_metrics: ServerStatistics
    not_measured: Mapping[str, str]
    warnings: tuple[str, ...]


class ServerMetrics:
    """A sampler of a server's metrics during a ``with`` block, which is the measurement."""

    def __init__(self, where: Site, server: str, path: Path) -> None:
        self.where = where
        self._paths = list(_PATHS.get(server, ("/metrics",)))
        self._path = path
        self._samples: list[ServerSample] = []
        self._missed = 0
        self._why: dict[str, str] = {}
        self._iterations = IterationStats()
        self._connection: http.client.HTTPConnection | None = None
        self._file: IO[str] | None = None
        self._first = threading.Event()
        self._stop = threading.Event()
        self._given_up = threading.Event()
        self._from_s = self._to_s = 0.0
        self._thread = threading.Thread(target=self._run, name="dsr1-server-metrics", daemon=True)

    def __enter__(self) -> ServerMetrics:
        self.start()
        self.begin(time.monotonic() + _PATIENCE_S)
        return self

    def start(self) -> None:
        """Take the sample before the measurement."""
        self._thread.start()

    def begin(self, until_s: float) -> None:
        """Begin the measurement after that sample, or at this time at the latest."""
        self._first.wait(max(0.0, until_s - time.monotonic()))
        self._from_s = time.monotonic()

    def stop(self) -> None:
        """End the measurement; the last sample follows."""
        self._to_s = time.monotonic()
        self._stop.set()

    def __exit__(self, *_: object) -> None:
        self.stop()
        self.end(time.monotonic() + _PATIENCE_S)

    def end(self, until_s: float) -> None:
        """Wait for the last sample until this time at the longest."""
        self._thread.join(max(0.0, until_s - time.monotonic()))
        if self._thread.is_alive():
            self._given_up.set()
            sock = self._connection.sock if self._connection else None
            with suppress(OSError):  # wakes the thread if it waits for an answer
                if sock is not None:
                    sock.shutdown(socket.SHUT_RDWR)
            self._thread.join(_CLOSE_S)

    @property
    def why_none(self) -> str | None:
        """Why there are no samples; None if there are some."""
        if self._samples:
            return None
        return "; ".join(f"GET {path}: {reason}" for path, reason in self._why.items()) or _LATE

    @property
    def path(self) -> str:
        """Where the server has its metrics."""
        return self._paths[0]

    @property
    def file(self) -> str:
        """The name of the file with the samples."""
        return self._path.name

    @property
    def samples(self) -> int:
        """The number of samples."""
        return len(self._samples)

    @property
    def missed(self) -> int:
        """The number of times that the server gave no sample."""
        return self._missed

    def window(self) -> Window:
        """Return the samples of the measurement; there must be some."""
        return Window.of(list(self._samples), self._from_s, self._to_s)

    # In the thread

    def _run(self) -> None:
        try:
            self._settle()
            self._first.set()
            due_s = time.monotonic() + _INTERVAL_S
            while self._paths and not self._stop.wait(max(0.0, due_s - time.monotonic())):
                self._read()
                # A late sample delays the next ones; there must be no burst of requests.
                due_s = max(due_s + _INTERVAL_S, time.monotonic())
            self._settle()
        finally:
            self._first.set()
            for open_one in (self._connection, self._file):
                if open_one is not None:
                    with suppress(OSError):
                        open_one.close()

    def _settle(self) -> None:
        """Read until the token counter stops growing, because servers may count a moment later."""
        until_s = time.monotonic() + _SETTLE_S
        before = self._read()
        while before is not None and before.generated_tokens is not None and time.monotonic() < until_s:
            self._given_up.wait(_AGAIN_S)
            now = self._read()
            if now is None or now.generated_tokens == before.generated_tokens:
                return
            before = now

    def _read(self) -> ServerSample | None:
        """Read and keep one sample; return None if the server gave none."""
        for path in tuple(self._paths):
            sample, why = None, "none of the known metrics"
            if self._given_up.is_set():
                return None
            try:
                sample = self._ask(path)
            except (OSError, http.client.HTTPException) as error:
                self._drop()
                self._missed += 1
                why = hidden(str(error) or type(error).__name__, self.where.secret or "")
            except (ValueError, RecursionError) as error:
                self._missed += 1
                why = str(error)
                if not self._samples:
                    self._paths.remove(path)
            if self._given_up.is_set():
                self._why[path] = _LATE
                return None
            self._why[path] = why
            if sample is not None:
                self._paths = [path]
                self._keep(sample)
                return sample
        return None

    def _ask(self, path: str) -> ServerSample | None:
        """Return the sample at this path; None if it has none of the known metrics.

        Raises:
            OSError, http.client.HTTPException: the server does not answer.
            ValueError: the answer is not a page of metrics.
        """
        if self._connection is None:
            self._connection = self.where.connection(_TIMEOUT_S)
        if self._connection.sock is None:
            self._connection.connect()
            if self._given_up.is_set():  # too late for __exit__ to have seen the socket
                raise TimeoutError(_LATE)
        status, body = self.where.ask(self._connection, path, _LARGEST)
        time_s = time.monotonic()
        if status != http.HTTPStatus.OK:
            raise ValueError(f"HTTP {status}")
        if body.lstrip()[:1] == b"[":
            return self._iterations.read(body, time_s)
        if not is_exposition(body):
            start = hidden(body[:40].decode("latin-1"), self.where.secret or "")
            raise ValueError(f"not a page of metrics: {start!r}")
        return read_text(body, time_s)

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _keep(self, sample: ServerSample) -> None:
        self._samples.append(sample)
        with suppress(OSError):  # writing the result reports a full disk
            if self._file is None:
                self._file = self._path.open("w", encoding="utf-8", buffering=1)
            self._file.write(json.dumps(asdict(sample)) + "\n")


class SeveralMetrics:
    """The samplers of one or several servers during a ``with`` block, which is the measurement.

    Args:
        each: the samplers.
    """

    def __init__(self, each: Sequence[ServerMetrics]) -> None:
        self._each = each

    @classmethod
    def of(cls, sites: Sequence[Site], server: str, folder: Path) -> SeveralMetrics:
        """Return samplers of servers of a kind, each with a file in the folder.

        The files are ``server_metrics.jsonl``, then ``server_metrics-2.jsonl``.
        """
        names = (FILE, *(f"server_metrics-{number}.jsonl" for number in range(2, len(sites) + 1)))
        named = zip(sites, names, strict=True)
        return cls([ServerMetrics(where, server, folder / name) for where, name in named])

    def __enter__(self) -> SeveralMetrics:
        for each in self._each:
            each.start()
        until_s = time.monotonic() + _PATIENCE_S
        for each in self._each:
            each.begin(until_s)
        return self

    def __exit__(self, *_: object) -> None:
        for each in self._each:
            each.stop()
        until_s = time.monotonic() + _PATIENCE_S
        for each in self._each:
            each.end(until_s)

    def roles(self) -> tuple[RoleServer, ...]:
        """Return the servers of each role; none, because each does all of a request."""
        return ()

    def summary(self, tokens: int | None) -> ServerSummary:
        """Return the metrics of all servers together during the measurement.

        Args:
            tokens: output tokens of all answers; None if some of them never reached us.
        """
        several = len(self._each) > 1
        missing = [(each.where, why) for each in self._each if (why := each.why_none) is not None]
        if missing:
            where, reason = missing[0]
            why = f"{where}: {reason}" if several else reason
            return ServerSummary(
                report={},
                server_metrics=ServerStatistics(why_none=why),
                not_measured={
                    "acceptance_length": f"the server reports no metrics ({why}); switch them on "
                    "(`pytest-dsr1 docs openai`), or remove the target"
                },
                warnings=(),
            )
        path, window = self._each[0].path, Window.together([each.window() for each in self._each])
        length, not_measured = window.acceptance_length(), {}
        if length is None:
            not_measured["acceptance_length"] = (
                f"the server's metrics ({path}) report no drafts, so it seems not to use speculative "
                "decoding (MTP); switch it on, or remove the target"
            )
        return ServerSummary(
            report={} if length is None else {"acceptance_length": length},
            server_metrics=ServerStatistics(
                path=path,
                file=self._each[0].file,
                samples=sum(each.samples for each in self._each),
                missed_samples=sum(each.missed for each in self._each),
                complete=window.whole,
                **window.figures(),
            ),
            not_measured=not_measured,
            warnings=tuple(_warnings(window, tokens, len(self._each))),
        )


def _warnings(window: Window, tokens: int | None, servers: int) -> list[str]:
    found = []
    who = "the server" if servers == 1 else f"the {servers} servers"
    whose = "its" if servers == 1 else "their"
    twice = "" if servers == 1 else "engine.url names a server twice, "
    counted = window.grown("generated_tokens")
    if window.whole and tokens and counted is not None and abs(counted - tokens) > _TOLERANCE * tokens:
        found.append(
            f"{who} counted {counted:,.0f} generated tokens during the measurement, but {whose} answers "
            f"contain {tokens:,} ({counted / tokens - 1:+.1%}): either {twice}{who} also had other "
            "clients, which invalidates this measurement, or one of the server's counts is wrong; stop other "
            "use of the server and measure again"
        )
    share = window.prefix_cache_hit_share()
    if share is not None and share > _CACHED:
        found.append(
            f"{share:.0%} of the prompts came from the server's prefix cache and were not computed, so "
            "TTFT and throughput are better than for new prompts; if you do not want that, "
            f"{_NO_CACHE}"
        )
    return found
