"""Several processes that send one load together, on one clock."""

from __future__ import annotations

import contextlib
import math
import signal
import socket
import time
from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TypeVar

from pytest_dsr1.engines.openai.sending.messages import (
    Command,
    End,
    Failed,
    Prepare,
    Prepared,
    Progress,
    Report,
    Start,
)
from pytest_dsr1.engines.openai.sending.part import PartResult, Share, Task, WarmUp
from pytest_dsr1.errors import EngineError
from pytest_dsr1.process.child import Child, environment, signal_name
from pytest_dsr1.process.log.reader import LogReader
from pytest_dsr1.process.modules import module_command
from pytest_dsr1.records import RequestRecord
from pytest_dsr1.scenario.schema.scenario import Load

STREAMS = 640
REQUESTS_S = 2_500
TOKENS_S = 100_000
"""The most requests in flight of a closed loop, or requests and tokens per second of an open loop, that one
process is given, a good half of what one can do (docs/background/measurements.md)."""
_CPU_SHARE = 0.65
"""The share of the CPUs for these processes; the kernel's network, this process and a server need others."""
_SERVERS = 4
"""The most servers to which one process sends, unless there are more servers than that for each."""
_LOOK_S = 0.5
_WORKER = "pytest_dsr1.engines.openai.sending.worker"
_START_S = 0.1
"""The time from the command to its start in every process."""

T = TypeVar("T", WarmUp, Prepared, PartResult)


def processes_for(
    load: Load, times_s: Sequence[float] | None, mean_output: float, cpus: int, servers: int
) -> int:
    """Return the number of processes that send a load; one uses the event loop of this process.

    Each share has at least one request in flight: without, it would never send.

    Args:
        load: how the requests are sent.
        times_s: the schedule of an open loop.
        mean_output: output tokens of a request.
        cpus: the CPUs that this process may use.
        servers: the servers among which the load is divided evenly.
    """
    if times_s is None:
        needed = load.at_once / STREAMS
    else:
        rate_req_s = len(times_s) / max(times_s[-1], 1.0)
        needed = max(rate_req_s / REQUESTS_S, rate_req_s * mean_output / TOKENS_S)
    processes = max(1, min(math.ceil(needed), int(cpus * _CPU_SHARE)))
    return max(
        each
        for each in range(1, processes + 1)
        if each == 1
        or (
            math.lcm(each, servers) // each <= max(_SERVERS, math.ceil(servers / each))
            and math.lcm(each, servers) <= load.at_once
        )
    )


def shares(processes: int, servers: int) -> list[list[Share]]:
    """Return the shares of each process: equally many for each process, and for each server."""
    of = math.lcm(processes, servers)
    every = [Share(number % servers, number, of) for number in range(of)]
    return [every[number::processes] for number in range(processes)]


@dataclass
class _Member:
    """One process; ``records`` are those of its requests that have ended."""

    child: Child
    connection: Connection
    records: list[RequestRecord] = field(default_factory=list)
    tokens: int = 0


