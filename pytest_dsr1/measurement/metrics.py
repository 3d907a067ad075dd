"""Metrics from request records, by TensorRT-LLM's definitions.

The definitions in words, with their sources, stand in :mod:`pytest_dsr1.metrics.catalogue`; a test holds the
two lists against each other. Pure functions: nothing here reads a clock, a file or a GPU.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from pytest_dsr1.measurement.goodput import goodput_metrics
from pytest_dsr1.measurement.steady_window import steady_metrics
from pytest_dsr1.metrics.catalogue import METRICS
from pytest_dsr1.records import RequestRecord
from pytest_dsr1.scenario.schema.scenario import Scenario

Origin = Literal["records", "report"]


@dataclass(frozen=True, slots=True)
class MetricValue:
    """A metric of one measurement, in the unit its declaration gives.

    ``origin`` says what it comes from: the engine's own report, or request records by the same definition.
    """

    value: float
    origin: Origin


def percentile(ordered: Sequence[float], share: float) -> float:
    """The value TensorRT-LLM calls a percentile: ``sorted[int(n * share)]``, without interpolation."""
    return ordered[int(len(ordered) * share)]


def _spread(prefix: str, values: Sequence[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {
        f"{prefix}_minimum": ordered[0],
        f"{prefix}_maximum": ordered[-1],
        **{f"{prefix}_p{p}": percentile(ordered, p / 100) for p in (50, 90, 95, 99)},
    }


def from_records(records: Sequence[RequestRecord], gpus: int) -> dict[str, float]:
    """Every metric that the records allow, in the declared units.

    Args:
        records: requests in any order; those with an error are left out.
        gpus: tp * pp; 0 leaves per-GPU throughput out.

    Returns:
        Metric name to value; empty when no request succeeded. Times are in ms, rates per second. TTFT, TPOT
        and output speed need records with a first-token time, acceptance length needs decoding iterations.
    """
    done = [r for r in records if r.error is None]
    if not done:
        return {}
    e2e_s = [r.last_token_s - r.start_s for r in done]
    total_s = max(r.last_token_s for r in done) - min(r.start_s for r in done)
    if total_s <= 0 or min(e2e_s) <= 0:
        return {}
    tokens_out = sum(r.output_tokens for r in done)
    tokens_in = sum(r.input_tokens for r in done)
    metrics = {
        "request_throughput": len(done) / total_s,
        "total_output_throughput": tokens_out / total_s,
        "total_token_throughput": (tokens_in + tokens_out) / total_s,
        "per_user_output_throughput": fmean(r.output_tokens / s for r, s in zip(done, e2e_s, strict=True)),
        "total_latency": total_s * 1e3,
        "average_request_latency": fmean(e2e_s) * 1e3,
        **_spread("request_latency", [s * 1e3 for s in e2e_s]),
        "average_concurrency": sum(e2e_s) / total_s,
        "average_input_length": tokens_in / len(done),
        "average_output_length": tokens_out / len(done),
    }
    if gpus:
        metrics["per_gpu_output_throughput"] = tokens_out / total_s / gpus
    metrics |= _streaming(done)
    steps = [r.output_tokens / r.decoding_iterations for r in done if r.decoding_iterations]
    if len(steps) == len(done):
        metrics["acceptance_length"] = fmean(steps)
    return {name: metrics[name] for name in METRICS if name in metrics}


def _streaming(done: Sequence[RequestRecord]) -> dict[str, float]:
    """What needs the time of the first token.

    A request of one token has no time per output token, nor has one whose tokens all came at one moment.
    """
    ttft_ms = [(r.first_token_s - r.start_s) * 1e3 for r in done if r.first_token_s is not None]
    if len(ttft_ms) < len(done):
        return {}
    metrics = {"average_ttft": fmean(ttft_ms), **_spread("ttft", ttft_ms)}
    tpot_ms = [
        (r.last_token_s - r.first_token_s) * 1e3 / (r.output_tokens - 1)
        for r in done
        if r.first_token_s is not None and r.output_tokens > 1 and r.last_token_s > r.first_token_s
    ]
    if tpot_ms:
        metrics |= {"average_tpot": fmean(tpot_ms), **_spread("tpot", tpot_ms)}
        metrics["per_user_output_speed"] = fmean(1e3 / t for t in tpot_ms)
    return metrics


def of_scenario(records: Sequence[RequestRecord], scenario: Scenario) -> dict[str, float]:
    """The metrics that depend on what the scenario says of its load: goodput, and the steady window."""
    metrics = {} if scenario.slo is None else goodput_metrics(records, scenario.slo)
    if scenario.load.arrival is None:
        metrics |= steady_metrics(records, scenario.load.concurrency)
    return metrics


def combine(report: Mapping[str, float], records: Mapping[str, float]) -> dict[str, MetricValue]:
    """The metrics of a measurement: the engine's report where it states one, else the records'."""
    return {
        name: MetricValue(report[name], "report") if name in report else MetricValue(records[name], "records")
        for name in METRICS
        if name in report or name in records
    }


def seconds_per_token(records: Sequence[RequestRecord], metrics: Mapping[str, MetricValue]) -> list[float]:
    """Latency over output tokens of each request, in s: pytest-benchmark's rounds.

    Where there are no records, one round: 1 / per-user throughput.
    """
    rounds = [
        (r.last_token_s - r.start_s) / r.output_tokens for r in records if r.error is None and r.output_tokens
    ]
    if rounds:
        return rounds
    per_user = metrics.get("per_user_output_throughput")
    return [1 / per_user.value] if per_user else []
