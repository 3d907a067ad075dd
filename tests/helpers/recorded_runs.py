"""Runs in the form in which a gate records them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from pytest_dsr1.gate.recordings import RecordedAnswers, record
from pytest_dsr1.machine.values import FactValue, Fingerprint, Telemetry
from pytest_dsr1.steady.trace import Trace, trace
from tests.helpers.reference_store import FACTS, NOW
from tests.helpers.values import measurement


def record_run(store: Path, **changes: Any) -> Path:
    measured = measurement(**{"fingerprint": Fingerprint(FACTS), **changes})
    return record(store, measured, trace(measured))


def run_of(speed: float = 1.0, requests: int = 60, startup_s: float = 30.0) -> Trace:
    """Return requests of two users, 4 tokens and about 1 s each: 8 tok/s, with a wobble of 2% per request."""
    rows = []
    free_s = [0.0, 0.0]
    for number in range(requests):
        start_s = free_s[number % 2]
        end_s = start_s + (1 + 0.02 * math.sin(number * 2.3)) / speed
        rows.append((round(start_s, 6), None, round(end_s, 6), 8, 4, None))
        free_s[number % 2] = end_s
    return Trace(tuple(sorted(rows)), (), 2, 0, open_loop=False, startup_s=startup_s)


def record_nth_run(
    store: Path,
    number: int,
    *,
    trace: Trace | None = None,
    facts: Mapping[str, FactValue] = FACTS,
    at: datetime | None = None,
    telemetry: Telemetry | None = None,
    answers: Mapping[str, RecordedAnswers] | None = None,
) -> Path:
    """Record one run of a series with two runs per day, the first ten days ago, and a noise of about 1%."""
    began = at or NOW - timedelta(days=10 - number // 2, hours=number % 2)
    measured = measurement(
        started_utc=began.isoformat(), fingerprint=Fingerprint(facts), telemetry=telemetry or Telemetry()
    )
    return record(store, measured, trace or run_of(1 + 0.01 * math.sin(number)), answers)
