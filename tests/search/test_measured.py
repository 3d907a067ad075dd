"""The evidence of a measurement."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_dsr1.metrics.inputs import SloLimits
from pytest_dsr1.records import RequestRecord
from pytest_dsr1.search.measured import measured_probe

LIMITS = SloLimits(ttft_ms=200.0, tpot_ms=50.0)


def requests(count: int, latency_s: float = 0.24) -> list[RequestRecord]:
    """One every second: the first token after 0.1 s, and 3 more after 0.14 s."""
    return [
        RequestRecord(i, 100.0 + i, 100.1 + i, 100.0 + i + latency_s, input_tokens=8, output_tokens=4)
        for i in range(count)
    ]


def test_a_request_must_keep_every_limit_and_succeed() -> None:
    records = requests(100)
    records[50] = replace(records[50], first_token_s=records[50].submitted_s + 0.201)
    records[60] = replace(records[60], last_token_s=records[60].submitted_s + 0.26)
    records[70] = replace(records[70], error="HTTP 500")
    records[80] = replace(records[80], first_token_s=None)
    found = measured_probe(2.0, reversed_by_id(records), LIMITS, 0.99, concurrency=None)
    assert (found.load, found.sent, found.requests, found.kept) == (2.0, 100, 90, 86)
    assert not found.oversaturated
    loose = SloLimits(ttft_ms=300.0)
    assert measured_probe(2.0, records, loose, 0.99, concurrency=None).kept == 88


def reversed_by_id(records: list[RequestRecord]) -> list[RequestRecord]:
    """Engines report requests in the order of their ends."""
    return records[::-1]


def test_a_wait_for_a_free_slot_counts_in_an_open_loop() -> None:
    records = [replace(each, scheduled_s=each.submitted_s - 0.15) for each in requests(100)]
    assert measured_probe(2.0, records, LIMITS, 0.99, concurrency=None).kept == 0


def test_a_closed_loop_leaves_out_its_first_and_last_requests() -> None:
    records = requests(100)
    for i in (*range(20), *range(80, 100)):
        records[i] = replace(records[i], last_token_s=records[i].submitted_s + 9)
    found = measured_probe(20.0, records, LIMITS, 0.99, concurrency=20)
    assert (found.requests, found.kept, found.sent) == (60, 60, 100)


@pytest.mark.parametrize("concurrency", [None, 500])
def test_only_an_open_loop_is_oversaturated(concurrency: int | None) -> None:
    """One request every second, and one is answered every two."""
    records = [
        replace(each, first_token_s=102.0 + 2 * i, last_token_s=102.0 + 2 * i)
        for i, each in enumerate(requests(300))
    ]
    found = measured_probe(1.0, records, LIMITS, 0.99, concurrency=concurrency)
    assert found.oversaturated == (concurrency is None)


def test_no_request_is_no_evidence() -> None:
    found = measured_probe(1.0, [], LIMITS, 0.99, concurrency=None)
    assert (found.requests, found.effective, found.oversaturated) == (0, 0.0, False)
