"""The part of the load that one event loop sends, to one server or to several."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pytest_dsr1.engines.openai.client.driver import SENDING_SHARE, LoadDriver, Tally
from pytest_dsr1.engines.openai.client.exchange import Exchange
from pytest_dsr1.engines.openai.client.plan import Plan
from pytest_dsr1.engines.openai.client.pool import Address, ConnectionPool
from pytest_dsr1.engines.openai.client.self_check import ClientLoad, LoopWatch
from pytest_dsr1.engines.openai.endpoint import Site, site
from pytest_dsr1.engines.openai.requests import Requests
from pytest_dsr1.engines.openai.settings import OpenAi
from pytest_dsr1.errors import EngineError
from pytest_dsr1.records import RequestRecord
from pytest_dsr1.workload.workload import Workload

T = TypeVar("T")
SETTLE_S = 0.02
"""The time in which answers without a request would arrive."""
_ROUNDS = 3
"""How often connections that the server closes are opened again before the load."""
_OPENED_FIRST = 512
"""Connections that an open loop opens at its start; more are opened when they are needed."""


@dataclass(frozen=True, slots=True)
class Task:
    """The whole load.

    Attributes:
        engine: the scenario's engine settings.
        urls: the address of each server.
        model: the model's name in requests.
        workload: the requests.
        warmup_requests: requests to send before the measurement.
        plan: the measured pass.
    """

    engine: OpenAi
    urls: tuple[str, ...]
    model: str
    workload: Workload
    warmup_requests: int
    plan: Plan


@dataclass(frozen=True, slots=True)
class Share:
    """What one driver sends to one server: the part ``first`` of ``of`` parts of the load.

    Attributes:
        server: the server's position in :attr:`Task.urls`.
    """

    server: int
    first: int
    of: int

    def chosen(self, plan: Plan) -> Callable[[int], bool]:
        """Return whether a request of the whole plan is sent by this share, as a function of its number."""
        return lambda number: plan.in_part(number, self.first, self.of)


def connections(plan: Plan, shares: Sequence[Share]) -> int:
    """Return the most connections that these shares of a plan need."""
    parts = [plan.part(share.first, share.of) for share in shares]
    return sum(min(part.concurrency, part.requests) for part in parts)


@dataclass(frozen=True, slots=True)
class WarmUp:
    """The requests of a warm-up, how many of them failed, and the first error."""

    sent: int = 0
    failed: int = 0
    error: str = ""

    def __add__(self, other: WarmUp) -> WarmUp:
        return WarmUp(self.sent + other.sent, self.failed + other.failed, self.error or other.error)


@dataclass
class PartResult:
    """The measurement of one part.

    Attributes:
        tally: the requests of all its shares.
        load: the load of its event loop.
        opened: connections that were open at the start.
        opened_later: connections that it opened during the measurement.
        unexpected: answers that no request asked for.
        prompt_starts: :func:`~pytest_dsr1.engines.openai.requests.prompt_start` of its requests.
    """

    tally: Tally
    load: ClientLoad
    opened: int
    opened_later: int
    unexpected: int
    prompt_starts: set[int] = field(default_factory=set)


class Part:
    """The shares of one event loop, each with its own connections.

    Args:
        task: the whole load.
        shares: the shares of this part, at least one.
        on_record: called with the record of every measured request that ended.
        on_tick: called twice per second of the measurement with (requests ended, output tokens so far);
            raises to end it.
        look: called twice per second of the warm-up; raises to end it.
        sending_share: the share of the time in which it sends a wave.
    """

    def __init__(
        self,
        task: Task,
        shares: Sequence[Share],
        on_record: Callable[[RequestRecord], None],
        on_tick: Callable[[int, int], None],
        look: Callable[[], None] = lambda: None,
        sending_share: float = SENDING_SHARE,
    ) -> None:
        self.on_record = on_record
        self.on_tick = on_tick
        self.look = look
        sites = [site(task.engine, url) for url in task.urls]
        self.drivers = len(shares)
        self.sending_share = sending_share
        self._lanes = [_Lane(task, share, sites[share.server], self) for share in shares]

    async def warm_up(self) -> WarmUp:
        """Open the connections, and send the warm-up.

        Raises:
            EngineError: a server cannot be reached, or raised by ``look``.
        """
        return sum(await _together(*(lane.warm_up() for lane in self._lanes)), WarmUp())

    async def prepare(self) -> None:
        """Open connections that a server closed meanwhile, and make the first requests.

        Raises:
            EngineError: a server cannot be reached, or closes connections before they are used.
        """
        for lane in self._lanes:
            lane.prepare()
        for _ in range(_ROUNDS):
            await _together(*(lane.open() for lane in self._lanes))
            await asyncio.sleep(SETTLE_S)
            if not any(lane.closed for lane in self._lanes):
                return
        for lane in self._lanes:
            lane.refuse_closed()

    async def measure(self, at_s: float | None = None) -> PartResult:
        """Send all requests and wait until all have ended.

        Args:
            at_s: when it begins, on the monotonic clock; None for now.

        Raises:
            EngineError: raised by ``on_tick``.
        """
        opened = sum(lane.pool.opened for lane in self._lanes)
        if at_s is not None:
            await asyncio.sleep(at_s - time.monotonic())
        began_s = time.monotonic() if at_s is None else at_s
        watch = LoopWatch()
        tallies = await _together(*(lane.measure(began_s) for lane in self._lanes))
        load = watch.stop()
        for lane in self._lanes:
            if lane.driver.tally.stopped:
                await lane.pool.close()  # the server then knows that these answers are not needed
        await asyncio.sleep(SETTLE_S)
        tally = tallies[0]
        for other in tallies[1:]:
            tally.add(other)
        tally.clumps.note_lags(load)
        return PartResult(
            tally,
            load,
            opened,
            sum(lane.pool.opened for lane in self._lanes) - opened,
            sum(lane.pool.unexpected_answers for lane in self._lanes),
            set().union(*(lane.requests.prompt_starts for lane in self._lanes)),
        )

    def end(self, *, drain: bool) -> None:
        """Send nothing more; with ``drain``, wait for the requests in flight."""
        for lane in self._lanes:
            lane.end(drain=drain)

    async def close(self) -> None:
        """Close all connections."""
        for lane in self._lanes:
            await lane.pool.close()

    def tick(self) -> None:
        """Report the progress of all shares."""
        self.on_tick(sum(lane.ended for lane in self._lanes), sum(lane.tokens for lane in self._lanes))


async def _together(*work: Coroutine[Any, Any, T]) -> list[T]:
    """Do all this work; if some of it fails, end the rest, so that it opens no connection afterwards."""
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


class _Lane:
    """One share: its requests, its connections and its driver."""

    def __init__(self, task: Task, share: Share, where: Site, part: Part) -> None:
        server = share.server if len(task.urls) > 1 else None
        self.requests = Requests(task.engine, task.model, where.authority, where.prefix, where.secret, server)
        self.pool = ConnectionPool(
            Address(where.host, where.port, where.tls),
            silence_s=task.engine.silence_timeout_s,
            ended=self._ended,
        )
        self.driver: LoadDriver
        self.ended = self.tokens = 0
        self._task = task
        self._share = share
        self._part = part
        self._plan = task.plan.part(share.first, share.of)

    def _ended(self, exchange: Exchange) -> None:
        self.driver.ended(exchange)  # the warm-up's or the measurement's

    @property
    def _connections(self) -> int:
        at_once = min(self._plan.concurrency, self._plan.requests)
        return at_once if self._plan.schedule is None else min(at_once, _OPENED_FIRST)

    async def open(self) -> None:
        await self.pool.open(self._connections)

    @property
    def closed(self) -> int:
        return self._connections - self.pool.free

    def refuse_closed(self) -> None:
        if self.closed:
            raise EngineError(
                f"{self.requests.host}: the server closed {self.closed:,} of {self._connections:,} "
                "connections before the load began, so it limits their number or their idle time; raise "
                "these limits (uvicorn: --timeout-keep-alive; nginx: worker_connections, keepalive_timeout), "
                "or lower load.concurrency"
            )

    async def warm_up(self) -> WarmUp:
        await self.open()
        task, share = self._task, self._share
        whole = Plan(task.warmup_requests, task.plan.concurrency)
        plan = whole.part(share.first, share.of)
        if not plan.requests:
            return WarmUp()
        source = self.requests.exchanges(task.workload, whole.requests, share.chosen(whole), warm_up=True)
        self.driver = LoadDriver(plan, source, lambda _: None, lambda *_: self._part.look())
        tally = await self.driver.run(self.pool)
        at = f" (at {self.requests.host})" if len(task.urls) > 1 else ""
        errors = [f"{record.error}{at}" for record in tally.records if record.error is not None]
        return WarmUp(len(tally.records), len(errors), errors[0] if errors else "")

    def prepare(self) -> None:
        task, share = self._task, self._share
        source = self.requests.exchanges(task.workload, task.plan.requests, share.chosen(task.plan))
        part = self._part
        self.driver = LoadDriver(
            self._plan, source, part.on_record, self._tick, part.drivers, part.sending_share
        )
        self.driver.prepare()

    async def measure(self, began_s: float) -> Tally:
        tally = await self.driver.run(self.pool, began_s)
        if tally.hopeless is not None:
            self._part.end(drain=False)
        return tally

    def end(self, *, drain: bool) -> None:
        if drain:
            self.driver.finish()
        else:
            self.driver.stop()

    def _tick(self, ended: int, tokens: int) -> None:
        self.ended, self.tokens = ended, tokens
        self._part.tick()
