"""Clumps of events: those that somebody held back, and those that only look like it."""

from __future__ import annotations

from array import array
from itertools import accumulate

import numpy as np
import pytest

from pytest_dsr1.engines.openai.client.clumps import (
    FASTEST_S,
    HELD_LIMIT,
    LEAST_MAKING_S,
    Clumped,
    Clumps,
)
from pytest_dsr1.engines.openai.client.self_check import ClientLoad
from pytest_dsr1.metrics.catalogue import METRICS
from pytest_dsr1.scenario.schema.load import Slo

SENT_S = 1000.0


def client(lag_s: float = 0.0) -> ClientLoad:
    """A client that was always as late."""
    looked_s = [SENT_S + 0.01 * i for i in range(3000)]
    return ClientLoad(30.0, looked_s, [lag_s] * len(looked_s), 0.0)


def judged(
    gaps_s: list[float], tokens: int | None = None, *, lag_s: float = 0.0, answers: int = 1
) -> Clumped:
    """Judge answers with these gaps, of which the first is that before the first event."""
    clumps = Clumps()
    for _ in range(answers):
        times_s = array("d", accumulate(gaps_s, initial=SENT_S))[1:]
        clumps.add(SENT_S, times_s, len(gaps_s) if tokens is None else tokens)
    clumps.note_lags(client(lag_s))
    return clumps.judged()


def bursts(clumps: int, events: int, wait_s: float, inner_s: float = 2e-6) -> list[float]:
    """The gaps of clumps of so many events each."""
    return [wait_s, *[inner_s] * (events - 1)] * clumps


def steady(events: int, gap_s: float, first_s: float = 0.1) -> list[float]:
    return [first_s, *[gap_s] * (events - 1)]


