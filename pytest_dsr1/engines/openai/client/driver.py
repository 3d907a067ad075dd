"""The load driver, which sends requests in a closed loop or on a schedule, and keeps their records.

Reading has priority, because times are taken when data is read. A wave of thousands of requests in a closed
loop is sent over some tenths of a second, in a share of the time. If it were sent as fast as possible, it
would return as a wave of first tokens, faster than the client can read. Other work is done in slices of a few
milliseconds: reading usage, making records, and making the bytes of the next requests.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from pytest_dsr1.engines.openai.client.clumps import Clumps
from pytest_dsr1.engines.openai.client.event_gaps import Gaps, TokensOverTime
from pytest_dsr1.engines.openai.client.exchange import Answer, Exchange
from pytest_dsr1.engines.openai.client.plan import Plan
from pytest_dsr1.engines.openai.client.pool import ConnectionPool
from pytest_dsr1.engines.openai.client.timer import Alarm
from pytest_dsr1.records import RequestRecord

_SENDING_S = 0.0005
SENDING_SHARE = 1 / 3
"""The share of the time in which a loop that is alone on its CPU sends a wave: about 20,000 requests/s."""
_SHORT_SLICE_S = 0.0005
_SLICE_S = 0.002
"""How long work that can wait is done at a time: short while it keeps up, long if too much of it waits."""
_PAUSE_S = 0.005
_BACKLOG = 1024
"""Ended requests of an open loop whose records may wait; a closed loop may leave those of a wave."""
_TICK_S = 0.5
_AHEAD_BYTES = 1 << 27
"""The most bytes of requests made ahead."""
_HOPELESS = 10


@dataclass
class Tally:
    """The results of one pass; series, gaps and clumps do not include failed requests.

    Attributes:
        waited: requests of an open loop that were due while ``concurrency`` requests were in flight.
        unsent: the part of ``waited`` that was not sent before the end of the duration.
        stopped: whether :meth:`LoadDriver.stop` ended the pass before all requests had ended.
        finished_early: whether :meth:`LoadDriver.finish` ended it before all requests were sent.
        hopeless: the last error, if the pass was given up because its first requests all failed.
    """

    began_s: float = 0.0
    records: list[RequestRecord] = field(default_factory=list)
    tokens: int = 0
    failed: int = 0
    waited: int = 0
    unsent: int = 0
    stopped: bool = False
    finished_early: bool = False
    gaps: Gaps = field(default_factory=Gaps)
    clumps: Clumps = field(default_factory=Clumps)
    series: TokensOverTime = field(default_factory=TokensOverTime)
    hopeless: str | None = None

    def add(self, other: Tally) -> None:
        """Add a pass over other requests that began at the same time."""
        self.began_s = other.began_s
        self.records += other.records
        self.tokens += other.tokens
        self.failed += other.failed
        self.waited += other.waited
        self.unsent += other.unsent
        self.stopped |= other.stopped
        self.finished_early |= other.finished_early
        self.gaps.merge(other.gaps)
        self.clumps.merge(other.clumps)
        self.series.merge(other.series)
        self.hopeless = self.hopeless or other.hopeless


class LoadDriver:
    """One pass over the requests.

    Args:
        plan: the plan of the pass.
        source: the exchanges, in order; each is made when it is needed.
        on_record: called with the record of every request that ended.
        on_tick: called twice per second with (requests ended, output tokens so far); raises to end the pass.
        drivers: the number of drivers that share the loop.
        sending_share: the share of the time in which all of them send a wave.
    """

    def __init__(
        self,
        plan: Plan,
        source: Iterator[Exchange],
        on_record: Callable[[RequestRecord], None],
        on_tick: Callable[[int, int], None],
        drivers: int = 1,
        sending_share: float = SENDING_SHARE,
    ) -> None:
        self.tally = Tally()
        self._drivers = drivers
        self._sending_share = sending_share / drivers
        self._plan = plan
        self._source = source
        self._on_record = on_record
        self._on_tick = on_tick
        self._loop = asyncio.get_running_loop()
        self._ready: deque[Exchange] = deque()
        self._ready_bytes = 0
        self._made = 0
        self._ended: deque[Exchange] = deque()
        self._sent = 0
        self._planned_sends = 0
        self._sent_until_s = 0.0
        self._in_flight = 0
        self._waiting: deque[Exchange] = deque()
        self._stopped = False
        self._finished: asyncio.Future[None] = self._loop.create_future()
        self._client: ConnectionPool | None = None
        self._alarm: Alarm | None = None
        self._due_s = float("inf")

    def ended(self, exchange: Exchange) -> None:
        """Take an exchange that has ended: send the next one soon, and make its record later."""
        self._in_flight -= 1
        self._ended.append(exchange)
        if self._plan.schedule is None:
            if self._plan.concurrency < self._plan.requests:  # else each request has a start of its own
                self._plan_sends(1)
        elif self._waiting and self._in_time():
            self._send(self._waiting.popleft())
        else:
            self.tally.unsent += len(self._waiting)
            self._waiting.clear()

    def stop(self) -> None:
        """Send nothing more and wait for nothing more; keep the requests that have ended."""
        self.tally.stopped = bool(self._in_flight or self._waiting) or self._may_send()
        self._stopped = True
        self._waiting.clear()

    def finish(self) -> None:
        """Send nothing more, and wait for the requests in flight."""
        self.tally.finished_early = bool(self._waiting) or self._may_send()
        self._stopped = True
        self._waiting.clear()

    def prepare(self) -> None:
        """Make the bytes of the first requests, which takes some time."""
        self._make_ahead(float("inf"))

    async def run(self, client: ConnectionPool, began_s: float | None = None) -> Tally:
        """Send all requests and wait until all have ended.

        Args:
            client: sends them.
            began_s: the start of the pass on the monotonic clock, just past; None for now.

        Raises:
            EngineError: raised by ``on_tick``.
        """
        self._client = client
        tally = self.tally
        tally.began_s = time.monotonic() if began_s is None else began_s
        tally.series.begin(tally.began_s)
        if self._plan.schedule is None:
            self._start_closed()
        else:
            self._alarm = Alarm(self._loop, self._send_due)
            self._send_due()
        try:
            self._work_a_slice()
            self._tick()
            await self._finished
        finally:
            if self._alarm is not None:
                self._alarm.close()
        return tally

    # Sending

    def _start_closed(self) -> None:
        if not self._plan.ramp_s:
            self._plan_sends(self._plan.starts)
            return
        for start_s in self._plan.ramp_times_s:
            self._loop.call_later(start_s, self._plan_sends, 1)

    def _plan_sends(self, requests: int) -> None:
        if not self._planned_sends:
            self._sent_until_s = time.monotonic()
            self._loop.call_soon(self._send_planned)
        self._planned_sends += requests

    def _send_planned(self) -> None:
        """Send for a moment, and continue after the data that arrived meanwhile was read."""
        now = time.monotonic()
        until_s = now + max(_SENDING_S, self._sending_share * (now - self._sent_until_s))
        while self._planned_sends and time.monotonic() < until_s:
            self._planned_sends -= 1
            if self._may_send():
                self._send(self._take())
        if self._planned_sends:
            self._sent_until_s = time.monotonic()
            self._loop.call_later(_SENDING_S * (1 / self._sending_share - 1), self._send_planned)

    def _may_send(self) -> bool:
        return not self._stopped and self._sent < self._plan.requests and self._in_time()

    def _in_time(self) -> bool:
        duration_s = self._plan.duration_s
        return duration_s is None or time.monotonic() < self.tally.began_s + duration_s

    def _send(self, exchange: Exchange) -> None:
        assert self._client is not None
        self._in_flight += 1
        self._client.send(exchange)

    def _take(self) -> Exchange:
        self._sent += 1
        if not self._ready:
            return self._make()
        exchange = self._ready.popleft()
        self._ready_bytes -= len(exchange.payload)
        return exchange

    def _send_due(self) -> None:
        """Send all requests that are due, and set the alarm for the next one."""
        assert self._plan.schedule is not None
        assert self._alarm is not None
        schedule, began_s = self._plan.schedule, self.tally.began_s
        self._due_s = float("inf")
        while self._sent < len(schedule) and self._may_send():
            due_s = began_s + schedule[self._sent]
            if due_s > time.monotonic():
                self._due_s = due_s
                self._alarm.set(due_s)
                return
            exchange = self._take()
            exchange.scheduled_s = due_s
            if self._in_flight < self._plan.concurrency:
                self._send(exchange)
            else:
                self.tally.waited += 1
                self._waiting.append(exchange)

    # Work that can wait

    def _work_a_slice(self) -> None:
        """Make records and requests for a moment, and end the pass when nothing is left."""
        if self._finished.done():
            return
        try:
            until_s = time.monotonic() + (_SLICE_S if self._is_behind() else _SHORT_SLICE_S) / self._drivers
            while self._time_is_left(until_s) and self._ended:
                self._take_record(self._ended.popleft())
            self._make_ahead(until_s)
            if not (self._ended or self._more_will_end()):
                self._finished.set_result(None)
                return
        except BaseException as error:  # noqa: BLE001  # run() raises it
            self._finished.set_exception(error)
            return
        self._loop.call_later(_PAUSE_S, self._work_a_slice)

    def _is_behind(self) -> bool:
        backlog = self._plan.concurrency if self._plan.schedule is None else _BACKLOG
        return len(self._ended) > backlog or not (self._ready or self._made == self._plan.requests)

    def _time_is_left(self, until_s: float) -> bool:
        """Return whether to continue with work that can wait; first send requests that became due."""
        now = time.monotonic()
        if now >= self._due_s:
            self._send_due()
        return now < until_s

    def _more_will_end(self) -> bool:
        """Return whether another request will end."""
        if self.tally.stopped:
            return False
        return bool(self._in_flight or self._planned_sends or self._waiting) or self._more_comes()

    def _more_comes(self) -> bool:
        closed_start = self._plan.schedule is None and self._plan.ramp_s > 0
        return self._may_send() and (self._plan.schedule is not None or closed_start or not self._sent)

    def _make(self) -> Exchange:
        self._made += 1
        return next(self._source)

    def _make_ahead(self, until_s: float) -> None:
        ahead = max(self._plan.concurrency, 1024)
        # _time_is_left() may send requests, so each turn must check everything again.
        while self._time_is_left(until_s):
            if self._made == self._plan.requests or len(self._ready) >= ahead:
                return
            if self._ready_bytes >= _AHEAD_BYTES:
                return
            exchange = self._make()
            self._ready_bytes += len(exchange.payload)
            self._ready.append(exchange)

    def _take_record(self, exchange: Exchange) -> None:
        answer, tally = exchange.answer(), self.tally
        record = record_of(exchange, answer)
        tally.records.append(record)
        if answer.error is None:
            tally.tokens += answer.output_tokens
            tally.gaps.add(exchange.event_times_s)
            tally.clumps.add(exchange.sent_s, exchange.event_times_s, answer.output_tokens)
            tally.series.add(exchange.event_times_s, answer.output_tokens)
        else:
            tally.failed += 1
            if tally.failed == len(tally.records) == max(_HOPELESS, min(self._plan.concurrency, 100)):
                tally.hopeless, self._stopped = answer.error, True
                self._waiting.clear()
        self._on_record(record)

    def _tick(self) -> None:
        if self._finished.done():
            return
        try:
            assert self._client is not None
            self._on_tick(len(self.tally.records), self.tally.tokens + self._client.events())
        except BaseException as error:  # noqa: BLE001  # run() raises it
            self._finished.set_exception(error)
            return
        self._loop.call_later(_TICK_S, self._tick)


def record_of(exchange: Exchange, answer: Answer) -> RequestRecord:
    """Return the record of an exchange that has ended."""
    times_s = exchange.event_times_s
    failed = answer.error is not None
    return RequestRecord(
        id=exchange.id,
        submitted_s=exchange.sent_s,
        first_token_s=times_s[0] if times_s else None,
        last_token_s=exchange.ended_s if failed or not times_s else times_s[-1],
        input_tokens=answer.input_tokens,
        output_tokens=answer.output_tokens,
        error=answer.error,
        scheduled_s=exchange.scheduled_s,
        events=len(times_s) or None,
        resent=exchange.resent,
        server=exchange.server,
    )
