"""When a run may stop."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import chi2

from pytest_dsr1.records import RequestRecord
from pytest_dsr1.steady import enough
from pytest_dsr1.steady.enough import EnoughSeen
from pytest_dsr1.steady.figure import Evidence, evidence
from pytest_dsr1.steady.trace import Trace
from tests.helpers.loops import closed_loop


def ended(run: Trace) -> list[RequestRecord]:
    """Its records in order of completion; the clock stood at 500 s when it began."""
    rows = [
        RequestRecord(i, 500 + start, None if first is None else 500 + first, 500 + last, read, tokens, steps)
        for i, (start, first, last, read, tokens, steps) in enumerate(run.requests)
    ]
    return sorted(rows, key=lambda r: r.last_token_s)


def run_of(count: int, concurrency: int, sd: float) -> Trace:
    factors = 1 + sd * np.random.default_rng(8).normal(size=count)
    return closed_loop(count, concurrency, lambda i, _: (0.1, factors[i]))


def watcher(se_percent: float, concurrency: int = 4, **changes: Any) -> EnoughSeen:
    settings = {"concurrency": concurrency, "gpus": 8, "open_loop": False, "warmup_requests": concurrency}
    return EnoughSeen("total_output_throughput", se_percent, **{**settings, **changes})


def stop(run: Trace, may_stop: EnoughSeen) -> int | None:
    """After how many records it may stop."""
    return next((i + 1 for i, record in enumerate(ended(run)) if may_stop(record)), None)


@pytest.mark.parametrize("concurrency", [1, 4])
def test_it_stops_when_the_error_is_small(concurrency: int) -> None:
    run = run_of(2000, concurrency, 0.05)
    counts = [stop(run, watcher(se, concurrency)) for se in (2.0, 0.5, 0.2)]
    assert None not in counts
    assert counts == sorted(counts), "smaller errors take longer"  # type: ignore[type-var]
    for se_percent, count in zip((2.0, 0.5, 0.2), counts, strict=True):
        kept = ended(run)[:count]
        whole = next(i for i in range(2001) if i not in {r.id for r in kept})
        seen = evidence(run, "total_output_throughput", warmup_requests=concurrency, requests=whole)
        assert seen.se_percent * enough.SURE < se_percent
        assert len(seen.batches) == 10
        assert seen.window_s >= 3 * seen.latency_s


def test_the_error_is_surely_small() -> None:
    """What ten batches state is a chi-squared variable of nine degrees of freedom."""
    assert pytest.approx((9 / chi2.ppf(0.05, 9)) ** 0.5, abs=5e-4) == enough.SURE
    seen = Evidence(1.0, 0.2 / enough.SURE, 1.0, 60.0, 1.0, 61, (1.0,) * 10)
    assert not enough.may_end(seen, 0.2)
    assert enough.may_end(seen, 0.2001)


def test_it_goes_on_when_the_error_is_not_small() -> None:
    assert stop(run_of(400, 4, 0.05), watcher(0.01)) is None


def test_few_waves_are_never_enough() -> None:
    """Requests in step have no error at all, but ten batches are needed to believe it.

    It looks after 11 waves, which hold nine after the warm-up and before the drain, and 5% later.
    """
    run = closed_loop(16 * 20, 16, lambda _, __: (0.2, 0.8))
    assert stop(run, watcher(0.1, 16)) == 11 * 16 + 9
    assert stop(closed_loop(16 * 11, 16, lambda _, __: (0.2, 0.8)), watcher(0.1, 16)) is None


def test_a_request_that_lasts_holds_up_those_after_it() -> None:
    run = closed_loop(400, 4, lambda i, _: (0.1, 1e6 if i == 9 else 1.0))
    assert stop(run, watcher(5.0)) == 400, "only when it has ended"


def test_failed_requests_end_too() -> None:
    run = run_of(200, 4, 0.01)
    may_stop = watcher(1.0)
    for record in ended(run)[:3]:
        failed = RequestRecord(record.id, record.submitted_s, None, record.last_token_s, 1, 0, error="lost")
        assert not may_stop(failed)
    assert any(may_stop(record) for record in ended(run)[3:])


def test_what_cannot_be_told_is_not_enough() -> None:
    run = closed_loop(200, 1, lambda _, __: (0.1, 0.9), streaming=False)
    settings = {"concurrency": 1, "gpus": 0, "open_loop": False, "warmup_requests": 1}
    assert stop(run, EnoughSeen("average_ttft", 5.0, **settings)) is None  # type: ignore[arg-type]


def test_looks_are_rare(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []

    def counted(run: Trace, metric: str, **settings: Any) -> Evidence:
        looked.append(len(run.requests))
        return evidence(run, metric, **settings)

    monkeypatch.setattr(enough, "evidence", counted)
    assert stop(run_of(3000, 1, 0.05), watcher(1e-6, 1)) is None
    assert sum(looked) < 22 * 3000
    assert max(looked) > 2800
