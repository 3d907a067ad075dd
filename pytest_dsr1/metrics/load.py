"""Metrics that describe the load of a run: concurrent requests, and their lengths."""

from __future__ import annotations

from pytest_dsr1.metrics.inputs import MetricInputs
from pytest_dsr1.metrics.registry import Metrics

metrics = Metrics("trtllm-bench report, REQUEST DETAILS")


@metrics.metric(
    "average_concurrency",
    "average concurrent requests",
    "requests",
    "neither",
    formula="sum of e2e / total latency",
    kind="description",
    headline=True,
)
def _concurrency(inputs: MetricInputs) -> float | None:
    return None if inputs.requests is None else float(inputs.requests.latency_s.sum()) / inputs.total_s


@metrics.metric(
    "average_input_length",
    "average input length (ISL)",
    "tokens",
    "neither",
    formula="mean over i of input tokens",
    kind="description",
)
def _input_tokens(inputs: MetricInputs) -> float | None:
    return None if inputs.requests is None else float(inputs.requests.input_tokens.mean())


@metrics.metric(
    "average_output_length",
    "average output length (OSL)",
    "tokens",
    "neither",
    formula="mean over i of output tokens",
    kind="description",
)
def _output_tokens(inputs: MetricInputs) -> float | None:
    return None if inputs.requests is None else float(inputs.requests.output_tokens.mean())
