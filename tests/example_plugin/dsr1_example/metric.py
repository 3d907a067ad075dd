"""The metric ``tokens_per_request``: how much a request moves, in and out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from pytest_dsr1.metrics.inputs import Requests
from pytest_dsr1.metrics.registry import Metric, Metrics

if TYPE_CHECKING:
    from pytest_dsr1.arrays import Floats

metrics = Metrics("dsr1-example")


@metrics.mean(
    "tokens_per_request",
    "tokens per request",
    "tokens",
    "higher",
    formula="mean over i of input tokens + output tokens",
)
def _tokens(requests: Requests) -> Floats:
    return requests.input_tokens + requests.output_tokens


def pytest_dsr1_metrics() -> Iterable[Metric]:
    """List the metric."""
    return metrics
