"""A timer that is exact."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time

import pytest

from pytest_dsr1.engines.openai.client.timer import Alarm


def rung(moments_s: list[float], *, close_after: int | None = None) -> list[float]:
    """When an alarm rang that is set to each moment in turn, in s from now.

    Args:
        moments_s: these.
        close_after: close it when it rang so often and is set to the next, and listen for another second.
    """
    rang: list[float] = []

    async def wait() -> None:
        began_s = time.monotonic()
        over = asyncio.Event()
        left = list(moments_s)

        def ring() -> None:
            rang.append(time.monotonic() - began_s)
            if len(rang) == close_after:
                alarm.set(began_s + left[0])
                alarm.close()
                asyncio.get_running_loop().call_later(1, over.set)
            elif left:
                alarm.set(began_s + left.pop(0))
            else:
                over.set()

        alarm = Alarm(asyncio.get_running_loop(), ring)
        alarm.set(began_s + left.pop(0))
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(over.wait(), 30)
        alarm.close()

    asyncio.run(wait())
    return rang


@pytest.fixture(params=["linux", "darwin"], autouse=True)
def _platform(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "linux" and sys.platform != "linux":
        pytest.skip("has no timerfd")
    monkeypatch.setattr("pytest_dsr1.engines.openai.client.timer.PLATFORM", request.param)


def test_rings_in_turn_and_never_early() -> None:
    rang = rung([0.01, 0.02, 0.0201])
    assert len(rang) == 3
    assert all(at_s >= due_s for at_s, due_s in zip(rang, [0.01, 0.02, 0.0201], strict=True))


def test_a_moment_that_has_passed_rings_at_once() -> None:
    assert len(rung([-1.0, 0.0, -0.5])) == 3


def test_a_closed_alarm_is_silent() -> None:
    assert len(rung([0.01, 0.02, 0.03], close_after=2)) == 2


def test_to_set_it_anew_moves_it() -> None:
    rang = []

    async def wait() -> None:
        alarm = Alarm(asyncio.get_running_loop(), lambda: rang.append(time.monotonic()))
        began_s = time.monotonic()
        alarm.set(began_s + 0.01)
        alarm.set(began_s + 0.05)
        await asyncio.sleep(0.2)
        alarm.close()
        assert len(rang) == 1
        assert rang[0] >= began_s + 0.05

    asyncio.run(wait())
