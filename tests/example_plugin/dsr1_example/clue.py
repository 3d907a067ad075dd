"""A clue: the echo is slow."""

from __future__ import annotations

from collections.abc import Iterable

from pytest_dsr1.diagnosis.clues import Clue, clue
from pytest_dsr1.measurement.measurement import Measurement

SLOW_MS = 10.0


@clue("slow-echo", page="the page of dsr1-example")
def slow_echo(measurement: Measurement) -> str | None:
    """An answer takes longer than an echo should."""
    latency = measurement.metrics.get("average_request_latency")
    if latency is None or latency.value < SLOW_MS:
        return None
    return f"an echo takes {latency.value:.0f} ms, expected less than {SLOW_MS:g} ms: lower engine.delay_s"


def pytest_dsr1_clues() -> Iterable[Clue]:
    """List the clue."""
    return [slow_echo]
