"""The division of a plan among event loops."""

from __future__ import annotations

import pytest

from pytest_dsr1.engines.openai.client.plan import Plan


@pytest.mark.parametrize(("concurrency", "requests"), [(10, 40), (40, 10), (7, 7)])
@pytest.mark.parametrize("of", [1, 2, 3])
def test_parts_start_as_evenly_as_the_whole(concurrency: int, requests: int, of: int) -> None:
    plan = Plan(requests, concurrency, ramp_s=3.0)
    parts = [plan.part(first, of) for first in range(of)]
    assert sorted(at for part in parts for at in part.ramp_times_s) == pytest.approx(plan.ramp_times_s)
    assert plan.ramp_times_s == pytest.approx([3.0 * i / plan.starts for i in range(plan.starts)])


@pytest.mark.parametrize(("concurrency", "requests"), [(10, 40), (40, 10), (7, 7), (8, 20), (1, 5)])
@pytest.mark.parametrize("of", [1, 3])
@pytest.mark.parametrize("closed", [True, False])
def test_each_request_is_in_one_part(*, concurrency: int, requests: int, of: int, closed: bool) -> None:
    schedule = None if closed else [0.1 * number for number in range(requests)]
    plan = Plan(requests, concurrency, schedule=schedule)
    for number in range(requests):
        assert sum(plan.in_part(number, first, of) for first in range(of)) == 1
    for first in range(of):
        mine = [number for number in range(requests) if plan.in_part(number, first, of)]
        part = plan.part(first, of)
        assert part.requests == len(mine)
        if part.schedule is not None:
            assert part.schedule == [0.1 * number for number in mine]


def test_parts_of_a_closed_loop_send_the_same_number_of_waves() -> None:
    parts = [Plan(8192 * 4, 8192).part(first, 24) for first in range(24)]
    assert [part.requests / part.concurrency for part in parts] == [4.0] * 24
