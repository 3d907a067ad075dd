"""Synthetic runs whose true steady figures are known."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import replace

from pytest_dsr1.steady.trace import Trace, TracedRequest

Times = Callable[[int, float], tuple[float, float]]
"""Return for a request and its start the seconds to the first token, and from there to the last."""


def trace(requests: Sequence[TracedRequest], concurrency: int, *, open_loop: bool = False) -> Trace:
    return Trace(tuple(sorted(requests)), (), concurrency, gpus=8, open_loop=open_loop, startup_s=60.0)


def powered(run: Trace, watts: float = 5600.0, every_s: float = 0.25, to_s: float = 100.0) -> Trace:
    """Return the run with energy counters that are read regularly, at constant power of all its GPUs."""
    times_s = [i * every_s for i in range(int(to_s / every_s) + 1)]
    return replace(run, energy=tuple((time_s, watts * time_s) for time_s in times_s))


def closed_loop(
    count: int,
    concurrency: int,
    times: Times,
    *,
    tokens: Callable[[int], int] = lambda _: 101,
    streaming: bool = True,
    from_s: float = 0.0,
) -> Trace:
    """Return a run in which a request of 1,000 input tokens starts whenever another ends."""
    free = [from_s] * concurrency
    done: list[TracedRequest] = []
    for i in range(count):
        start_s = heapq.heappop(free)
        wait_s, decode_s = times(i, start_s)
        first_s, last_s = start_s + wait_s, start_s + wait_s + decode_s
        heapq.heappush(free, last_s)
        done.append((start_s, first_s if streaming else None, last_s, 1000, tokens(i), 50))
    return trace(done, concurrency)