@pytest.mark.parametrize("clumps", [1, 2, 4, 8])
@pytest.mark.parametrize("inner_s", [0.0, 2e-6, 1e-4])
@pytest.mark.parametrize("events", [256, 1024])
def test_bursts_are_found(clumps: int, inner_s: float, events: int) -> None:
    found = judged(bursts(clumps, events // clumps, 1.0 / clumps, inner_s))
    assert (found.held_share, found.late_share) == (1.0, 0.0)
    assert (found.tokens, found.wait_s) == pytest.approx((events / clumps, 1.0 / clumps))


CLUMPED: dict[str, tuple[list[float], int | None]] = {
    "66 events every 16.5 s": (bursts(20, 66, 16.5), None),
    "one burst after a long queue, then a proxy that flushes twice a second": (
        bursts(1, 20, 30.0) + bursts(12, 20, 0.5),
        None,
    ),
    "a pause of ten seconds between the clumps": (bursts(4, 50, 0.5) + bursts(1, 50, 10.0), None),
    "the whole answer in one event": ([1.0], 256),
    "a clump that is read in pieces 10 ms apart": ([1.0, *([1e-6] * 50 + [0.01]) * 10], None),
    "two clumps that are read in pieces 10 ms apart": ([1.0, *([1e-6] * 50 + [0.01]) * 10] * 2, None),
    "a burst of short answers": (bursts(1, 8, 0.1), None),
    "several tokens per event, and held back": (bursts(4, 20, 0.5), 240),
}


@pytest.mark.parametrize(("gaps_s", "tokens"), CLUMPED.values(), ids=list(CLUMPED))
def test_other_shapes_are_found(gaps_s: list[float], tokens: int | None) -> None:
    assert judged(gaps_s, tokens).held_share == 1.0
    assert judged(gaps_s, tokens).why_not is not None


ON_PURPOSE: dict[str, tuple[list[float], int | None]] = {
    "a token at a time": (steady(256, 0.01), None),
    "1,000 tokens per second": (steady(256, 0.001), None),
    "after the longest prefill": (steady(8, 0.002, first_s=30.0), None),
    "MTP: three tokens per event": (steady(85, 0.03), 256),
    "MTP: an event for each of up to six tokens of a step": (bursts(100, 6, 0.025), None),
    "MTP: short answers, an event for each token of a step": (bursts(4, 6, 0.025), None),
    "draft tokens of the largest step": (bursts(200, 17, 0.05), None),
    "stream_interval of 32, whose first token comes at once": (steady(9, 0.3), 256),
    "a short answer in the event of one step": ([0.05], 17),
    "one token": ([0.1], 1),
    "two tokens, a step apart": (steady(2, 0.002), None),
    "unpaced: as fast as the client reads": (steady(256, 2e-6, first_s=0.001), None),
    "faster than any GPU, after 90 ms": (steady(256, 2e-6, first_s=0.09), None),
    "128 tokens at once, after 100 ms": (steady(128, 2e-6, first_s=0.105), None),
    "four tokens at once, after 50 ms": (steady(4, 2e-6, first_s=0.055), None),
    "prefill of others every 50 tokens": ([0.1, *[0.005] * 49, *[0.4, *[0.005] * 49] * 4], None),
    "a server that stalled for 80 ms once": (
        [0.1, *[0.01] * 50, 0.08, *[1e-6] * 8, *[0.01] * 100],
        None,
    ),
}


@pytest.mark.parametrize(("gaps_s", "tokens"), ON_PURPOSE.values(), ids=list(ON_PURPOSE))
def test_a_server_that_streams_is_not_condemned(gaps_s: list[float], tokens: int | None) -> None:
    found = judged(gaps_s, tokens)
    assert (found.held_share, found.late_share) == (0.0, 0.0)
    assert (found.why_not, list(found.warnings())) == (None, [])


def test_the_least_that_counts_as_a_clump() -> None:
    def held(events: int, wait_s: float = 0.1, inner_s: float = 0.0, clumps: int = 10) -> bool:
        return judged(bursts(clumps, events, wait_s, inner_s)).held_share == 1.0

    assert (held(8), held(7)) == (True, False)
    assert (held(17, clumps=11), held(18, clumps=11)) == (False, True)
    assert (held(20, inner_s=FASTEST_S * 0.99), held(20, inner_s=FASTEST_S * 1.01)) == (True, False)
    least_s = LEAST_MAKING_S * 50
    assert (held(50, least_s * 1.01), held(50, least_s * 0.99)) == (True, False)
    assert (held(8, LEAST_MAKING_S * 8.08), held(8, LEAST_MAKING_S * 7.92)) == (True, False)


def test_the_wait_is_four_times_as_long_as_the_clump() -> None:
    gap_s = 0.0007
    length_s = 99 * gap_s
    assert judged(steady(100, gap_s, first_s=4.01 * length_s)).held_share == 1.0
    assert judged(steady(100, gap_s, first_s=3.99 * length_s)).held_share == 0.0


@pytest.mark.parametrize(("lag_s", "held"), [(0.0, 1.0), (0.0111, 1.0), (0.0113, 0.0), (0.2, 0.0)])
def test_what_the_client_may_have_read_late_is_its_own(lag_s: float, held: float) -> None:
    """Eight events that came in the time in which it did not look may have come 1.6 ms apart."""
    found = judged(bursts(1, 8, 0.1), lag_s=lag_s)
    assert (found.held_share, found.late_share) == (held, 1.0 - held)


def test_a_late_client_does_not_hide_a_wait_that_is_far_longer() -> None:
    assert judged(bursts(1, 1024, 1.0), lag_s=0.2).held_share == 1.0
    assert judged(bursts(1, 1024, 1.0), lag_s=0.26).held_share == 0.0, "a quarter of the wait"
    assert judged([1.0], 256, lag_s=0.1).held_share == 1.0


def test_shares_are_of_all_events() -> None:
    clumps = Clumps()
    clumps.add(SENT_S, array("d"), 0)
    for gaps_s in (bursts(1, 100, 1.0), steady(300, 0.01)):
        clumps.add(SENT_S, array("d", accumulate(gaps_s, initial=SENT_S))[1:], len(gaps_s))
    clumps.note_lags(client())
    found = clumps.judged()
    assert found.held_share == 0.25
    assert found.why_not is None, "the limit itself is allowed"
    assert found.facts() == {"events_in_clumps_share": 0.25, "events_read_late_share": 0.0}
    assert Clumps().judged() == Clumped()


def test_either_the_sender_or_the_client_is_blamed() -> None:
    assert Clumped(HELD_LIMIT, 0.3).read_late == HELD_LIMIT + 0.3
    assert Clumped(0.4, 0.39).read_late == 0.0
    assert Clumped(0.4, 0.41).why_not is None
    assert Clumped(0.4, 0.41).read_late == pytest.approx(0.81)


def test_the_message_says_the_share_and_what_to_change() -> None:
    found = judged(bursts(2, 512, 0.5))
    assert found.why_not == (
        "100% of the tokens came in clumps (limit 25%; on average 512 tokens at once, after 500 ms without "
        "any), so the time of an event is not the time of its tokens: a proxy collects events before it "
        "sends them on, or the server does not stream; measure without the proxy, or make it pass on each "
        "event at once (nginx: `proxy_buffering off`)"
    )
    assert list(found.warnings()) == [f"TTFT, TPOT and what follows from them are INVALID: {found.why_not}"]


def test_what_rests_on_the_times_of_events_is_not_measured() -> None:
    clumped = Clumped(HELD_LIMIT * 1.01, 0.0, 100.0, 1.0)
    streamed = {name for name, metric in METRICS.items() if "streaming" in metric.needs}
    assert {"average_ttft", "tpot_p99", "per_user_output_speed", "inter_event_gap_p50"} <= streamed
    assert set(clumped.not_measured(None)) == streamed
    assert set(clumped.not_measured(Slo(request_latency_ms=100))) == streamed
    for slo in (Slo(ttft_ms=1), Slo(tpot_ms=1), Slo(preset="mlperf-server")):
        assert set(clumped.not_measured(slo)) == {*streamed, "goodput", "slo_attainment"}
    assert set(clumped.not_measured(None).values()) == {clumped.why_not}
    assert Clumped(HELD_LIMIT, 0.0, 100.0, 1.0).not_measured(None) == {}


@pytest.mark.parametrize(
    ("streams", "step_s", "first_s"), [(1, 0.0022, 0.026), (64, 0.0055, 0.5), (256, 0.0125, 1.2)]
)
def test_a_busy_server_is_not_condemned(streams: int, step_s: float, first_s: float) -> None:
    """The steps of vLLM on an H200; where it is behind, a third of its events has the tokens of two steps."""
    random = np.random.default_rng(streams)
    for _ in range(20):
        behind = random.random(200) < (0.33 if streams > 1 else 0.0)
        pause_s = np.where(random.random(200) < 0.03, 0.1, 0.0)  # the prefill of others
        gaps_s = step_s * (1 + behind) * random.uniform(0.8, 1.2, 200) + pause_s
        found = judged([random.uniform(0.5, 8) * first_s, *gaps_s.tolist()], 201 + int(behind.sum()))
        assert (found.held_share, found.late_share) == (0.0, 0.0)


def test_noise_of_the_operating_system_is_not_a_clump() -> None:
    """Streams at 10 ms per token, of which one event in ten is up to 30 ms late."""
    random = np.random.default_rng(1)
    for _ in range(50):
        due_s = np.arange(1, 257) * 0.01
        late_s = np.where(random.random(256) < 0.1, random.random(256) * 0.03, 0.0)
        seen_s = np.maximum.accumulate(due_s + late_s)
        assert judged(np.diff(seen_s, prepend=-0.1).tolist()).held_share < 0.05


FEW_EVENTS: dict[str, tuple[list[float], int | None]] = {
    **{
        f"1,024 tokens in {events} events": ([1.0, *[inner_s] * (events - 1)], 1024)
        for events, inner_s in ((2, 3e-4), (4, 3e-4), (7, 3e-4), (20, 9e-4), (64, 1e-6), (16, 0.01))
    },
    "1,024 tokens in two reads": ([1.0, 1e-6, 1e-6, 3e-4, 1e-6, 1e-6], 1024),
    "several bursts of few events": ([0.25, 3e-4, 3e-4] * 4, 1024),
    "256 tokens in 16 events": ([1.0, *[1e-6] * 15], 256),
    "four tokens": (bursts(1, 4, 1.0), None),
    "seven tokens": (bursts(1, 7, 1.0), None),
    "seven tokens in three events": (bursts(1, 3, 1.0), 7),
    "drained at 0.9 ms each": (steady(1024, 0.0009, first_s=10.0), None),
    "drained at 1 ms each": (steady(1024, 0.001, first_s=10.0), None),
}


@pytest.mark.parametrize(("gaps_s", "tokens"), FEW_EVENTS.values(), ids=list(FEW_EVENTS))
def test_many_tokens_in_few_events_are_found(gaps_s: list[float], tokens: int | None) -> None:
    found = judged(gaps_s, tokens)
    assert (found.held_share, found.late_share) == pytest.approx((1.0, 0.0))


SEVERAL_EACH: dict[str, tuple[list[float], int]] = {
    **{
        f"stream_interval {each}, {rest} tokens in the last event, {step_s} s per step": (
            [5.0, *[each * step_s] * full, rest * step_s],
            1 + full * each + rest,
        )
        for each in (10, 20)
        for full in (1, 2, 50)
        for rest in (1, 3)
        for step_s in (0.002, 0.01)
    },
    "stream_interval above the answer": ([5.0, 0.002 * 15], 16),
    "MTP, two tokens per event, 2 ms per step": (steady(128, 0.002, first_s=5.0), 256),
    "MTP, six tokens per event": (steady(43, 0.01, first_s=5.0), 256),
    "MTP, of which two steps came together each time": ([0.1, *[0.02, 1e-6] * 40], 81 * 3),
    "three tokens at once": (bursts(1, 3, 1.0), 3),
    "four tokens, 2 ms apart": (steady(4, 0.002, first_s=1.0), 4),
    "a short answer of MTP": ([1.0, 0.01, 1e-6, 1e-6], 4),
}


@pytest.mark.parametrize(("gaps_s", "tokens"), SEVERAL_EACH.values(), ids=list(SEVERAL_EACH))
def test_several_tokens_per_event_are_not_condemned(gaps_s: list[float], tokens: int) -> None:
    found = judged(gaps_s, tokens)
    assert (found.held_share, found.late_share) == (0.0, 0.0)


def test_the_least_of_a_whole_answer() -> None:
    assert [judged(bursts(1, events, 0.101)).held_share for events in (3, 4)] == [0.0, 1.0]
    assert [judged(bursts(1, 7, wait_s)).held_share for wait_s in (0.101, 0.099)] == [1.0, 0.0]
    assert [judged([1.0, gap_s], 101).held_share for gap_s in (0.0201, 0.0203)] == pytest.approx([1.0, 0.0])


def test_the_share_is_of_tokens() -> None:
    """Half of the answers come in two events, the others token by token: TPOT is half of what it was."""
    clumps = Clumps()
    for gaps_s in (bursts(1, 2, 1.0), steady(1000, 0.01)):
        clumps.add(SENT_S, array("d", accumulate(gaps_s, initial=SENT_S))[1:], 1000)
    clumps.note_lags(client())
    assert clumps.judged().held_share == 0.5
