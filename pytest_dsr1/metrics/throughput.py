"""Metrics of throughput: requests and tokens per second; in total, per GPU and per user."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

from pytest_dsr1.metrics.inputs import Plan, Requests
from pytest_dsr1.metrics.registry import REPORT, Metrics

if TYPE_CHECKING:
    from pytest_dsr1.arrays import Floats

metrics = Metrics(REPORT)

metrics.rate(
    "total_output_throughput",
    "total output throughput",
    "tok/s",
    formula="sum of output tokens / total latency",
    counts=("output tokens",),
    headline=True,
)
metrics.rate(
    "total_token_throughput",
    "total token throughput",
    "tok/s",
    formula="sum of input and output tokens / total latency",
    counts=("input tokens", "output tokens"),
)


def _duration_s(user_tok_s: float, plan: Plan) -> float:
    """Return the time of the run; of requests that wait for a slot, those of wave k take k times as long.

    Then the mean of their rates is the rate of a wave times (1 + 1/2 + ... + 1/waves) / waves.
    """
    waves = 1 if plan.slots is None else ceil(plan.requests / plan.slots)
    slower = sum(1 / wave for wave in range(1, waves + 1))
    return slower * plan.output_tokens / (user_tok_s * min(plan.concurrency, plan.requests))


@metrics.mean(
    "per_user_output_throughput",
    "per-user output throughput",
    "tok/s/user",
    "higher",
    formula="mean over i of output tokens / e2e; includes queueing in the engine and prefill",
    duration_s=_duration_s,
    headline=True,
)
def _per_user_tok_s(requests: Requests) -> Floats:
    return requests.output_tokens / requests.latency_s


metrics.rate(
    "per_gpu_output_throughput",
    "per-GPU output throughput",
    "tok/s/GPU",
    formula="total output throughput / (tp * pp)",
    counts=("output tokens",),
    per_gpu=True,
    headline=True,
)
metrics.rate(
    "request_throughput",
    "request throughput",
    "req/s",
    formula="N / total latency",
    counts=("requests",),
    headline=True,
)
