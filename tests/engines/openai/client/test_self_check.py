from __future__ import annotations

import asyncio
import re
import time
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest

from pytest_dsr1.engines.openai.client import self_check
from pytest_dsr1.engines.openai.client.self_check import (
    CPU_LIMIT,
    LAG_SHARE_LIMITS,
    READ_LATE_LIMIT,
    SHORTEST_S,
    TICK_S,
    ClientLoad,
    FirstTokenLag,
    LoopWatch,
)
from pytest_dsr1.errors import InvalidRunError
from pytest_dsr1.records import RequestRecord

TTFT_S = 0.125
COUNT = 128
RECORDS = [
    RequestRecord(i, float(i), i + TTFT_S, i + 0.5, 8, 4, error="lost" if i == COUNT else None)
    for i in range(COUNT + 1)
]
"""One a second with a TTFT of 125 ms; the last failed, and counts nowhere."""


def client(lags_s: list[float], *, cpu_share: float = 0.0, seconds: float = 200.0) -> ClientLoad:
    """A client that was so late when it saw each first token."""
    looked_s = [i + TTFT_S + 0.01 for i in range(COUNT)]
    return ClientLoad(seconds, looked_s, lags_s, cpu_share * seconds)


def always(lag_s: float) -> list[float]:
    return [lag_s] * COUNT


def at_p99(lag_s: float) -> list[float]:
    """Late at the two of a hundred and twenty-eight that P99 is made of."""
    return [lag_s if i in {40, 80} else 0.0 for i in range(COUNT)]


LESS, MORE = 1 - 1e-9, 1 + 1e-9
MEAN_S = LAG_SHARE_LIMITS["mean"] * TTFT_S
P99_S = LAG_SHARE_LIMITS["P99"] * TTFT_S
LATE = "the client's event loop was {} ms late when first tokens arrived, {}% of the measured 125.0 ms "
MEAN = LATE.format("12.5", 10) + r"\(mean; limit 5%\)"
P99 = LATE.format("50.0", 40) + r"\(P99; limit 25%\)"
BUSY = r"the client's thread used 99% of a core \(limit 95%\)"


@pytest.mark.parametrize(
    "load",
    [
        client(always(MEAN_S * LESS)),
        client(at_p99(P99_S * LESS)),
        client(always(0.0), cpu_share=CPU_LIMIT * LESS),
        client([]),
        client(always(0.0), cpu_share=CPU_LIMIT),
        client([0.4 if i == 40 else 0.0 for i in range(COUNT)]),
    ],
    ids=["mean", "P99", "busy", "never looked", "busy at its limit", "late once"],
)
def test_just_below_a_limit_a_client_is_not_saturated(load: ClientLoad) -> None:
    load.judge("mine", RECORDS)


@pytest.mark.parametrize(
    ("load", "why"),
    [
        (client(always(0.0125)), MEAN),
        (client(at_p99(0.05)), P99),
        (client(at_p99(0.3)), LATE.format("300.0", 240) + r"\(P99; limit 25%\)"),
        (client(always(0.0), cpu_share=0.99), BUSY),
        (
            client([max(0.0125, lag) for lag in at_p99(0.05)], cpu_share=0.99),
            f".*mean; .* and {P99} and {BUSY}",
        ),
    ],
    ids=["mean", "P99", "P99 of 300 ms", "busy", "all"],
)
def test_above_a_limit_the_message_says_which_and_what_to_do(load: ClientLoad, why: str) -> None:
    with pytest.raises(InvalidRunError) as caught:
        load.judge("mine", RECORDS)
    assert re.fullmatch(
        "mine: client-bound: the load generator was saturated, so the figures are its own and not the "
        f"server's: {why}; lower load.concurrency or the arrival rate, start with load.ramp_s, keep other "
        r"work off this machine, install uvloop \(pytest-dsr1\[openai\]\), or run client and server on "
        "different machines",
        str(caught.value),
    )


@pytest.mark.parametrize(
    "load",
    [
        client(always(MEAN_S * MORE)),
        client(at_p99(P99_S * MORE)),
        client(always(0.0), cpu_share=CPU_LIMIT * MORE),
    ],
    ids=["mean", "P99", "busy"],
)
def test_the_least_above_a_limit_is_too_much(load: ClientLoad) -> None:
    with pytest.raises(InvalidRunError, match=r"^mine: client-bound: "):
        load.judge("mine", RECORDS)
    assert load.unjudged() is None
    short = SHORTEST_S * LESS
    short_load = replace(load, seconds=short, cpu_s=short)
    short_load.judge("mine", RECORDS)  # too short to be judged
    assert re.search(r"^the measurement took 2\.00 s; below 2 s it ", short_load.unjudged() or "")


def test_at_the_limit_a_client_is_not_saturated() -> None:
    client(always(MEAN_S)).judge("mine", RECORDS[:1])


