"""When a probe is hopeless."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.search.queues import OneQueue
from benchmarks.search.study import stopped_after
from pytest_dsr1.search.saturation import FALSE_ALARM, oversaturated


@pytest.mark.parametrize(("limit", "goal"), [(20.0, 0.99), (10.0, 0.9)])
def test_a_queue_that_just_keeps_the_goal_is_not_stopped(limit: float, goal: float) -> None:
    """At seven looks each, beginning with an empty queue."""
    queue = OneQueue(limit)
    alarms = sum(stopped_after(queue, queue.answer(goal), goal, seed) > 0 for seed in range(500))
    assert alarms <= 500 * FALSE_ALARM


@pytest.mark.parametrize(("rate", "requests"), [(1.2, 3_200), (1.5, 800), (3.0, 400)])
def test_a_queue_that_only_grows_is_stopped_soon(rate: float, requests: int) -> None:
    found = [stopped_after(OneQueue(20.0), rate, 0.99, seed) for seed in range(50)]
    assert sum(0 < count <= requests for count in found) >= 45


def line(count: int, pace: float) -> tuple[np.ndarray, np.ndarray]:
    """Requests every second, each served in `pace` seconds, one at a time."""
    start = np.arange(count, dtype=float)
    return start, 1 + np.maximum(start, pace * np.arange(1, count + 1))


def test_what_has_not_ended_does_not_count_as_late() -> None:
    start, end = line(200, 2.0)
    open_ends = np.where(end > start[-1], np.inf, end)
    strain = (end - start) / 10
    assert oversaturated(start, open_ends, strain, 0.99)
    assert not oversaturated(start, np.full(200, np.inf), strain, 0.99)


def test_a_growing_queue_within_the_limits_goes_on() -> None:
    start, end = line(200, 2.0)
    open_ends = np.where(end > start[-1], np.inf, end)
    assert not oversaturated(start, open_ends, (end - start) / 1_000, 0.99)


def test_a_long_queue_that_does_not_grow_goes_on() -> None:
    start, _ = line(200, 1.0)
    assert not oversaturated(start, start + 20, np.full(200, 5.0), 0.99)


def test_a_short_probe_goes_on() -> None:
    start, end = line(79, 2.0)
    assert not oversaturated(start, end, np.full(79, 9.0), 0.99)
    assert not oversaturated(start[:0], end[:0], start[:0], 0.99)


def test_a_looser_goal_needs_longer_latencies() -> None:
    """Four times the limit is rare where 1% may miss, and common where 40% may."""
    start, end = line(400, 2.0)
    open_ends = np.where(end > start[-1], np.inf, end)
    strain = np.full(400, 4.0)
    assert oversaturated(start, open_ends, strain, 0.99)
    assert not oversaturated(start, open_ends, strain, 0.6)
