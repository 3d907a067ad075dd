"""How long a gated run is, and when it may stop."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.stats import chi2

from pytest_dsr1.records import RequestRecord
from pytest_dsr1.steady import run_length
from pytest_dsr1.steady.figure import NoSteadyFigureError, SteadyFigure, steady_figure
from pytest_dsr1.steady.run_length import SURE, EnoughSeen, gated_requests, may_end, run_length_s
from pytest_dsr1.steady.trace import Trace
from tests.helpers.loops import closed_loop


def test_kalibera_and_jones() -> None:
    """The published cases of start-up 300 s: 60, 124 and 189 s."""
    within = (np.array([0.5, 1.0, 3.0]) / 100) ** 2 * 4
    between = (np.array([0.5, 1.0, 2.0]) / 100) ** 2
    np.testing.assert_allclose(run_length_s(300.0, within, between, 0.0), np.sqrt(300 * within / between))
    assert run_length_s(300.0, 12e-4, 1e-4, 0.0) == pytest.approx(60.0)
    assert run_length_s(300.0, 12e-4, 1e-4, 120.0) == 120.0


def test_the_length_is_where_variance_times_cost_is_least() -> None:
    lengths = np.linspace(10, 600, 5901)
    product = (1e-4 + 6e-3 / lengths) * (200 + lengths)
    assert run_length_s(200.0, 6e-3, 1e-4, 0.0) == pytest.approx(lengths[product.argmin()], abs=0.1)


@pytest.mark.parametrize("between", [0.0, -1e-6])
def test_without_noise_between_runs_none_is_too_long(between: float) -> None:
    lengths = run_length_s(300.0, np.array([1e-4, 0.0]), np.array([between, between]), 5.0)
    assert lengths.tolist() == [math.inf, math.inf]


def seen(waves: int, concurrency: int, se_percent: float) -> SteadyFigure:
    run = closed_loop(waves * concurrency, concurrency, lambda _, __: (2.0, 8.0))
    figure = steady_figure(run, "total_output_throughput", warmup_requests=concurrency)
    return replace(figure, se_percent=se_percent)


@pytest.mark.parametrize(("concurrency", "most", "least"), [(16, 20 * 16, 5 * 16), (1, 20, 4)])
def test_at_least_three_latencies_after_the_warm_up(concurrency: int, most: int, least: int) -> None:
    """Of several users the last wave drains; of one the last request counts."""
    runs = [seen(20, concurrency, 0.01)] * 3
    requests = gated_requests(runs, startup_s=60.0, between_variance=1e-4, concurrency=concurrency, most=most)
    assert requests == least
    run = closed_loop(requests, concurrency, lambda _, __: (2.0, 8.0))
    window_s = steady_figure(run, "total_output_throughput", warmup_requests=concurrency).window_s
    assert window_s == pytest.approx(30.0)


def test_the_optimum_is_rounded_up_to_whole_waves() -> None:
    """S = 280 + 10 of warm-up + 10 of drain; v = 1e-4 * 180 s; b = 5e-4: T = sqrt(300 * 36) = 103.9 s."""
    runs = [seen(20, 16, 1.0)] * 3
    length = {"startup_s": 280.0, "concurrency": 16}
    assert gated_requests(runs, between_variance=5e-4, most=320, **length) == 16 * (1 + 11 + 1)  # type: ignore[arg-type]
    assert gated_requests(runs, between_variance=0.0, most=320, **length) == 320  # type: ignore[arg-type]
    assert gated_requests(runs, between_variance=1e-9, most=327, **length) == 320  # type: ignore[arg-type]


@pytest.mark.parametrize(("best_s", "more"), [(100.45, 0), (100.55, 1)])
@pytest.mark.parametrize(("concurrency", "not_counted_s"), [(1, 10.0), (2, 20.0), (16, 20.0)])
def test_one_user_does_not_drain(concurrency: int, not_counted_s: float, best_s: float, more: int) -> None:
    """T = sqrt(S * v / b), where S has the warm-up of 10 s and several users' drain, and v = 1e-4 * W."""
    runs = [seen(40, concurrency, 1.0)] * 3
    start_s = best_s**2 * 10 / runs[0].window_s - not_counted_s
    length = {"startup_s": start_s, "concurrency": concurrency, "most": 40 * concurrency}
    requests = gated_requests(runs, between_variance=1e-3, **length)  # type: ignore[arg-type]
    assert requests == concurrency * (not_counted_s + 100) / 10 + more * concurrency


def test_no_window_is_shorter_than_three_latencies_of_the_median_run() -> None:
    """50 requests of 50 s, twice, and of 410 s: 10 s of warm-up and 30 s are 40 of the median run."""
    runs = [
        replace(seen(50, 1, 0.01), cut_s=10.0, window_s=window_s, latency_s=latency_s)
        for window_s, latency_s in ((40.0, 5.0), (400.0, 20.0), (40.0, 10.0))
    ]
    assert gated_requests(runs, startup_s=0.0, between_variance=1.0, concurrency=1, most=50) == 40


