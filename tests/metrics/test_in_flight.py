"""The steady window on requests whose times are known."""

from __future__ import annotations

import pytest

from pytest_dsr1.metrics.in_flight import steady_window
from pytest_dsr1.records import RequestRecord


def sent(*times_s: tuple[float, float]) -> list[RequestRecord]:
    """Return requests that start and end at these times, each 500 s later by the clock."""
    return [RequestRecord(i, 500 + start, None, 500 + end, 8, 4) for i, (start, end) in enumerate(times_s)]


def window(requests: list[RequestRecord], concurrency: int) -> tuple[float, float] | None:
    found = steady_window(requests, concurrency)
    return None if found is None else (found[0] - 500, found[1] - 500)


@pytest.mark.parametrize(
    ("gap_s", "expected"),
    [(0.0, (0, 1000)), (0.5, (0, 1000)), (1.0, (0, 1000)), (1 + 2**-10, (0, 600)), (300.0, (0, 600))],
)
def test_gaps_of_up_to_a_thousandth_of_the_run_are_bridged(
    gap_s: float, expected: tuple[float, float]
) -> None:
    """A run of 1,000 s of one user, with a gap after 600 s."""
    assert window(sent((0, 600), (600 + gap_s, 1000)), 1) == expected


def test_each_gap_is_judged_alone() -> None:
    """Two gaps of 1 s are bridged in 1,000 s, and one of 2 s before them is not."""
    assert window(sent((0, 100), (102, 300), (301, 500), (501, 1000)), 1) == (102, 1000)


def test_it_is_as_long_as_95_percent_of_the_users_are_served() -> None:
    """Of 20 users one may be missing; a second one is missing until 2 s and from 8 s on."""
    most = [(0.0, 10.0)] * 18
    assert window(sent(*most, (2, 8)), 20) == (2, 8)
    assert window(sent(*most, (2, 8), (3, 7)), 20) == (2, 8), "the 20th changes nothing"
    assert window(sent(*most, (2, 8)), 21) is not None, "19 requests never fill 21 users, so all 19 do"
    assert window(sent((0, 4), (5, 10)), 2) is None, "one of two"


def test_the_longest_time_counts_and_of_equal_ones_the_first() -> None:
    assert window(sent((0, 1), (2, 5), (6, 8)), 1) == (2, 5)
    assert window(sent((0, 2), (3, 5)), 1) == (0, 2)
    assert window(sent((0, 3), (4, 5)), 1) == (0, 3)


def test_without_requests_there_is_none() -> None:
    assert steady_window([], 4) is None
