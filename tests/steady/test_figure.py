"""The steady figure of runs whose truth is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_dsr1.engines.openai.settings import OpenAi
from pytest_dsr1.engines.tensorrt_llm.settings import TrtllmBench
from pytest_dsr1.metrics.catalogue import METRICS, gateable
from pytest_dsr1.records import RequestRecord
from pytest_dsr1.steady.figure import (
    NoSteadyFigureError,
    SteadyFigure,
    output_rates,
    steady_figure,
    warmup_of,
)
from pytest_dsr1.steady.trace import Trace
from tests.helpers import values
from tests.helpers.loops import closed_loop, powered, trace
from tests.helpers.metrics import from_records

RATES = {
    "request_throughput": 16.0,
    "total_output_throughput": 16 * 101.0,
    "total_token_throughput": 16 * 1101.0,
    "per_gpu_output_throughput": 2 * 101.0,
    "energy_per_output_token": 5600 / (16 * 101.0),
    "energy_per_request": 5600 / 16,
    "output_throughput_per_watt": 16 * 101.0 / 5600,
    "mean_power": 5600.0,
    "mean_power_per_gpu": 700.0,
}
MEANS = {
    "per_user_output_throughput": 101.0,
    "average_request_latency": 1000.0,
    "average_ttft": 200.0,
    "average_tpot": 8.0,
    "per_user_output_speed": 125.0,
    "acceptance_length": 2.02,
}


def in_step(_: int, __: float) -> tuple[float, float]:
    """Every request takes a second."""
    return 0.2, 0.8


def noisy(seed: int, sd: float = 0.05) -> Trace:
    """400 requests, 8 at a time, of different lengths."""
    random = np.random.default_rng(seed)
    lengths = random.integers(50, 200, 400)
    factors = 1 + sd * random.normal(size=400)
    run = closed_loop(
        400, 8, lambda i, _: (0.1, lengths[i] * 0.01 * factors[i]), tokens=lambda i: int(lengths[i])
    )
    return powered(run)


def read_in_turn(count: int, sd: float, seed: int = 3) -> Trace:
    """64 at a time, which are read one after another: little comes out meanwhile."""
    factors = 1 + sd * np.random.default_rng(seed).normal(size=count)
    read_s = 0.0

    def times(i: int, start_s: float) -> tuple[float, float]:
        nonlocal read_s
        read_s = max(read_s, start_s) + 0.005
        return read_s - start_s + 0.001, 2 * factors[i]

    return closed_loop(count, 64, times)


def test_every_gateable_metric_is_known() -> None:
    assert {*RATES, *MEANS} == set(gateable())


@pytest.mark.parametrize("metric", gateable())
@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize("waves", [5.0, 5.3, 5.7, 6.0])
def test_waves_in_step_are_counted_whole(metric: str, streaming: bool, waves: float) -> None:
    """16 requests a second, whatever part of a wave the run ends in; ramp-up and drain are left out."""
    run = powered(closed_loop(int(16 * waves), 16, in_step, streaming=streaming))
    if not streaming and metric in {"average_ttft", "average_tpot", "per_user_output_speed"}:
        with pytest.raises(NoSteadyFigureError, match=r"has no steady figure: not every request has"):
            steady_figure(run, metric, warmup_requests=16)
        return
    seen = steady_figure(run, metric, warmup_requests=16)
    assert seen.value == pytest.approx({**RATES, **MEANS}[metric], rel=1e-9)
    assert seen.se_percent == pytest.approx(0, abs=1e-9)
    assert seen.cut_s + seen.window_s <= int(waves) + 1e-9
    assert seen.window_s >= 3 - 1e-9
    assert seen.latency_s == pytest.approx(1)
    assert seen.requests == int(16 * waves)
    assert len(seen.batches) == round(seen.window_s)


@pytest.mark.parametrize(
    "metric", ["request_throughput", "total_output_throughput", "total_token_throughput"]
)
def test_the_part_of_a_wave_does_not_bias(metric: str) -> None:
    """Waves that are spread and differ: 3.0, 3.3 and 3.7 of them after the warm-up give the same figure."""
    run = read_in_turn(400, 0.002)
    figures = [
        steady_figure(run, metric, warmup_requests=64, requests=round(64 * (2 + waves))).value
        for waves in (3.0, 3.3, 3.7)
    ]
    assert max(figures) / min(figures) < 1.002
    whole = len(run.requests) / max(r[2] for r in run.requests)
    assert steady_figure(run, "request_throughput", warmup_requests=64).value > 1.02 * whole, (
        "drain and ramp-up"
    )


def test_what_recurs_in_each_wave_is_no_warm_up() -> None:
    """Of twelve waves the first and the last do not count; mostly all others do, with a pause in each."""
    windows = [
        round(seen.window_s / seen.latency_s)
        for seed in range(20)
        for seen in [
            steady_figure(read_in_turn(12 * 64, 0.02, seed), "total_output_throughput", warmup_requests=64)
        ]
    ]
    assert windows.count(10) >= 10
    assert min(windows) >= 6


def test_as_many_requests_end_in_a_window_as_are_sent() -> None:
    """A renewal estimate: with mixed lengths the window holds whole multiples of the concurrency."""
    run = noisy(5)
    seen = steady_figure(run, "request_throughput", warmup_requests=8)
    ended = seen.value * seen.window_s
    assert ended == pytest.approx(round(ended))
    assert round(ended) % 8 == 0


def test_one_user() -> None:
    """Whole requests, from a start to the last end; the first one, slower, is warm-up."""
    run = closed_loop(11, 1, lambda i, _: (0.5 if i == 0 else 0.2, 0.8 + 0.01 * (i % 2)))
    seen = steady_figure(run, "total_output_throughput", warmup_requests=1)
    assert seen.value == pytest.approx(10 * 101 / 10.05)
    assert (seen.cut_s, seen.window_s) == pytest.approx((1.3, 10.05))
    assert seen.requests == 11
    assert seen.batches == pytest.approx([101 / 1.01, 101] * 5)
    assert seen.se_percent == pytest.approx(100 * np.std(seen.batches, ddof=1) / 10**0.5 / 100.5, rel=0.01)
    assert steady_figure(run, "average_ttft", warmup_requests=0).value == pytest.approx((500 + 10 * 200) / 11)


@pytest.mark.parametrize("metric", ["total_output_throughput", "average_request_latency"])
@pytest.mark.parametrize("requests", [10, 11])
def test_a_run_is_judged_as_if_only_its_first_requests_had_been_sent(metric: str, requests: int) -> None:
    run = closed_loop(20, 1, lambda i, _: (0.2, 0.8 + 0.1 * i))
    whole = steady_figure(replace(run, requests=run.requests[:requests]), metric, warmup_requests=2)
    assert steady_figure(run, metric, warmup_requests=2, requests=requests) == whole
    assert whole.requests == requests


def test_warm_up_is_found() -> None:
    """The first 60 of 600 requests are a third slower."""
    random = np.random.default_rng(4)
    run = closed_loop(600, 4, lambda i, _: (0.1, (1.2 if i < 60 else 0.9) + 0.01 * random.normal()))
    for metric, truth in (("total_output_throughput", 404.0), ("average_request_latency", 1000.0)):
        seen = steady_figure(run, metric, warmup_requests=4)
        assert seen.value == pytest.approx(truth, rel=0.002)
        assert seen.cut_s == pytest.approx(60 / 4 * 1.3, rel=0.15)
        assert len(seen.batches) == 10


@pytest.mark.parametrize(("requests", "slow"), [(100, 25), (50, 10)])
def test_warm_up_of_one_user_is_found_to_five_requests(requests: int, slow: int) -> None:
    """Fifty observations are the fewest in which a warm-up is looked for: one per request."""
    run = closed_loop(requests, 1, lambda i, _: (0.5, 1.5 if i < slow else 0.5))
    seen = steady_figure(run, "total_output_throughput", warmup_requests=1)
    assert (seen.cut_s, seen.value) == pytest.approx((2.0 * slow, 101.0))


@pytest.mark.parametrize(
    ("concurrency", "slow", "requests", "window_s"),
    [(16, 32, 191, 9.0), (16, 32, 192, 11.0), (4, 12, 93, 19.0), (4, 12, 94, 20.0)],
)
def test_a_cut_is_moved_forward_by_what_it_does_not_resolve(
    concurrency: int, slow: int, requests: int, window_s: float
) -> None:
    """MSER-5 cuts to five requests, here at 35 and 15: up to four less, or half a wave, are taken.

    Of 192 requests the window begins with the 32nd, which is slow: ten waves take 11 s.
    """
    run = closed_loop(requests, concurrency, lambda i, _: (0.5, 1.5 if i < slow else 0.5))
    assert steady_figure(run, "total_output_throughput", warmup_requests=1).window_s == pytest.approx(
        window_s
    )


def test_a_cut_is_moved_just_as_far_if_the_first_looks_have_no_value() -> None:
    """16 users; 17 requests have one token and no TPOT, then 15 are slow: MSER-5 cuts at 32, less four."""
    for requests, waves in ((203, 9), (204, 10)):
        run = closed_loop(
            requests, 16, lambda i, _: (0.5, 1.5 if i < 32 else 0.5), tokens=lambda i: 1 if i < 17 else 101
        )
        assert len(steady_figure(run, "average_tpot", warmup_requests=1).batches) == waves


def test_requests_without_a_value_are_no_warm_up() -> None:
    """Half of the first 20 requests have no TPOT; all others have the same."""
    run = closed_loop(84, 4, in_step, tokens=lambda i: 1 if i < 20 and i % 2 else 101)
    seen = steady_figure(run, "average_tpot", warmup_requests=4)
    assert (seen.cut_s, seen.window_s, seen.value) == pytest.approx((1, 19, 8))


@pytest.mark.parametrize("metric", ["total_output_throughput", "average_request_latency"])
def test_the_latency_of_a_figure_is_of_the_requests_submitted_in_its_window(metric: str) -> None:
    """Two users in step: two requests of 3 s at its begin, 14 of 1 s, and two of 10 s at its end."""
    run = closed_loop(20, 2, lambda i, _: (0.5, {1: 2.5, 9: 9.5}.get(i // 2, 0.5)))
    assert steady_figure(run, metric, warmup_requests=2).latency_s == pytest.approx((2 * 3 + 14) / 16)


def test_requests_in_flight_when_the_warm_up_ends_are_warm_up_too() -> None:
    """Four users in step: the first request ends with its wave, so one whole wave does not count."""
    run = closed_loop(44, 4, in_step)
    assert steady_figure(run, "total_output_throughput", warmup_requests=1).window_s == pytest.approx(9)
    assert steady_figure(run, "total_output_throughput", warmup_requests=0).window_s == pytest.approx(10)


def test_a_mean_leaves_out_the_drain_of_two_users_and_none_of_one() -> None:
    run = closed_loop(20, 2, lambda i, _: (0.2, 0.8 if i < 18 else 9.8))
    assert steady_figure(run, "average_request_latency", warmup_requests=2).value == pytest.approx(1000)
    alone = steady_figure(closed_loop(20, 1, in_step), "average_ttft", warmup_requests=2)
    assert (alone.cut_s, alone.window_s) == pytest.approx((2, 18))


def test_the_error_of_a_mean_is_that_of_ten_batches_of_equal_size() -> None:
    run = closed_loop(20, 1, lambda i, _: (0.2, 0.8 + 0.01 * (i % 7)))
    seen = steady_figure(run, "average_request_latency", warmup_requests=0)
    assert seen.se_percent == pytest.approx(100 * np.std(seen.batches, ddof=1) / 10**0.5 / seen.value)


def test_one_request_of_one_user_is_enough_for_a_batch() -> None:
    seen = steady_figure(closed_loop(3, 1, in_step), "request_throughput", warmup_requests=1)
    assert seen.batches == (1.0, 1.0)


def test_the_variance_of_a_second_of_window() -> None:
    assert SteadyFigure(8.0, 2.0, 1.0, 50.0, 1.0, 61, (8.0,)).within_variance_s == pytest.approx(0.02)


def test_declared_warm_up_is_kept() -> None:
    run = closed_loop(96, 16, in_step)
    assert steady_figure(run, "total_output_throughput", warmup_requests=32).cut_s == pytest.approx(2)
    assert steady_figure(run, "average_tpot", warmup_requests=32).cut_s == pytest.approx(2)


@pytest.mark.parametrize("metric", MEANS)
def test_means_are_those_of_the_metrics(metric: str) -> None:
    """The same formulas as of a whole run, over the requests that count; one of them has no TPOT."""
    run = noisy(6)
    burst = run.requests[100]
    rows = [*run.requests[:100], (*burst[:1], burst[2], *burst[2:]), *run.requests[101:]]
    seen = steady_figure(replace(run, requests=tuple(rows)), metric, warmup_requests=8)
    counted = [r for r in rows[: 400 - 8] if r[0] >= rows[0][0] + seen.cut_s - 1e-9]
    records = [RequestRecord(i, *row) for i, row in enumerate(counted)]
    assert seen.value == pytest.approx(from_records(records, 8)[metric])
    assert len(counted) % 8 == 0
    assert seen.se_percent > 0


def test_an_open_loop_ends_with_its_last_arrival() -> None:
    """Requests of 2 s arrive every tenth of a second; at the end the machine drains for 2 s."""
    run = trace([(i / 10, i / 10 + 1, i / 10 + 2, 1000, 101, 50) for i in range(301)], 10_000, open_loop=True)
    seen = steady_figure(run, "total_output_throughput", warmup_requests=10)
    assert seen.value == pytest.approx(1010, rel=1e-3)
    assert seen.cut_s + seen.window_s == pytest.approx(30)
    assert steady_figure(run, "average_request_latency", warmup_requests=10).value == pytest.approx(2000)


def test_warm_up_of_an_open_loop_is_found_in_intervals_of_time() -> None:
    """A tenth of a second apart, of 0.05 s each; the first 100 have a tenth of the tokens."""
    rows = [(i / 10, i / 10 + 0.049, i / 10 + 0.05, 8, 10 if i < 100 else 100, None) for i in range(401)]
    run = trace(rows, 512, open_loop=True)
    seen = steady_figure(run, "total_output_throughput", warmup_requests=1)
    assert (seen.cut_s, seen.value) == pytest.approx((10.0, 1000.0))


@pytest.mark.parametrize(
    ("requests", "warmup", "cut_s"), [(51, 1, 10.0), (51, 20, 20.0), (50, 1, 1.0), (50, 0, 0.0)]
)
def test_warm_up_of_an_open_loop_is_looked_for_once_fifty_requests_have_ended(
    requests: int, warmup: int, cut_s: float
) -> None:
    """One per second, of a second each: the last has not ended when the window does. Ten are short."""
    rows = [(float(i), i + 0.99, i + 1.0, 8, 10 if i < 10 else 100, None) for i in range(requests)]
    run = trace(rows, 512, open_loop=True)
    assert steady_figure(run, "total_output_throughput", warmup_requests=warmup).cut_s == cut_s


def test_arrivals_at_one_moment() -> None:
    """Recorded traffic often has whole seconds."""
    run = trace([(i // 20 * 1.0, None, i // 20 + 0.5, 10, 5, None) for i in range(600)], 512, open_loop=True)
    assert steady_figure(run, "request_throughput", warmup_requests=20).value == pytest.approx(20)
    few = trace([(i // 20 * 1.0, None, i // 20 + 0.5, 10, 5, None) for i in range(60)], 512, open_loop=True)
    assert refusal(few, "request_throughput", 20) == (
        "request throughput has no steady figure: nothing was measured for it in part of the window from "
        "1.0 to 2.0 s; make the run longer (load.num_requests)"
    )


# Series


def of_series(rates: list[float], concurrency: int, requests: int) -> Trace:
    series = tuple((i + 1.0, rate) for i, rate in enumerate(rates))
    return Trace((), series, concurrency, 8, open_loop=False, startup_s=0.0, series_requests=requests)


def test_a_series_stands_in_for_output_tokens() -> None:
    """100 requests of 10 tokens, 10 at a time; the first 10 and the last are slow."""
    run = of_series([50.0, 50.0, *[100.0] * 8, 50.0, 50.0], 10, 100)
    seen = steady_figure(run, "total_output_throughput", warmup_requests=10)
    assert (seen.value, seen.cut_s, seen.window_s) == pytest.approx((100, 2, 8))
    assert seen.latency_s == pytest.approx(1, abs=0.2)
    assert steady_figure(run, "per_gpu_output_throughput", warmup_requests=10).value == pytest.approx(12.5)
    shorter = steady_figure(run, "total_output_throughput", warmup_requests=10, requests=50)
    assert (shorter.value, shorter.window_s) == pytest.approx((100, 3))
    assert shorter.requests == 50


def test_a_series_is_divided_by_its_tokens() -> None:
    """One token per second, half of one per request: the first request ends after 0.5 s."""
    seen = steady_figure(of_series([1.0] * 10, 1, 20), "total_output_throughput", warmup_requests=1)
    assert (seen.cut_s, seen.window_s, seen.value) == pytest.approx((0.5, 9.5, 1))
    unequal = replace(of_series([], 1, 20), series=((2.0, 1.0), (2.5, 1.0), (10.0, 1.0)))
    assert steady_figure(unequal, "total_output_throughput", warmup_requests=1).batches == pytest.approx(
        seen.batches
    )


def test_a_batch_without_tokens_has_no_rate() -> None:
    run = closed_loop(11, 1, in_step, tokens=lambda i: 0 if i == 6 else 101)
    assert refusal(run, warmup=1) == (
        "total output throughput has no steady figure: nothing was measured for it in part of the window "
        "from 1.0 to 11.0 s; make the run longer (load.num_requests)"
    )


def test_what_a_series_does_not_show() -> None:
    run = replace(powered(of_series([10.0] * 20, 1, 20)), settings_for=TrtllmBench.settings_for)
    shown = {"total_output_throughput", "per_gpu_output_throughput", "mean_power", "mean_power_per_gpu"}
    shown |= {"energy_per_output_token", "output_throughput_per_watt"}
    assert shown == set(output_rates())
    for metric in set(gateable()) - shown:
        streaming = (
            " and engine.streaming: true"
            if metric in {"average_ttft", "average_tpot", "per_user_output_speed"}
            else ""
        )
        with pytest.raises(NoSteadyFigureError) as error:
            steady_figure(run, metric, warmup_requests=1)
        assert str(error.value) == (
            f"{METRICS[metric].label} has no steady figure: the run has no request records; "
            f"set engine.request_records: true{streaming}"
        )


# Energy


def test_the_energy_in_the_window_is_divided_by_what_came_in_it() -> None:
    """One user, 101 tokens per second; 300 W for 20 s of warm-up, then 600 W, with a reading per second."""
    run = closed_loop(100, 1, in_step)
    energy = tuple((float(s), 300.0 * min(s, 20) + 600.0 * max(s - 20, 0)) for s in range(101))
    run = replace(run, energy=energy)
    truths = {"energy_per_output_token": 600 / 101, "energy_per_request": 600.0, "mean_power": 600.0}
    for metric, truth in {**truths, "output_throughput_per_watt": 101 / 600}.items():
        seen = steady_figure(run, metric, warmup_requests=1)
        assert (seen.cut_s, seen.value) == pytest.approx((20.0, truth)), "MSER-5 cuts where power is steady"


def test_a_reading_per_second_is_enough_for_a_window_of_a_minute() -> None:
    """Requests of 0.7 s out of step with the readings, at a power that swings by a third within each."""
    run = closed_loop(100, 1, lambda _, __: (0.1, 0.6))
    times_s, turns_per_s = np.arange(72.0), 2 * np.pi / 0.7
    joules = 600 * times_s + 200 / turns_per_s * (1 - np.cos(turns_per_s * times_s))
    run = replace(run, energy=tuple(zip(times_s.tolist(), joules.tolist(), strict=True)))
    seen = steady_figure(run, "energy_per_output_token", warmup_requests=1)
    assert seen.value == pytest.approx(600 * 0.7 / 101, rel=0.002)


def test_steady_energy_per_token_is_found_though_no_tokens_come_at_first() -> None:
    """One user: three requests without tokens, then 20 at twice the power."""
    run = closed_loop(100, 1, lambda _, __: (0.5, 0.5), tokens=lambda i: 0 if i < 3 else 100)
    run = replace(run, energy=tuple((float(s), 100.0 * (s + min(s, 23))) for s in range(101)))
    seen = steady_figure(run, "energy_per_output_token", warmup_requests=1)
    assert (seen.cut_s, seen.value) == pytest.approx((23.0, 1.0))


def test_steady_energy_per_token_of_an_open_loop_is_found_though_power_changes() -> None:
    """The first token comes after a second; the power halves at 10 s, and at 20 s with it the tokens."""
    rows = [(i / 10, i / 10 + 1.04, i / 10 + 1.05, 8, 100 if i < 190 else 50, None) for i in range(401)]
    energy = tuple((float(s), 2000.0 * (s + min(s, 20) + 2 * min(s, 10))) for s in range(41))
    run = replace(trace(rows, 512, open_loop=True), energy=energy)
    seen = steady_figure(run, "energy_per_output_token", warmup_requests=1)
    assert (seen.cut_s, seen.value) == pytest.approx((10.0, 4.0))


def test_energy_over_an_open_loop() -> None:
    rows = [(i / 10, i / 10 + 0.049, i / 10 + 0.05, 8, 100, None) for i in range(401)]
    run = powered(trace(rows, 512, open_loop=True))
    assert steady_figure(run, "energy_per_output_token", warmup_requests=1).value == pytest.approx(5.6)


def test_energy_over_a_series() -> None:
    run = powered(of_series([50.0, 50.0, *[100.0] * 16, 50.0, 50.0], 10, 100))
    assert steady_figure(run, "energy_per_output_token", warmup_requests=10).value == pytest.approx(56)


def test_few_readings_are_refused() -> None:
    ten = powered(closed_loop(10, 1, lambda _, __: (0.5, 0.5)), every_s=1.0)
    seen = steady_figure(ten, "mean_power", warmup_requests=1)
    assert (seen.cut_s, seen.window_s, seen.value) == (1.0, 9.0, 5600.0)
    run = powered(closed_loop(96, 16, in_step), every_s=1.0)
    assert refusal(run, "mean_power") == (
        "mean power of all GPUs has no steady figure: the energy counters were read 5 times in the window "
        "from 1.0 to 5.0 s, expected at least 10; make the run longer (load.num_requests)"
    )
    assert refusal(replace(run, energy=()), "mean_power") == (
        "mean_power has no steady figure: the energy of the GPUs was not measured"
    )


# Refusals


def refusal(run: Trace, metric: str = "total_output_throughput", warmup: int = 16) -> str:
    with pytest.raises(NoSteadyFigureError) as error:
        steady_figure(run, metric, warmup_requests=warmup)
    return str(error.value)


def test_what_is_no_sample_of_the_run_is_refused() -> None:
    run = closed_loop(80, 16, in_step)
    assert refusal(run, "ttft_p99").startswith(
        "ttft_p99 has no steady figure: it is neither a rate over time nor a mean over requests; gate one of "
        "total_output_throughput, total_token_throughput, "
    )
    assert refusal(replace(run, gpus=0), "per_gpu_output_throughput") == (
        "per_gpu_output_throughput has no steady figure: the run used no GPU; "
        "set gate.metric: total_output_throughput"
    )
    empty = replace(run, requests=(), settings_for=TrtllmBench.settings_for)
    nothing = (
        "total output throughput has no steady figure: the run has neither request records nor a series over "
        "time; "
    )
    assert refusal(empty) == (
        f"{nothing}set engine.request_records: true (or, for output throughput alone, "
        "engine.llm_api.print_iter_log: true)"
    )
    assert refusal(replace(empty, settings_for={})) == (
        f"{nothing}use an engine and settings that report this"
    )
    unseen = replace(
        run,
        requests=tuple((r[0], None, *r[2:]) for r in run.requests),
        settings_for=OpenAi.settings_for,
    )
    assert refusal(unseen, "average_ttft") == (
        "average time to first token (TTFT) has no steady figure: not every request has the time of its "
        "first token; set engine.streaming: true"
    )
    unknown = replace(run, requests=tuple((*r[:5], None) for r in run.requests))
    assert refusal(unknown, "acceptance_length") == (
        "acceptance length has no steady figure: this engine does not report each request's decoding "
        "iterations; gate another metric, such as gate.metric: total_output_throughput"
    )
    backward = replace(run, requests=(*run.requests[:2], (5.0, 4.0, 3.0, 1, 1, 1), *run.requests[3:]))
    assert refusal(backward) == (
        "request 3 of the run starts before the previous request, or does not end after its own start; "
        "either its times were changed after they were written, or the engine's clock is wrong"
    )
    instant = replace(run, requests=((0.0, 0.0, 0.0, 1, 1, 1), *run.requests[1:]))
    assert refusal(instant).startswith("request 1 of the run starts before the previous request")
    disordered = replace(run, requests=(run.requests[-1], *run.requests[:-1]))
    assert refusal(disordered).startswith("request 2 of the run starts before the previous request")
    late = replace(run, requests=((0.5, *run.requests[0][1:]), *run.requests[1:]))
    assert refusal(late).startswith("request 2 of the run starts before the previous request")


@pytest.mark.parametrize(
    ("concurrency", "warmup", "least"), [(16, 16, 64), (16, 20, 68), (1, 1, 3), (1, 4, 6)]
)
@pytest.mark.parametrize("metric", ["total_output_throughput", "average_tpot"])
def test_too_few_requests(metric: str, concurrency: int, warmup: int, least: int) -> None:
    few = closed_loop(least - 1, concurrency, lambda i, _: (0.2, 0.8 + 1e-3 * i))
    assert refusal(few, metric, warmup) == (
        f"{least - 1} requests are too few for a steady figure: with {warmup} warm-up requests and "
        f"load.concurrency {concurrency}, at least {least} are needed; raise load.num_requests or lower "
        "gate.warmup_requests"
    )
    enough = closed_loop(least, concurrency, lambda i, _: (0.2, 0.8 + 1e-3 * i))
    assert len(steady_figure(enough, metric, warmup_requests=warmup).batches) == 2


def test_more_warm_up_than_requests() -> None:
    message = "too few for a steady figure: with 30 warm-up requests and load.concurrency 4"
    assert message in refusal(closed_loop(20, 4, in_step), warmup=30)
    assert message in refusal(closed_loop(5, 4, in_step), "average_tpot", warmup=30)


@pytest.mark.parametrize("requests", [2, 30])
@pytest.mark.parametrize("metric", ["total_output_throughput", "average_tpot"])
def test_a_run_that_sends_everything_at_once_has_no_steady_part(metric: str, requests: int) -> None:
    assert refusal(closed_loop(requests, 30, in_step), metric, warmup=3) == (
        f"no part of the run is steady, because none of the {requests} requests waited until another one "
        "ended; set load.concurrency to a lower number"
    )


@pytest.mark.parametrize("metric", ["total_output_throughput", "average_tpot"])
def test_of_one_request_the_advice_is_not_to_send_fewer_at_once(metric: str) -> None:
    assert refusal(closed_loop(1, 1, in_step), metric, warmup=1) == (
        "1 requests are too few for a steady figure: with 1 warm-up requests and load.concurrency 1, at "
        "least 3 are needed; raise load.num_requests or lower gate.warmup_requests"
    )


def test_the_warm_up_of_a_load_without_a_limit_is_a_tenth_of_the_requests() -> None:
    arrival = {"type": "poisson", "rate_req_s": 2.0}
    load = {"concurrency": "all", "num_requests": 4388, "arrival": arrival}
    served = values.scenario(engine={"type": "openai"}, load=load)
    assert warmup_of(served) == 439
    assert warmup_of(values.scenario(load={"concurrency": 2, "num_requests": 40})) == 2
    assert warmup_of(values.scenario(load=load | {"arrival": None}, gate={"warmup_requests": 7})) == 7


# Properties

seeds = st.integers(0, 2**32 - 1)
metrics = st.sampled_from(gateable())


def figures(seen: SteadyFigure) -> list[float]:
    return [seen.value, seen.se_percent, seen.cut_s, seen.window_s, seen.latency_s, *seen.batches]


@settings(max_examples=15)
@given(seeds, metrics, st.floats(-1e4, 1e4))
def test_the_time_of_day_does_not_matter(seed: int, metric: str, by_s: float) -> None:
    run = noisy(seed)
    moved = replace(
        run,
        requests=tuple((r[0] + by_s, (r[1] or 0) + by_s, r[2] + by_s, *r[3:]) for r in run.requests),
        energy=tuple((time_s + by_s, joules) for time_s, joules in run.energy),
    )
    here, there = (steady_figure(one, metric, warmup_requests=8) for one in (run, moved))
    assert figures(there) == pytest.approx(figures(here), rel=1e-6, abs=1e-6)


@settings(max_examples=15)
@given(seeds, metrics, st.sampled_from([0.25, 2.0, 1024.0]))
def test_a_slower_clock_scales_everything(seed: int, metric: str, factor: float) -> None:
    run = noisy(seed)
    slower = replace(
        run,
        requests=tuple((r[0] * factor, (r[1] or 0) * factor, r[2] * factor, *r[3:]) for r in run.requests),
        energy=tuple((time_s * factor, joules * factor) for time_s, joules in run.energy),
    )
    here, there = (steady_figure(one, metric, warmup_requests=8) for one in (run, slower))
    powers = {"ms": 1, "tokens/step": 0, "J/tok": 1, "J/req": 1, "W": 0, "W/GPU": 0}
    power = powers.get(METRICS[metric].unit, -1)
    assert there.value == pytest.approx(here.value * factor**power)
    assert there.se_percent == pytest.approx(here.se_percent, abs=1e-9)
    assert there.window_s == pytest.approx(here.window_s * factor)


@settings(max_examples=10)
@given(seeds, metrics)
def test_as_many_requests_as_there_are_is_no_limit(seed: int, metric: str) -> None:
    run = noisy(seed)
    assert steady_figure(run, metric, warmup_requests=8, requests=400) == steady_figure(
        run, metric, warmup_requests=8
    )


@settings(max_examples=10)
@given(seeds, metrics, st.integers(60, 399))
def test_a_limit_is_as_if_no_more_had_been_sent(seed: int, metric: str, requests: int) -> None:
    run = noisy(seed)
    shorter = replace(run, requests=run.requests[:requests])
    assert steady_figure(run, metric, warmup_requests=8, requests=requests) == steady_figure(
        shorter, metric, warmup_requests=8
    )
