"""How long a gated run is."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from pytest_dsr1.steady.figure import Evidence, NoEvidenceError, evidence
from pytest_dsr1.steady.run_length import gated_requests, run_length_s
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


def seen(waves: int, concurrency: int, se_percent: float) -> Evidence:
    run = closed_loop(waves * concurrency, concurrency, lambda _, __: (2.0, 8.0))
    figure = evidence(run, "total_output_throughput", warmup_requests=concurrency)
    return replace(figure, se_percent=se_percent)


@pytest.mark.parametrize(("concurrency", "most", "least"), [(16, 20 * 16, 5 * 16), (1, 20, 4)])
def test_at_least_three_latencies_after_the_warm_up(concurrency: int, most: int, least: int) -> None:
    """Of several users the last wave drains; of one the last request counts."""
    runs = [seen(20, concurrency, 0.01)] * 3
    requests = gated_requests(runs, startup_s=60.0, between_variance=1e-4, concurrency=concurrency, most=most)
    assert requests == least
    run = closed_loop(requests, concurrency, lambda _, __: (2.0, 8.0))
    window_s = evidence(run, "total_output_throughput", warmup_requests=concurrency).window_s
    assert window_s == pytest.approx(30.0)


def test_the_optimum_is_rounded_up_to_whole_waves() -> None:
    """S = 280 + 10 of warm-up + 10 of drain; v = 1e-4 * 180 s; b = 5e-4: T = sqrt(300 * 36) = 103.9 s."""
    runs = [seen(20, 16, 1.0)] * 3
    length = {"startup_s": 280.0, "concurrency": 16}
    assert gated_requests(runs, between_variance=5e-4, most=320, **length) == 16 * (1 + 11 + 1)  # type: ignore[arg-type]
    assert gated_requests(runs, between_variance=0.0, most=320, **length) == 320  # type: ignore[arg-type]
    assert gated_requests(runs, between_variance=1e-9, most=327, **length) == 320  # type: ignore[arg-type]


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
    with pytest.raises(NoEvidenceError) as error:
        gated_requests([seen(4, 16, 0.1)] * 3, startup_s=60.0, between_variance=1e-4, concurrency=16, most=64)
    assert str(error.value) == (
        "runs of 64 requests are too short for a gate: 3 request latencies (10.0 s each) after 10.0 s of "
        "warm-up take 80 requests at load.concurrency 16; raise load.num_requests and record anew"
    )
