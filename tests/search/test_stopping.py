"""The end of a running probe."""

from __future__ import annotations

import pytest

from pytest_dsr1.metrics.inputs import SloLimits
from pytest_dsr1.records import RequestRecord
from pytest_dsr1.search.placing import Plan
from pytest_dsr1.search.stopping import EnoughProbed

LIMITS = SloLimits(request_latency_ms=1000.0)
SIDES = Plan(8.0, effective=120.0, requests=10_000, sides=True)


def stops_after(
    seen: EnoughProbed, latency_s: float, most: int, *, every: int = 1, growing: float = 0.0
) -> int:
    """Return after how many requests a probe stops; every n-th one has this latency, others 0.1 s."""
    for i in range(most):
        took_s = (latency_s if i % every == 0 else 0.1) + growing * i
        if seen(RequestRecord(i, i / 10, i / 10, i / 10 + took_s, input_tokens=8, output_tokens=4)):
            return i + 1
    return most


@pytest.mark.parametrize(
    ("latency_s", "requests"), [(0.5, (1_000, 1_400)), (2.0, (100, 100))], ids=["keeps", "misses"]
)
def test_a_probe_stops_once_its_side_is_known(latency_s: float, requests: tuple[int, int]) -> None:
    seen = EnoughProbed(SIDES, LIMITS, 0.9, concurrency=8)
    assert requests[0] <= stops_after(seen, latency_s, 10_000) <= requests[1]


def test_a_probe_for_the_curve_goes_on_until_it_has_its_requests() -> None:
    plan = Plan(8.0, effective=1e9, requests=10_000, sides=False)
    assert stops_after(EnoughProbed(plan, LIMITS, 0.9, concurrency=8), 2.0, 3_000) == 3_000


def test_a_probe_at_the_goal_is_not_stopped_for_its_side() -> None:
    plan = Plan(8.0, effective=1e9, requests=10_000, sides=True)
    assert stops_after(EnoughProbed(plan, LIMITS, 0.9, concurrency=8), 2.0, 3_000, every=10) == 3_000


def test_an_open_loop_whose_queue_only_grows_is_stopped() -> None:
    """Latencies grow by 50 ms with each request; a closed loop has no such queue."""
    plan = Plan(10.0, effective=1e9, requests=10_000, sides=False)
    opened = stops_after(EnoughProbed(plan, LIMITS, 0.9, concurrency=None), 0.5, 3_000, growing=0.05)
    closed = stops_after(EnoughProbed(plan, LIMITS, 0.9, concurrency=8), 0.5, 3_000, growing=0.05)
    assert opened < 1_000
    assert closed == 3_000
