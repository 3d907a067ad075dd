"""Metrics of latency: the time of the run and of each request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_dsr1.metrics.inputs import MetricInputs, Requests
from pytest_dsr1.metrics.registry import REPORT, Metrics

if TYPE_CHECKING:
    from pytest_dsr1.arrays import Floats

metrics = Metrics(REPORT)


@metrics.metric(
    "total_latency",
    "total latency",
    "ms",
    "lower",
    formula="last end - first start; includes ramp-up and drain",
    kind="total",
)
def _total_ms(inputs: MetricInputs) -> float | None:
    return None if inputs.requests is None else inputs.total_s * 1e3


@metrics.mean_and_spread(
    "request_latency",
    "request latency",
    mean=("average_request_latency", "average request latency"),
    of="e2e",
    source="trtllm-bench report, Request Latency Breakdown",
)
def latency_ms(requests: Requests) -> Floats:
    """Return the latency of each request."""
    return requests.latency_s * 1e3
