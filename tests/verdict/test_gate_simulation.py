"""The promises of docs/gate.md, on simulated fleets, through the product's own decision functions."""

from __future__ import annotations

from functools import cache

import pytest

from benchmarks.gating.study import Judged, fixed_design_gpu_s, judge
from benchmarks.gating.world import WORLDS
from pytest_dsr1.verdict.gate import alpha

GATES = 20_000
CASES = ((0.2, 1.0), (0.5, 1.5), (0.5, 2.0), (1.0, 2.0), (1.0, 3.0), (2.0, 5.0))
"""Noise between starts and delta, in percent."""


@cache
def judged(noise: float, delta: float, loss: float) -> Judged:
    return judge(WORLDS[noise], delta, loss, alpha=alpha(1), gates=GATES, seed=20)


@pytest.mark.parametrize(("noise", "delta"), CASES)
def test_an_innocent_change_fails_in_at_most_1_percent(noise: float, delta: float) -> None:
    assert alpha(1) <= 0.005
    assert judged(noise, delta, 0.0).fail <= 0.01


@pytest.mark.parametrize(("noise", "delta"), CASES)
def test_a_loss_of_delta_fails_in_at_least_94_percent(noise: float, delta: float) -> None:
    assert judged(noise, delta, delta).fail >= 0.94


@pytest.mark.parametrize(("noise", "delta"), CASES)
def test_a_loss_of_twice_delta_fails_in_at_least_999_permille(noise: float, delta: float) -> None:
    assert judged(noise, delta, 2 * delta).fail >= 0.999


@pytest.mark.parametrize(("noise", "delta"), CASES)
def test_an_innocent_change_costs_a_fraction_of_the_fixed_design(noise: float, delta: float) -> None:
    share = judged(noise, delta, 0.0).gpu_s.mean() / fixed_design_gpu_s(WORLDS[noise], delta, alpha(1))
    assert share <= {0.2: 0.50, 2.0: 0.33}.get(noise, 0.30)


@pytest.mark.parametrize(("noise", "delta"), CASES)
def test_a_loss_of_10_percent_takes_two_runs(noise: float, delta: float) -> None:
    found = judged(noise, delta, 10.0)
    assert ((found.word == 1) & (found.runs <= 2)).mean() >= (0.85 if noise == 2.0 else 0.99)


@pytest.mark.parametrize(("noise", "delta"), CASES)
def test_references_that_do_not_resolve_delta_are_the_exception(noise: float, delta: float) -> None:
    """They are refused before GPU time is spent: twenty references can by chance be noisier than most."""
    assert judged(noise, delta, 0.0).refused <= 0.08


@pytest.mark.parametrize(("noise", "delta"), CASES)
def test_a_suite_of_20_innocent_gates_fails_in_at_most_5_percent(noise: float, delta: float) -> None:
    found = judge(WORLDS[noise], delta, 0.0, alpha=alpha(20), gates=GATES, seed=40)
    suites = (found.word == 1)[: len(found.word) // 20 * 20].reshape(-1, 20)
    assert suites.any(axis=1).mean() <= 0.05


@pytest.mark.parametrize(
    ("noise", "delta", "still"), [(0.2, 1.0, 0.999), (0.5, 2.0, 0.999), (1.0, 2.0, 0.999), (2.0, 5.0, 0.9)]
)
def test_the_alarm_after_a_5_percent_step_is_on_95_days_later(
    noise: float, delta: float, still: float
) -> None:
    """Nothing but `accept` ends it. At a noise of 2% the step is delta itself, and 95 days drift by 1%."""
    found = judge(WORLDS[noise], delta, 5.0, alpha=alpha(1), gates=GATES // 4, seed=60, later_days=95.0)
    assert found.fail >= still
