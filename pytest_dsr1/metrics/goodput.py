"""Goodput: requests within a service level, as MLPerf and the public load generators count them."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_dsr1.metrics.inputs import MetricInputs, SloLimits, span_s
from pytest_dsr1.metrics.registry import Metrics
from pytest_dsr1.records import RequestRecord

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
    return _good(inputs.records, inputs.slo) / total_s if inputs.slo is not None and total_s > 0 else None


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
    return 100 * _good(inputs.records, inputs.slo) / len(inputs.records)


def _good(records: Sequence[RequestRecord], limits: SloLimits) -> int:
    return sum(_within(record, limits) for record in records)


def _within(record: RequestRecord, limits: SloLimits) -> bool:
    """Return whether a request is within all limits; False if a limited TTFT or TPOT is unknown."""
    if record.error is not None:
        return False
    latency_ms = limits.request_latency_ms
    if latency_ms is not None and (record.last_token_s - record.start_s) * 1e3 > latency_ms:
        return False
    if limits.ttft_ms is None and limits.tpot_ms is None:
        return True
    first_s = record.first_token_s
    if first_s is None:
        return False
    if limits.ttft_ms is not None and (first_s - record.start_s) * 1e3 > limits.ttft_ms:
        return False
    steps = max(record.output_tokens - 1, 1)
    return limits.tpot_ms is None or (record.last_token_s - first_s) * 1e3 / steps <= limits.tpot_ms
