"""Figures of several processes together, and of each of several servers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_dsr1.engines.openai.sending.figures import idle_early, per_server, together
from pytest_dsr1.records import RequestRecord


def record(
    server: int, start_s: float, first_s: float | None, tokens: int, *, failed: bool = False
) -> RequestRecord:
    return RequestRecord(
        0, start_s, first_s, start_s + 2.0, 8, tokens, error="no" if failed else None, server=server
    )


def test_one_process_is_alone() -> None:
    facts = {"loop_lag_mean_ms": 0.1, "cpu_s": 3.0}
    assert together([facts]) == facts


def test_the_worst_of_several_processes() -> None:
    first = {"loop_lag_mean_ms": 0.1, "cpu_share": 0.5, "cpu_s": 3.1234, "first_token_lag_p99_ms": 0.4}
    second = {"loop_lag_mean_ms": 0.3, "cpu_share": 0.4, "cpu_s": 2.5}
    assert together([first, second]) == {
        "processes": 2,
        "loop_lag_mean_ms": 0.3,
        "cpu_share": 0.5,
        "cpu_s": 5.623,
        "first_token_lag_p99_ms": 0.4,
    }


def test_each_server() -> None:
    """The rate is over the time of all; failed requests have no tokens; no streaming, no TTFT."""
    records = [
        record(0, 10.0, 10.1001234, 30),
        record(0, 10.5, 10.8, 20),
        record(0, 11.0, 11.5, 99, failed=True),
        record(1, 13.0, None, 50),
        record(3, 15.0, 15.25, 7),
    ]
    found = per_server(["http://a", "http://b", "http://c", "http://d"], records)
    assert [each.saved() for each in found] == [
        {
            "url": "http://a",
            "requests": 3,
            "failed": 1,
            "output_tokens": 50,
            "output_tok_s": 7.14,
            "ttft_mean_ms": 200.062,
            "ttft_p99_ms": 298.001,
        },
        {"url": "http://b", "requests": 1, "failed": 0, "output_tokens": 50, "output_tok_s": 7.14},
        {"url": "http://c", "requests": 0, "failed": 0, "output_tokens": 0, "output_tok_s": 0.0},
        {
            "url": "http://d",
            "requests": 1,
            "failed": 0,
            "output_tokens": 7,
            "output_tok_s": 1.0,
            "ttft_mean_ms": 250.0,
            "ttft_p99_ms": 250.0,
        },
    ]


def test_requests_that_took_no_time_have_no_rate() -> None:
    at_once = RequestRecord(0, 10.0, None, 10.0, 8, 1, server=0)
    (found,) = per_server(["http://a"], [at_once])
    assert (found.output_tokens, found.output_tok_s) == (1, 0.0)


URLS = ["http://a", "http://b"]


@pytest.mark.parametrize("last_s", [6.0, 5.9, 20.0])
def test_servers_that_end_about_together(last_s: float) -> None:
    """Each request takes 2 s: the last ones of two equal servers may end 4 s, or a tenth, apart."""
    at = [record(0, last_s - 4.0 + 2.0 * (last_s > 10), None, 8), record(1, last_s, None, 8)]
    assert idle_early(URLS, [record(0, 0.0, None, 8), *at]) is None


def test_a_server_that_waits_for_a_slower_one() -> None:
    records = [
        record(0, 0.0, None, 8),
        record(0, 2.0, None, 8),
        record(1, 0.0, None, 8),
        record(1, 10.0, None, 8),
    ]
    assert idle_early(URLS, records) == (
        "http://a had no more requests after 4.0 s of 12.0 s, because requests are divided evenly and "
        "http://b was slower: throughput is limited by the slower server; measure them one by one, or with "
        "load.duration_s"
    )
    assert idle_early(URLS, [r for r in records if r.start_s < 10.0]) is None
    short = [replace(r, submitted_s=r.submitted_s / 20, last_token_s=r.last_token_s / 20) for r in records]
    assert idle_early(URLS, short) is None, "0.4 s"


@pytest.mark.parametrize(
    ("span_s", "longest_s", "normal_s", "too_long_s"),
    [(5.0, 0.1, 0.9, 1.1), (40.0, 0.1, 3.9, 4.1), (40.0, 5.0, 9.9, 10.1)],
    ids=["1 s", "a tenth of the time", "two requests"],
)
def test_how_much_earlier_a_server_may_end(
    span_s: float, longest_s: float, normal_s: float, too_long_s: float
) -> None:
    """The longest of the three counts, whenever the measurement began."""
    for idle_s in (normal_s, too_long_s):
        begin_s, end_s = 100.0, 100.0 + span_s
        times = [
            (0, begin_s, begin_s + longest_s),
            (0, end_s - idle_s - longest_s, end_s - idle_s),
            (1, begin_s, end_s),
        ]
        records = [RequestRecord(0, start, None, end, 8, 8, server=server) for server, start, end in times]
        found = idle_early(URLS, records)
        said = f"http://a had no more requests after {span_s - idle_s:.1f} s of {span_s:.1f} s, "
        assert (found or "").startswith(said) is (idle_s == too_long_s)


def test_a_server_without_any_request() -> None:
    found = idle_early(URLS, [RequestRecord(0, 100.0, None, 101.5, 8, 8, server=0)])
    assert found is not None
    assert found.startswith("http://b had no more requests after 0.0 s of 1.5 s, ")