def test_events_that_the_client_read_late() -> None:
    client(always(0.0)).judge("mine", RECORDS, READ_LATE_LIMIT)
    with pytest.raises(
        InvalidRunError, match=r": 60% of the events were read late and together \(limit 50%\); "
    ):
        client(always(0.0)).judge("mine", RECORDS, 0.6)
    replace(client(always(0.0)), seconds=SHORTEST_S * LESS).judge("mine", RECORDS, 0.6)


def test_the_shortest_run_that_is_judged() -> None:
    load = client(always(0.0), seconds=SHORTEST_S)
    assert load.unjudged() is None
    with pytest.raises(InvalidRunError):
        replace(load, lags_s=always(0.1)).judge("mine", RECORDS)


def test_answers_that_are_not_streamed_are_judged_by_when_they_came() -> None:
    whole = [
        replace(record, first_token_s=None, last_token_s=record.first_token_s or 0) for record in RECORDS
    ]
    load = client(always(0.0125))
    assert load.first_token_lags(whole) == load.first_token_lags(RECORDS)
    assert load.first_token_lags([r for r in RECORDS if r.error]) == ()


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
    # A look is due after 10 ms, and the loop runs again after 100.
    assert sum(lag >= 0.089 for lag in load.lags_s) >= 5
    assert all(a < b for a, b in pairwise(load.looked_s))
    assert load.cpu_share < 0.9, "sleeping is not work"
    facts = load.facts(RECORDS[:1])
    assert facts["loop_lag_max_ms"] == round(1e3 * max(load.lags_s), 3)
    assert facts["loop_lag_p99_ms"] == facts["loop_lag_max_ms"], "of fewer than a hundred looks"
    assert facts["loop_lag_mean_ms"] == pytest.approx(1e3 * sum(load.lags_s) / len(load.lags_s), abs=0.001)
    assert facts["cpu_share"] == round(load.cpu_share, 4)


def test_the_first_look_counts_from_its_due_time() -> None:
    """It is due 10 ms after the start. The clock says 13 ms, so it is 3 ms late."""

    async def main() -> ClientLoad:
        now_s = 50.0
        with pytest.MonkeyPatch.context() as monkeypatch:
            clock = SimpleNamespace(monotonic=lambda: now_s, thread_time=time.thread_time)
            monkeypatch.setattr(self_check, "time", clock)
            watch = LoopWatch()
            now_s += TICK_S + 0.003
            await asyncio.sleep(0.05)
            return watch.stop()

    load = asyncio.run(main())
    assert load.seconds == pytest.approx(TICK_S + 0.003)
    assert load.lags_s[0] == pytest.approx(0.003)
    assert set(load.lags_s[1:]) <= {0.0}, "the clock stood still"


def test_lateness_counts_where_first_tokens_came() -> None:
    """The first token was seen in a look that was late, the second in one that was not."""
    load = client([0.03, *always(0.0)[1:]])
    first, second = RECORDS[0], RECORDS[1]
    assert [(each.name, each.measured_s, each.lag_s) for each in load.first_token_lags([first])] == [
        ("mean", TTFT_S, 0.03),
        ("P99", TTFT_S, 0.03),
    ]
    assert [each.share for each in load.first_token_lags([second])] == [0.0, 0.0]
    assert load.facts([first, second])["first_token_lag_mean_ms"] == 15.0
    assert load.facts([first, second])["first_token_lag_p99_ms"] == 30.0


def test_work_of_the_loop_is_counted() -> None:
    load = watched("compute")
    assert load.cpu_s >= 0.25
    assert load.cpu_share == pytest.approx(load.cpu_s / load.seconds)


def test_a_watch_that_never_looked() -> None:
    async def main() -> ClientLoad:
        return LoopWatch().stop()

    load = asyncio.run(main())
    assert load.facts(RECORDS)["loop_lag_max_ms"] == 0.0
    load.judge("mine", RECORDS)


def test_what_took_no_time_has_no_share() -> None:
    assert FirstTokenLag("mean", 0.0, 0.1).share == 0.0
    assert ClientLoad(0.0, [], [], 0.1).cpu_share == 0.0


def test_the_lag_of_the_next_look_or_of_the_last_one() -> None:
    load = ClientLoad(4.0, [1.0, 2.0, 3.0], [0.1, 0.2, 0.3], 0.0)
    assert load.lags_at(np.array([0.5, 1.5, 2.0, 2.5, 9.0])).tolist() == [0.1, 0.2, 0.2, 0.3, 0.3]


def test_figures_have_three_decimals() -> None:
    load = ClientLoad(2.0, [1.0], [0.0123456], 1.2345678)
    facts = load.facts(RECORDS[:1])
    assert (facts["loop_lag_mean_ms"], facts["first_token_lag_mean_ms"]) == (12.346, 12.346)
    assert (facts["cpu_s"], facts["cpu_share"]) == (1.235, 0.6173)


def test_the_p99_of_the_looks_is_not_the_worst() -> None:
    load = client([1.0 if i == 40 else 0.0 for i in range(COUNT)])
    assert (load.facts(RECORDS)["loop_lag_p99_ms"], load.facts(RECORDS)["loop_lag_max_ms"]) == (0.0, 1000.0)
