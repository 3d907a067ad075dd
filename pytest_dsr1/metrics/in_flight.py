"""The steady window: the time in which enough requests of a closed loop were in flight."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_dsr1.records import RequestRecord

FULL = 0.95
"""The share of the concurrency that must be in flight."""


def steady_window(records: Sequence[RequestRecord], concurrency: int) -> tuple[float, float] | None:
    """Return start and end (monotonic s) of the longest time in which enough requests were in flight.

    After a request ends, its slot is empty for a moment until the next request starts. Gaps of up to a
    thousandth of the run do not end a window.
    """
    if not records:
        return None
    changes = sorted([(r.start_s, 1) for r in records] + [(r.last_token_s, -1) for r in records])
    bridge_s = (changes[-1][0] - changes[0][0]) / 1000
    needed = FULL * min(concurrency, len(records))
    best: tuple[float, float] | None = None
    begin: float | None = None
    left_s = 0.0
    flying = 0
    for time_s, change in changes:
        flying += change
        if flying >= needed:
            if begin is None or time_s - left_s > bridge_s:
                begin = time_s
            left_s = float("inf")
        elif left_s == float("inf"):
            left_s = time_s
            if begin is not None and (best is None or left_s - begin > best[1] - best[0]):
                best = begin, left_s
    return best
