"""What can be measured: every metric's name, label, unit, direction, formula and source.

The names and definitions are TensorRT-LLM's own, so that a number here and a number in a ``trtllm-bench``
report mean the same thing. The formulas in words stand here; the code that computes them from request
records stands in :mod:`pytest_dsr1.measurement.metrics`.

In the formulas, i runs over the requests that succeeded; start is the moment a request was handed to the
engine (after it got its concurrency slot), in an open loop (`load.arrival`) the moment it was due; end the
moment its last token arrived; e2e = end - start.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Better = Literal["higher", "lower", "neither"]

_REPORT = "trtllm-bench report, PERFORMANCE OVERVIEW"
_CLIENT = "none in trtllm-bench; engine openai"
_STEADY = "none in trtllm-bench; request records of a closed loop"


@dataclass(frozen=True, slots=True)
class Metric:
    """One quantity a scenario may target.

    Attributes:
        name: what a scenario and a test id call it.
        label: what a person reads.
        unit: the unit of every value of this metric.
        better: the direction of improvement; ``neither`` describes the run and cannot be a target.
        formula: the definition in words.
        source: where TensorRT-LLM prints or defines it.
    """

    name: str
    label: str
    unit: str
    better: Better
    formula: str
    source: str = _REPORT


def _percentiles(prefix: str, label: str, unit: str, better: Better, of: str, source: str) -> list[Metric]:
    """The minimum, maximum and percentiles that TensorRT-LLM prints under one breakdown heading."""
    return [
        Metric(f"{prefix}_{key}", f"{label} {text}", unit, better, f"{rule} of {of}", source)
        for key, text, rule in (
            ("minimum", "minimum", "smallest"),
            ("p50", "P50", "sorted[int(n * 0.50)]"),
            ("p90", "P90", "sorted[int(n * 0.90)]"),
            ("p95", "P95", "sorted[int(n * 0.95)]"),
            ("p99", "P99", "sorted[int(n * 0.99)]"),
            ("maximum", "maximum", "largest"),
        )
    ]


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in [
        Metric("request_throughput", "request throughput", "req/s", "higher", "N / total latency"),
        Metric(
            "total_output_throughput",
            "total output throughput",
            "tok/s",
            "higher",
            "sum of output tokens / total latency",
        ),
        Metric(
            "total_token_throughput",
            "total token throughput",
            "tok/s",
            "higher",
            "sum of input and output tokens / total latency",
        ),
        Metric(
            "per_user_output_throughput",
            "per-user output throughput",
            "tok/s/user",
            "higher",
            "mean over i of output tokens / e2e; includes queueing in the engine and prefill",
        ),
        Metric(
            "per_gpu_output_throughput",
            "per-GPU output throughput",
            "tok/s/GPU",
            "higher",
            "total output throughput / (tp * pp)",
        ),
        Metric(
            "total_latency",
            "total latency",
            "ms",
            "lower",
            "last end - first start; includes ramp-up and drain",
        ),
        Metric("average_request_latency", "average request latency", "ms", "lower", "mean over i of e2e"),
        *_percentiles(
            "request_latency",
            "request latency",
            "ms",
            "lower",
            "e2e",
            "trtllm-bench report, Request Latency Breakdown",
        ),
        Metric(
            "average_ttft",
            "average time to first token (TTFT)",
            "ms",
            "lower",
            "mean over i of first token - start",
        ),
        *_percentiles(
            "ttft",
            "TTFT",
            "ms",
            "lower",
            "first token - start",
            "trtllm-bench report, Time-to-First-Token Breakdown",
        ),
        Metric(
            "average_tpot",
            "average time per output token (TPOT)",
            "ms",
            "lower",
            "mean over i of (end - first token) / (output tokens - 1)",
        ),
        *_percentiles(
            "tpot",
            "TPOT",
            "ms",
            "lower",
            "(end - first token) / (output tokens - 1)",
            "trtllm-bench report, Time-per-Output-Token Breakdown",
        ),
        Metric(
            "per_user_output_speed",
            "per-user output speed (1/TPOT)",
            "tok/s/user",
            "higher",
            "mean over i of (output tokens - 1) / (end - first token)",
        ),
        Metric(
            "acceptance_length",
            "acceptance length",
            "tokens/step",
            "higher",
            "mean over i of output tokens / decoding iterations; engine openai: 1 + accepted draft tokens / "
            "drafts, by the server's counters",
            "trtllm-bench report, DECODING STATISTICS",
        ),
        Metric(
            "average_inter_event_gap",
            "average gap between events",
            "ms",
            "lower",
            "mean over all gaps between two events of one stream that carry tokens; not per token",
            _CLIENT,
        ),
        *(
            Metric(
                f"inter_event_gap_{key}",
                f"gap between events {text}",
                "ms",
                "lower",
                f"{rule} of all gaps, to 0.1%",
                _CLIENT,
            )
            for key, text, rule in (
                ("p50", "P50", "sorted[int(n * 0.50)]"),
                ("p90", "P90", "sorted[int(n * 0.90)]"),
                ("p95", "P95", "sorted[int(n * 0.95)]"),
                ("p99", "P99", "sorted[int(n * 0.99)]"),
                ("maximum", "maximum", "largest"),
            )
        ),
        Metric(
            "goodput",
            "goodput",
            "req/s",
            "higher",
            "requests that keep every limit of `slo` / total latency; a failed request keeps none",
            _CLIENT,
        ),
        Metric(
            "slo_attainment",
            "share of requests within the SLO",
            "%",
            "higher",
            "requests that keep every limit of `slo` / all requests, failed ones included",
            _CLIENT,
        ),
        Metric(
            "steady_output_throughput",
            "output throughput in the steady window",
            "tok/s",
            "higher",
            "output tokens in the steady window / its length; those of a request after its first are spread "
            "evenly from first token to end",
            _STEADY,
        ),
        Metric(
            "steady_average_ttft",
            "average TTFT in the steady window",
            "ms",
            "lower",
            "mean of TTFT over the requests that start and end in the steady window",
            _STEADY,
        ),
        Metric(
            "steady_average_tpot",
            "average TPOT in the steady window",
            "ms",
            "lower",
            "mean of TPOT over the requests that start and end in the steady window",
            _STEADY,
        ),
        Metric(
            "steady_window",
            "steady window",
            "ms",
            "neither",
            "the longest time in which at least 95% of `load.concurrency` requests were in flight",
            _STEADY,
        ),
        Metric(
            "average_concurrency",
            "average concurrent requests",
            "requests",
            "neither",
            "sum of e2e / total latency",
            "trtllm-bench report, REQUEST DETAILS",
        ),
        Metric(
            "average_input_length",
            "average input length (ISL)",
            "tokens",
            "neither",
            "mean over i of input tokens",
            "trtllm-bench report, REQUEST DETAILS",
        ),
        Metric(
            "average_output_length",
            "average output length (OSL)",
            "tokens",
            "neither",
            "mean over i of output tokens",
            "trtllm-bench report, REQUEST DETAILS",
        ),
    ]
}
"""Every metric by name, in the order in which they are shown."""

TARGETABLE: tuple[str, ...] = tuple(m.name for m in METRICS.values() if m.better != "neither")
"""The names a target may use."""

MAY_BE_ZERO = frozenset({"goodput", "slo_attainment"})
"""A run in which no request keeps its limits is a measurement; a 0 of any other metric is a mistake."""

GATEABLE: tuple[str, ...] = (
    "request_throughput",
    "total_output_throughput",
    "total_token_throughput",
    "per_user_output_throughput",
    "per_gpu_output_throughput",
    "average_request_latency",
    "average_ttft",
    "average_tpot",
    "per_user_output_speed",
    "acceptance_length",
)
"""The names a gate may use: rates over time and means over requests, of which a part of a run is a sample."""