class Crew:
    """The processes, as a context manager; none is left when it ends.

    Args:
        task: the whole load.
        shares: of each process.
        folder: keeps what a process writes to its standard output or error.
        look: called twice per second while it waits; raises to end the load.
    """

    def __init__(
        self, task: Task, shares: Sequence[Sequence[Share]], folder: Path, look: Callable[[], None]
    ) -> None:
        self._task = task
        self._shares = shares
        self._folder = folder
        self._look = look
        self._members: list[_Member] = []
        self._stack = ExitStack()

    def __enter__(self) -> Crew:
        with self._stack:
            for number, mine in enumerate(self._shares, 1):
                self._members.append(self._start(number))
                self._tell(self._members[-1], (self._task, mine))
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def warm_up(self) -> WarmUp:
        """Open the connections, and send the warm-up.

        Raises:
            EngineError: a server cannot be reached, a process ended, or raised by ``look``.
        """
        return sum(self._all(WarmUp), WarmUp())

    def prepare(self) -> None:
        """Open connections that a server closed meanwhile, and make the first requests.

        Raises:
            EngineError: see :meth:`warm_up`.
        """
        self._tell_all(Prepare())
        self._all(Prepared)

    def measure(
        self, on_record: Callable[[RequestRecord], None], on_tick: Callable[[int, int], None]
    ) -> list[PartResult]:
        """Send all requests and wait until all have ended; return the result of each process.

        Args:
            on_record: called with the record of every request that ended.
            on_tick: called with (requests ended, output tokens so far); raises to end the measurement.

        Raises:
            EngineError: a process ended, or raised by ``on_tick``.
        """

        def take(member: _Member, progress: Progress) -> None:
            member.records += progress.records
            member.tokens = progress.tokens
            for record in progress.records:
                on_record(record)

        def tick() -> None:
            on_tick(sum(len(each.records) for each in self._members), sum(m.tokens for m in self._members))

        self._tell_all(Start(time.monotonic() + _START_S))
        results = self._all(PartResult, take, tick)
        for member, result in zip(self._members, results, strict=True):
            result.tally.records = member.records
        return results

    def end(self, *, drain: bool) -> None:
        """Send nothing more; with ``drain``, wait for the requests in flight."""
        for member in self._members:
            with contextlib.suppress(OSError):  # all its requests have ended, or its end is noticed below
                member.connection.send(End(drain))

    def _start(self, number: int) -> _Member:
        ours, theirs = socket.socketpair()
        with theirs:
            log = self._folder / f"client-{number}.log"
            self._stack.callback(_remove_if_empty, log)
            child = self._stack.enter_context(
                Child(
                    module_command(_WORKER, str(theirs.fileno())),
                    env=environment(),
                    cwd=_current_folder() or self._folder.absolute(),
                    log=log,
                    inherited=[theirs.fileno()],
                )
            )
        return _Member(child, self._stack.enter_context(Connection(ours.detach())))

    def _tell_all(self, command: Command) -> None:
        for member in self._members:
            self._tell(member, command)

    def _tell(self, member: _Member, message: object) -> None:
        try:
            member.connection.send(message)
        except OSError:
            raise self._ended(member) from None

    def _all(
        self,
        kind: type[T],
        take: Callable[[_Member, Progress], None] = lambda *_: None,
        tick: Callable[[], None] | None = None,
    ) -> list[T]:
        """Return one report of this kind from every process; ``take`` progress until then."""
        found: dict[int, T] = {}
        looked_s = time.monotonic()
        hopeless = False
        while len(found) < len(self._members):
            for number, report in self._reports(found):
                if isinstance(report, Progress):
                    take(self._members[number], report)
                elif isinstance(report, Failed):
                    raise report.error
                else:
                    assert isinstance(report, kind)
                    found[number] = report
                    if isinstance(report, PartResult) and report.tally.hopeless and not hopeless:
                        hopeless = True
                        self.end(drain=False)
            if time.monotonic() - looked_s >= _LOOK_S:
                looked_s = time.monotonic()
                (tick or self._look)()
        return [found[number] for number in range(len(self._members))]

    def _reports(self, but: Container[int]) -> Iterator[tuple[int, Report]]:
        """Yield the reports that have come, except of these processes; wait up to half a second for one."""
        awaited = {m.connection: (n, m) for n, m in enumerate(self._members) if n not in but}
        for connection in wait(list(awaited), timeout=_LOOK_S):
            number, member = awaited[connection]  # type: ignore[index]  # these are connections
            try:
                yield number, member.connection.recv()
            except (EOFError, OSError):
                raise self._ended(member) from None

    def _ended(self, member: _Member) -> EngineError:
        """Return the error that a process ended too early."""
        member.child.stop(0)
        number, code = self._members.index(member) + 1, member.child.returncode or 0
        how = f"with {signal_name(-code)}" if code < 0 else f"with exit status {code}"
        if code == -signal.SIGKILL:
            how += "; if the kernel killed it for its memory (dmesg), lower load.concurrency"
        lines = member.child.read(0)  # without any, its log is removed
        said = LogReader(line.text for line in lines).quoted(member.child.log) if lines else ""
        return EngineError(
            f"process {number} of {len(self._members)} of the load generator ended {how}{said}"
        )


def _remove_if_empty(log: Path) -> None:
    """Remove the log of a process that had nothing to say, if there is one."""
    with contextlib.suppress(FileNotFoundError):
        if not log.stat().st_size:
            log.unlink()


def _current_folder() -> Path | None:
    """Return the folder that relative paths in the settings begin in; None if it was removed."""
    try:
        return Path.cwd()
    except FileNotFoundError:
        return None
