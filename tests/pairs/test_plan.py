"""What is said of a comparison before its first run."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_dsr1.errors import UserError
from pytest_dsr1.pairs.decision import design
from pytest_dsr1.pairs.plan import PairsPlan, pairs_plan
from pytest_dsr1.study.losses import worse
from tests.helpers import values


def plan_of(metric: str | None = None, **changes: Any) -> PairsPlan:
    gate = {"delta_percent": 3.0, "presumed_noise_percent": 0.5, "metric": metric}
    return pairs_plan(values.scenario(gate=gate, **changes), seed=5, again="pytest --again", most=16)


def test_the_plan_takes_metric_and_delta_of_the_gate() -> None:
    plan = plan_of("average_request_latency")
    assert (plan.name, plan.metric, plan.delta_percent) == ("small", "average_request_latency", 3.0)
    assert plan.design == design(worse("average_request_latency", 3.0), 16)
    assert (plan.seed, plan.again) == (5, "pytest --again")
    assert plan_of().metric == "total_output_throughput", "that of the first target"
    with pytest.raises(UserError, match=r"^small: gate.metric: expected a metric, found none"):
        plan_of(targets=[])


def test_pairs_and_hours_are_said_before_the_start() -> None:
    """A pair is two engine starts: 16 pairs of 15 minutes per start are 8 hours."""
    plan = plan_of(hardware={"gpu": "h200", "count": 8})
    equal, lost = plan.design.expected_pairs(0.005)
    first, second, third = plan.statement(900.0)
    assert first == (
        "small: pairs on total output throughput: the old and the new side start in turn, until the new one "
        "is shown to be slower or faster, or a difference of 3% is ruled out. At most 16 pairs: 32 engine "
        "starts (8 h, 64 GPU-h)"
    )
    assert second == (
        f"small: on average it takes {equal:.1f} pairs (2 h, 16 GPU-h) if the sides are equal, "
        f"{lost:.1f} ({lost / 2:.2g} h, {lost * 4:.2g} GPU-h) at a loss of 3%, if the noise between starts "
        "is 0.5% (gate.presumed_noise_percent). Above a noise of 1.37%, 16 pairs may not decide"
    )
    assert third.endswith("do not count and are repeated")
    assert 4 <= equal < 4.2 < lost < 5


def test_hours_are_rounded_to_two_digits() -> None:
    """32 starts of 905.625 s take 8.05 hours."""
    assert "32 engine starts (8 h)" in plan_of().statement(905.5)[0]
    assert "32 engine starts (8.1 h)" in plan_of().statement(905.75)[0]


def test_the_expected_pairs_are_those_of_the_presumed_noise() -> None:
    gate = {"delta_percent": 3.0, "presumed_noise_percent": 1.4, "metric": None}
    plan = pairs_plan(values.scenario(gate=gate), seed=5, again="", most=16)
    equal, lost = plan.design.expected_pairs(0.014)
    assert f"it takes {equal:.1f} pairs if the sides are equal, {lost:.1f} at a loss" in plan.statement()[1]


def test_without_gpus_there_are_no_gpu_hours_and_an_unknown_time_is_not_said() -> None:
    assert plan_of().statement(90.0)[0].endswith("32 engine starts (0.8 h)")
    assert plan_of().statement()[0].endswith("32 engine starts")
    assert " h)" not in "".join(plan_of().statement())


def test_power_is_worse_and_not_slower() -> None:
    assert plan_of().words == ("slower", "faster")
    assert plan_of("mean_power").words == ("worse", "better")
    assert plan_of("energy_per_output_token").words == ("worse", "better")
    assert "is shown to be worse or better, or" in plan_of("mean_power").statement()[0]
