"""Goodput: requests within a service level, as MLPerf and the public load generators count them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pytest_dsr1.metrics.inputs import MetricInputs, Requests, SloLimits, row, span_s
from pytest_dsr1.metrics.latency import latency_ms
from pytest_dsr1.metrics.registry import Metrics
from pytest_dsr1.metrics.streaming import tpot_ms, ttft_ms
from pytest_dsr1.records import RequestRecord

if TYPE_CHECKING:
    from pytest_dsr1.arrays import Floats

metrics = Metrics("none in trtllm-bench; request records")

PRESETS = {
    "mlperf-server": SloLimits(ttft_ms=2000.0, tpot_ms=80.0),
    "mlperf-interactive": SloLimits(ttft_ms=1500.0, tpot_ms=15.0),
}
"""MLPerf Inference's limits for DeepSeek-R1 (``mlperf.conf``); MLPerf applies them to P99."""


@metrics.metric(
    "goodput",
    "goodput",
    "req/s",
    "higher",
    formula="requests within every limit of `slo` / total latency; a failed request does not count",
    kind="rate",
    needs={"slo"},
    may_be_zero=True,
)
def _goodput_req_s(inputs: MetricInputs) -> float | None:
    total_s = span_s(inputs.records)
    return _good(inputs, inputs.slo) / total_s if inputs.slo is not None and total_s > 0 else None


@metrics.metric(
    "slo_attainment",
    "share of requests within the SLO",
    "%",
    "higher",
    formula="requests within every limit of `slo` / all requests, including failed ones",
    kind="mean",
    needs={"slo"},
    may_be_zero=True,
)
def _attainment_percent(inputs: MetricInputs) -> float | None:
    if inputs.slo is None or span_s(inputs.records) <= 0:
        return None
    return 100 * _good(inputs, inputs.slo) / len(inputs.records)


def _good(inputs: MetricInputs, limits: SloLimits) -> int:
    """Return how many requests are within all limits; one whose limited time is unknown is not."""
    return int((strain(inputs.done, limits) <= 1).sum())


def strain(records: Sequence[RequestRecord], limits: SloLimits) -> Floats:
    """Return for each request the largest of its times over their limits: at most 1 within all of them.

    Infinity for a request that failed, and for one whose limited time is unknown.
    """
    import numpy as np

    requests = Requests.of(list(map(row, records)))
    # A request without a time per output token, such as one with a single token, is within the limit if it
    # ends that soon after its first token.
    tpot = tpot_ms(requests)
    tpot = np.where(np.isnan(tpot), (requests.last_token_s - requests.first_token_s) * 1e3, tpot)
    worst = np.array([0.0 if record.error is None else np.inf for record in records])
    for times_ms, limit_ms in (
        (ttft_ms(requests), limits.ttft_ms),
        (tpot, limits.tpot_ms),
        (latency_ms(requests), limits.request_latency_ms),
    ):
        if limit_ms is not None:
            worst = np.maximum(worst, np.where(np.isnan(times_ms), np.inf, times_ms / limit_ms))
    return worst
