from __future__ import annotations

import asyncio
import math
import re
import time
from dataclasses import replace

import pytest

from pytest_dsr1.engines.openai_watch import CPU_LIMIT, LAG_P99_LIMIT_S, SHORTEST_S, ClientLoad, LoopWatch
from pytest_dsr1.errors import InvalidRunError

AT_THE_LIMITS = ClientLoad(
    seconds=SHORTEST_S,
    lag_mean_s=0.0,
    lag_p99_s=LAG_P99_LIMIT_S,
    lag_max_s=9.0,
    cpu_share=CPU_LIMIT,
    cpu_s=1.0,
)
LATE_S = LAG_P99_LIMIT_S * 1.5
LATE = rf"its event loop was {LATE_S * 1e3:.0f} ms late at P99 \(limit {LAG_P99_LIMIT_S * 1e3:.0f} ms\)"
BUSY = rf"its thread used 99% of a core \(limit {CPU_LIMIT:.0%}\)"


def test_at_the_limits_a_client_is_not_saturated() -> None:
    AT_THE_LIMITS.judge("mine")


@pytest.mark.parametrize(
    ("load", "why"),
    [
        (replace(AT_THE_LIMITS, lag_p99_s=LATE_S), LATE),
        (replace(AT_THE_LIMITS, cpu_share=0.99), BUSY),
        (replace(AT_THE_LIMITS, lag_p99_s=LATE_S, cpu_share=0.99), f"{LATE} and {BUSY}"),
    ],
    ids=["late", "busy", "both"],
)
def test_above_a_limit_the_message_says_which_and_what_to_do(load: ClientLoad, why: str) -> None:
    with pytest.raises(InvalidRunError) as caught:
        load.judge("mine")
    assert re.fullmatch(
        "mine: client-bound: the load generator was saturated and these would be its own figures, not the "
        f"server's: {why}; lower load.concurrency or the arrival rate, keep other work off this machine, "
        r"install uvloop \(pytest-dsr1\[openai\]\), or run the client on another machine than the server",
        str(caught.value),
    )


@pytest.mark.parametrize(
    "load",
    [
        replace(AT_THE_LIMITS, lag_p99_s=math.nextafter(LAG_P99_LIMIT_S, 1)),
        replace(AT_THE_LIMITS, cpu_share=math.nextafter(CPU_LIMIT, 1)),
    ],
)
def test_the_least_above_a_limit_is_too_much(load: ClientLoad) -> None:
    with pytest.raises(InvalidRunError, match=r"^mine: client-bound: "):
        load.judge("mine")
    replace(load, seconds=math.nextafter(SHORTEST_S, 0)).judge("mine")  # too short to be judged


def watched(work: str) -> ClientLoad:
    """Five times a tenth of a second in which the loop cannot run, or no such thing."""

    async def main() -> ClientLoad:
        watch = LoopWatch()
        for _ in range(5):
            if work == "block":
                time.sleep(0.1)  # on purpose
            if work == "compute":
                until_s = time.thread_time() + 0.05
                while time.thread_time() < until_s:
                    pass
            await asyncio.sleep(0.02)
        return watch.stop()

    return asyncio.run(main())


def test_a_blocked_loop_is_late() -> None:
    load = watched("block")
    assert load.seconds >= 0.6
    # The first look is due after 10 ms, and the loop runs again after 100.
    assert load.lag_p99_s >= 0.09
    assert load.lag_max_s >= load.lag_p99_s >= load.lag_mean_s > 0
    assert load.cpu_share < 0.9, "to sleep is no work"
    assert list(load.facts().values()) == [
        round(1e3 * load.lag_mean_s, 3),
        round(1e3 * load.lag_p99_s, 3),
        round(1e3 * load.lag_max_s, 3),
        round(load.cpu_share, 4),
        round(load.cpu_s, 3),
    ]


def test_work_of_the_loop_is_counted() -> None:
    load = watched("compute")
    assert load.cpu_s >= 0.25
    assert load.cpu_share == pytest.approx(load.cpu_s / load.seconds)


def test_a_watch_that_never_looked() -> None:
    async def main() -> ClientLoad:
        return LoopWatch().stop()

    load = asyncio.run(main())
    assert (load.lag_mean_s, load.lag_p99_s, load.lag_max_s) == (0.0, 0.0, 0.0)
