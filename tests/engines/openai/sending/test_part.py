"""The part of the load that one event loop sends."""

from __future__ import annotations

import asyncio

import pytest

from pytest_dsr1.engines.openai.client.plan import Plan
from pytest_dsr1.engines.openai.sending import part
from pytest_dsr1.engines.openai.sending.crew import shares
from pytest_dsr1.errors import EngineError


def test_a_failure_ends_the_other_work() -> None:
    """Otherwise the other servers' connections would be opened after all were closed."""
    ended = []

    async def slow() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            ended.append("slow")

    async def fails() -> None:
        await asyncio.sleep(0)
        raise EngineError("refused")

    async def main() -> None:
        with pytest.raises(EngineError, match="refused"):
            await part._together(slow(), fails())
        assert ended == ["slow"]

    asyncio.run(main())


@pytest.mark.parametrize(("processes", "servers"), [(1, 1), (2, 1), (3, 2), (4, 6)])
@pytest.mark.parametrize("concurrency", [12, 100])
def test_a_schedule_is_divided_with_its_requests(processes: int, servers: int, concurrency: int) -> None:
    """A request and its time go to the same share; no gap of a trace is like another."""
    times_s = [0.0, 0.0, 0.3, 0.31, 2.0, 2.0, 2.0, 7.5, 7.6, 60.0, 61.0, 61.5, 62.0, 100.0]
    plan = Plan(len(times_s), concurrency, schedule=times_s)
    every = [share for some in shares(processes, servers) for share in some]
    parts = {share: plan.part(share.first, share.of) for share in every}
    mine = {share: [n for n in range(len(times_s)) if share.chosen(plan)(n)] for share in every}
    assert sorted(n for some in mine.values() for n in some) == list(range(len(times_s)))
    assert {share: part.schedule for share, part in parts.items()} == {
        share: [times_s[n] for n in some] for share, some in mine.items()
    }
    assert {share: part.requests for share, part in parts.items()} == {
        share: len(some) for share, some in mine.items()
    }
    assert sum(part.concurrency for part in parts.values()) == concurrency
