"""Metrics of throughput: how long a run takes that reaches a value."""

from __future__ import annotations

import pytest

from pytest_dsr1.metrics.catalogue import METRICS
from pytest_dsr1.metrics.inputs import Plan


@pytest.mark.parametrize(
    ("metric", "value", "expected_s"),
    [
        ("total_output_throughput", 400.0, 10.0),
        ("total_token_throughput", 500.0, 16.0),
        ("per_gpu_output_throughput", 50.0, 10.0),
        ("request_throughput", 2.0, 20.0),
        ("per_user_output_throughput", 20.0, 25.0),
        ("average_ttft", 1.0, None),
    ],
)
def test_a_value_says_how_long_a_run_takes(metric: str, value: float, expected_s: float | None) -> None:
    """40 requests of 100 tokens in and 100 out, 8 at a time, on 8 GPUs."""
    plan = Plan(requests=40, concurrency=8, input_tokens=4000.0, output_tokens=4000.0, gpus=8)
    assert METRICS[metric].expected_s(value, plan) == expected_s


def test_no_more_users_are_served_than_there_are_requests() -> None:
    plan = Plan(requests=4, concurrency=8, input_tokens=400.0, output_tokens=400.0, gpus=8)
    assert METRICS["per_user_output_throughput"].expected_s(20.0, plan) == 5.0
