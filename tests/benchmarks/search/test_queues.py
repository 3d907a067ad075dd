"""The queues that stand in for servers have the answer that they claim."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.search.queues import ClosedQueue, OneQueue, Server


def misses(server: Server, load: float) -> float:
    """The share of late requests in a long run."""
    run = server.run(load, np.random.default_rng(7))
    run.more(10_000)
    return float((run.more(1_000_000)[1] > server.limit).mean())


def test_the_share_of_late_requests_at_a_rate_is_the_formula() -> None:
    queue = OneQueue(10.0, scale=50.0)
    assert queue.answer(0.95) == pytest.approx(35.0, abs=0.03)
    assert misses(queue, queue.answer(0.95)) == pytest.approx(0.05, rel=0.05)


def test_the_highest_concurrency_keeps_the_goal_and_the_next_does_not() -> None:
    queue = ClosedQueue(27.0)
    answer = queue.answer(0.95)
    assert answer == 19
    assert misses(queue, answer) < 0.05 < misses(queue, answer + 1)


def test_a_limit_that_nothing_keeps() -> None:
    assert ClosedQueue(0.01).answer(0.99) == 0


@pytest.mark.parametrize(("queue", "load"), [(OneQueue(10.0), 0.8), (ClosedQueue(27.0), 19.0)])
def test_a_run_in_pieces_goes_on_where_it_was(queue: Server, load: float) -> None:
    """Requests start in order, and wait for those of the piece before."""
    run = queue.run(load, np.random.default_rng(1))
    pieces = [run.more(count) for count in (50, 1, 50)]
    starts, latencies = (np.concatenate(each) for each in zip(*pieces, strict=True))
    assert (np.diff(starts) >= 0).all()
    assert (np.diff(starts + latencies) > 0).all()
