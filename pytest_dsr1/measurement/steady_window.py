"""The steady part of a closed loop: without ramp-up and drain, in which fewer requests share the machine."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from pytest_dsr1.measurement.token_flow import flowed, output_flow
from pytest_dsr1.records import RequestRecord
from pytest_dsr1.scenario.schema.scenario import Load

FULL = 0.95
"""The share of the concurrency that must be in flight."""


def steady_window(records: Sequence[RequestRecord], concurrency: int) -> tuple[float, float] | None:
    """Begin and end (monotonic s) of the longest time in which enough requests were in flight.

    Between the end of a request and the start of the next in its place nothing is in flight for a moment;
    gaps of up to a thousandth of the run do not end a window.
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


def steady_metrics(records: Sequence[RequestRecord], concurrency: int) -> dict[str, float]:
    """The metrics ``steady_...`` of the requests that succeeded; empty where there is no window.

    Args:
        records: of a closed loop.
        concurrency: the scenario's.
    """
    done = [r for r in records if r.error is None]
    window = steady_window(records, concurrency)
    if not done or window is None or window[1] <= window[0]:
        return {}
    begin, end = window
    tokens = _tokens_within(done, begin, end)
    metrics = {"steady_window": (end - begin) * 1e3, "steady_output_throughput": tokens / (end - begin)}
    inside = [r for r in done if r.start_s >= begin and r.last_token_s <= end and r.first_token_s is not None]
    ttft = [r.first_token_s - r.start_s for r in inside if r.first_token_s is not None]
    tpot = [
        (r.last_token_s - r.first_token_s) / (r.output_tokens - 1)
        for r in inside
        if r.first_token_s is not None and r.output_tokens > 1 and r.last_token_s > r.first_token_s
    ]
    if ttft:
        metrics["steady_average_ttft"] = fmean(ttft) * 1e3
    if tpot:
        metrics["steady_average_tpot"] = fmean(tpot) * 1e3
    return {name: value for name, value in metrics.items() if value > 0}


def why_none(records: Sequence[RequestRecord], load: Load) -> str:
    """Why a run has no steady window."""
    if not records:
        return "the engine gives no record of each request"
    if load.arrival is not None:
        return "requests come on a schedule, so that no number of them is always in flight"
    return (
        f"at no time were at least {FULL:.0%} of load.concurrency ({load.concurrency}) requests in flight, "
        "with tokens coming"
    )


def _tokens_within(records: Sequence[RequestRecord], begin: float, end: float) -> float:
    """Output tokens after ``begin`` and up to ``end``; without streaming a request's come at its end."""
    import numpy as np

    rows = [(r.last_token_s if r.first_token_s is None else r.first_token_s, r.last_token_s) for r in records]
    first_s, last_s = np.array(rows, dtype=float).T
    tokens = np.array([r.output_tokens for r in records], dtype=float)
    before, after = flowed(np.array([begin, end]), *output_flow(first_s, first_s, last_s, tokens))
    return float(after - before)
