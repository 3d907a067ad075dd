"""The input of the metrics, from a scenario and what its engine and its GPUs reported."""

from __future__ import annotations

from collections.abc import Mapping

from pytest_dsr1.engines.protocol import EngineResult
from pytest_dsr1.machine.telemetry.health import GpuSummary
from pytest_dsr1.metrics.goodput import PRESETS
from pytest_dsr1.metrics.inputs import Answered, GpuTotals, MetricInputs, SloLimits
from pytest_dsr1.scenario.schema.load import Slo
from pytest_dsr1.scenario.schema.scenario import Scenario


def metric_inputs(scenario: Scenario, result: EngineResult, gpu_health: GpuSummary | None) -> MetricInputs:
    """Return the input of the metrics."""
    load = scenario.load
    return MetricInputs(
        records=result.records,
        gpus=result.gpus,
        concurrency=load.at_once if load.arrival is None and load.limited else None,
        slo=None if scenario.slo is None else slo_limits(scenario.slo),
        measured_s=result.measured_to_s - result.measured_from_s,
        gpu=GpuTotals(gpu_health.power_w_total, gpu_health.energy_j_total) if gpu_health else None,
        server=result.facts.server_metrics,
        reported=None if result.records else _reported(result.report),
        gpu_hour_price=scenario.hardware.gpu_hour_price,
    )


def _reported(report: Mapping[str, float]) -> Answered | None:
    """Return what was answered, by the rates of an engine's report; None if it has not all of them."""
    names = ("request_throughput", "total_output_throughput", "total_latency")
    if any(name not in report for name in names):
        return None
    request_rate, token_rate, latency_ms = (report[name] for name in names)
    seconds = latency_ms / 1e3
    return Answered(request_rate * seconds, token_rate * seconds, seconds)


def slo_limits(slo: Slo) -> SloLimits:
    """Return the limits of `slo`, with those of its preset."""
    preset = PRESETS[slo.preset] if slo.preset else SloLimits()
    return SloLimits(
        ttft_ms=slo.ttft_ms or preset.ttft_ms,
        tpot_ms=slo.tpot_ms or preset.tpot_ms,
        request_latency_ms=slo.request_latency_ms,
    )
