from __future__ import annotations

from array import array
from itertools import accumulate

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pytest_dsr1.engines.openai.client.event_gaps import Gaps, TokensOverTime

STREAMS = st.lists(st.lists(st.floats(2e-6, 900.0), min_size=1, max_size=30), min_size=1, max_size=8)
"""Gaps in s, stream by stream, well within what the histogram holds."""


def times(gaps: list[float], start_s: float = 1000.0) -> array[float]:
    return array("d", accumulate(gaps, initial=start_s))


@given(STREAMS)
def test_gaps_are_those_of_numpy(streams: list[list[float]]) -> None:
    gaps = Gaps()
    for stream in streams:
        gaps.add(times(stream))
    all_s = np.sort(np.concatenate([np.diff(times(stream)) for stream in streams]))
    metrics = gaps.metrics()
    assert gaps.count == len(all_s)
    assert metrics["average_inter_event_gap"] == pytest.approx(all_s.mean() * 1e3, rel=1e-9)
    assert metrics["inter_event_gap_maximum"] == all_s[-1] * 1e3
    for share in (50, 90, 95, 99):
        exact_s = all_s[int(len(all_s) * (share / 100))]
        assert metrics[f"inter_event_gap_p{share}"] == pytest.approx(exact_s * 1e3, rel=0.00101)


@given(STREAMS)
def test_no_percentile_is_above_a_higher_one_or_the_maximum(streams: list[list[float]]) -> None:
    gaps = Gaps()
    for stream in streams:
        gaps.add(times(stream))
    values = [v for k, v in gaps.metrics().items() if k != "average_inter_event_gap"]
    assert values == sorted(values)


def test_gaps_beyond_the_histogram_are_its_ends_and_still_in_mean_and_maximum() -> None:
    gaps = Gaps()
    gaps.add(array("d", [0.0, 0.0, 0.0, 5000.0]))
    metrics = gaps.metrics()
    assert metrics["average_inter_event_gap"] == pytest.approx(5000e3 / 3)
    assert metrics["inter_event_gap_maximum"] == 5000e3
    assert metrics["inter_event_gap_p50"] == pytest.approx(1e-3, rel=0.00101)
    assert metrics["inter_event_gap_p99"] == pytest.approx(1000e3, rel=0.00101)


def test_streams_without_a_gap() -> None:
    gaps = Gaps()
    gaps.add(array("d"))
    gaps.add(array("d", [7.0]))
    assert gaps.count == 0
    assert gaps.metrics() == {}
    gaps.add(array("d", [7.0, 7.0]))  # all in one packet: no gap was seen, and 0 ms would be no measurement
    assert gaps.count == 1
    assert gaps.metrics() == {}


REQUESTS = st.lists(
    st.tuples(st.lists(st.floats(0.0, 120.0), min_size=1, max_size=20).map(sorted), st.integers(1, 500)),
    max_size=8,
)


@given(REQUESTS, st.floats(0.0, 130.0))
@example([([0.0], 1)], 1.9999999999999716)
@example([], 2.0)
def test_tokens_of_each_whole_second(requests: list[tuple[list[float], int]], seconds: float) -> None:
    from_s = 4096.0  # so that the times below are what they were before it was added, to 1e-12
    series = TokensOverTime()
    series.begin(from_s)
    expected = np.zeros(140)
    for offsets, tokens in requests:
        series.add(array("d", [from_s + offset for offset in offsets]), tokens)
        for offset in offsets:
            expected[int(from_s + offset - from_s)] += tokens / len(offsets)
    to_s = from_s + seconds
    seconds = to_s - from_s  # what is left of it after rounding, as with the offsets above
    found = series.series(to_s)
    assert [at for at, _ in found] == [from_s + i + 1 for i in range(int(seconds))], "each second's end"
    assert [value for _, value in found] == pytest.approx(expected[: int(seconds)].tolist())


@given(REQUESTS)
def test_no_token_is_lost_over_the_whole_measurement(requests: list[tuple[list[float], int]]) -> None:
    series = TokensOverTime()
    series.begin(64.0)
    for offsets, tokens in requests:
        series.add(array("d", [64.0 + offset for offset in offsets]), tokens)
    series.add(array("d"), 99)  # a request without an event
    total = sum(value for _, value in series.series(64.0 + 1000))
    assert total == pytest.approx(sum(tokens for _, tokens in requests))


def test_what_comes_before_the_measurement_is_in_its_first_second() -> None:
    series = TokensOverTime()
    series.begin(10.0)
    series.add(array("d", [8.5, 11.5]), 4)
    series.add(array("d", [9.999]), 1)
    assert series.series(12.0) == ((11.0, 3.0), (12.0, 2.0))