@pytest.mark.parametrize(("readings_s", "requests"), [(0.0, 64), (29.9, 80), (41.0, 112), (1e3, 320)])
def test_a_window_has_enough_readings_if_the_runs_have(readings_s: float, requests: int) -> None:
    runs = [replace(seen(20, 16, 0.01), latency_s=4.0)] * 3
    length = {"startup_s": 0.0, "between_variance": 1.0, "concurrency": 16, "most": 320}
    assert gated_requests(runs, readings_s=readings_s, **length) == requests  # type: ignore[arg-type]


def test_a_window_without_readings_may_be_shorter_than_a_second() -> None:
    """Waves of 0.1 s: one of warm-up, three that count and one that drains."""
    runs = [replace(seen(20, 16, 0.01), cut_s=0.1, window_s=1.8, latency_s=0.1)] * 3
    assert gated_requests(runs, startup_s=0.0, between_variance=1.0, concurrency=16, most=320) == 5 * 16


def test_an_odd_warm_up_does_not_decide() -> None:
    runs = [*[seen(5, 16, 0.01)] * 2, replace(seen(5, 16, 0.01), cut_s=20.0, window_s=20.0)]
    assert gated_requests(runs, startup_s=0.0, between_variance=1e-4, concurrency=16, most=80) == 80


def test_runs_that_are_slow_as_a_whole_do_not_decide() -> None:
    """Starts of cpu-max-throughput on a busy machine: five waves each, two starts at half the speed."""
    waves_s = [0.39, 0.37, 0.8, 0.4, 0.455, 0.394, 0.399, 0.787]
    waves_s += [0.447, 0.379, 0.416, 0.422, 0.435, 0.498, 0.39, 0.4]
    runs = [
        replace(seen(5, 16, 1.0), cut_s=1.03 * wave_s, window_s=3 * wave_s, latency_s=0.997 * wave_s)
        for wave_s in waves_s
    ]
    assert gated_requests(runs, startup_s=2.9, between_variance=0.05, concurrency=16, most=80) == 80


def test_runs_that_are_too_short_are_refused() -> None:
    with pytest.raises(NoSteadyFigureError) as error:
        gated_requests([seen(4, 16, 0.1)] * 3, startup_s=60.0, between_variance=1e-4, concurrency=16, most=64)
    assert str(error.value) == (
        "runs of 64 requests are too short for a gate: it needs 10.0 s of warm-up plus 3 request "
        "latencies (10.0 s each), which takes 80 requests at load.concurrency 16; raise "
        "load.num_requests and record again"
    )


# When a run may stop


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
        seen = steady_figure(run, "total_output_throughput", warmup_requests=concurrency, requests=whole)
        assert seen.se_percent * SURE < se_percent
        assert len(seen.batches) == 10
        assert seen.window_s >= 3 * seen.latency_s


def test_the_error_is_surely_small() -> None:
    """What ten batches state is a chi-squared variable of nine degrees of freedom."""
    assert pytest.approx((9 / chi2.ppf(0.05, 9)) ** 0.5, abs=5e-4) == SURE
    seen = SteadyFigure(1.0, 0.2 / SURE, 1.0, 60.0, 1.0, 61, (1.0,) * 10)
    assert not may_end(seen, 0.2)
    assert may_end(seen, 0.2001)


@pytest.mark.parametrize(("latency_s", "ends"), [(1.0, True), (20.0, True), (20.1, False), (40.0, False)])
def test_three_latencies_are_the_shortest_window(latency_s: float, ends: bool) -> None:
    assert may_end(SteadyFigure(1.0, 0.01, 1.0, 60.0, latency_s, 61, (1.0,) * 10), 0.2) == ends


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


def test_what_cannot_be_known_is_not_enough() -> None:
    run = closed_loop(200, 1, lambda _, __: (0.1, 0.9), streaming=False)
    settings = {"concurrency": 1, "gpus": 0, "open_loop": False, "warmup_requests": 1}
    for metric in ("average_ttft", "energy_per_output_token"):  # energy is known only after the run
        assert stop(run, EnoughSeen(metric, 5.0, **settings)) is None  # type: ignore[arg-type]


def test_looks_are_rare(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []

    def counted(run: Trace, metric: str, **settings: Any) -> SteadyFigure:
        looked.append(len(run.requests))
        return steady_figure(run, metric, **settings)

    monkeypatch.setattr(run_length, "steady_figure", counted)
    assert stop(run_of(3000, 1, 0.05), watcher(1e-6, 1)) is None
    assert sum(looked) < 22 * 3000
    assert max(looked) > 2800
