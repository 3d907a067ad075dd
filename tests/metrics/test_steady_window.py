"""Metrics of the steady window on hand-made requests."""

from __future__ import annotations

import pytest

from pytest_dsr1.records import RequestRecord
from tests.helpers.metrics import from_records


def test_tokens_before_the_window_do_not_count() -> None:
    """One of two users from 0 to 4 s, the other from 2 s: by then 3 of 5 tokens and a first one have come."""
    rows = [RequestRecord(0, 0.0, 0.0, 4.0, 8, 5), RequestRecord(1, 2.0, 2.0, 4.0, 8, 5)]
    found = from_records(rows, concurrency=2)
    assert found["steady_window"] == 2000.0
    assert found["steady_output_throughput"] == pytest.approx((10 - 4) / 2)
    assert "steady_average_ttft" not in found, "a first token at the start of its request took no time"
    assert found["steady_average_tpot"] == pytest.approx(500.0), "of the request that starts in the window"
