"""Doubts about a measurement that condemn nothing but must be seen beside the verdict."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pytest_dsr1.measurement.metrics import MetricValue
from pytest_dsr1.scenario.metrics import METRICS
from pytest_dsr1.scenario.model import Scenario, TensorRtLlm

REPORT_TOLERANCE = 0.001
"""Relative difference above which an engine's report and its own request records disagree."""

MTP3_ACCEPTANCE = (2.4, 3.2)
"""Tokens a step that MTP with 3 draft tokens gives on real text (published: 2.82 strict, 3.10 relaxed)."""


def suspicions(
    scenario: Scenario,
    report: Mapping[str, float],
    records: Mapping[str, float],
    metrics: Mapping[str, MetricValue],
) -> tuple[str, ...]:
    """What a person should know before trusting the numbers, a sentence each.

    Args:
        scenario: what was asked for.
        report: metrics as the engine's own report states them.
        records: the same metrics recomputed from request records.
        metrics: both, combined.
    """
    return (*_disagreements(report, records), *_acceptance(scenario, metrics))


def _disagreements(report: Mapping[str, float], records: Mapping[str, float]) -> Iterable[str]:
    for name, metric in METRICS.items():
        if name not in report or name not in records:
            continue
        if abs(report[name] - records[name]) > REPORT_TOLERANCE * abs(records[name]):
            yield (
                f"{metric.label}: the report says {report[name]:,.4f} {metric.unit}, "
                f"its own request records give {records[name]:,.4f}"
            )


def _acceptance(scenario: Scenario, metrics: Mapping[str, MetricValue]) -> Iterable[str]:
    engine = scenario.engine
    speculative = engine.llm_api.speculative_config if isinstance(engine, TensorRtLlm) else None
    measured = metrics.get("acceptance_length")
    if speculative is None or speculative.max_draft_len != 3 or measured is None:
        return
    low, high = MTP3_ACCEPTANCE
    if not low <= measured.value <= high:
        yield (
            f"acceptance length {measured.value:.2f} is outside {low} to {high}, which MTP with 3 draft "
            "tokens gives on real text: suspect the dataset, not the machine (docs/datasets.md)"
        )
