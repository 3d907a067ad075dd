"""Doubts about a measurement. They do not make it INVALID, but are shown next to the verdict."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean

from pytest_dsr1.metrics.catalogue import METRICS, MetricValue
from pytest_dsr1.scenario.schema.scenario import Scenario

REPORT_TOLERANCE = 0.001
"""An engine's report and its request records disagree above this relative difference."""

REAL_TEXT_ACCEPTANCE: Mapping[int, float] = {1: 1.92, 2: 2.58, 3: 2.82, 4: 2.99, 5: 3.01}
"""Tokens per step on real text by draft tokens, strict acceptance (TensorRT-LLM tech blog 1, R1 on B200)."""
_LEAST, _MOST = 0.85, 1.135
"""Factors for the range: texts differ, and relaxed acceptance adds a tenth (3.10 with 3 draft tokens). With 3
draft tokens the range is 2.4 to 3.2."""


def real_text_acceptance(draft_tokens: int | None) -> tuple[float, float] | None:
    """Return the least and most tokens per step on real text; None if nothing was published."""
    published = REAL_TEXT_ACCEPTANCE.get(draft_tokens or 0)
    return None if published is None else (_LEAST * published, _MOST * published)


_CERTAIN = 4.0
"""A mean is this many standard deviations from the expected one by chance in 1 of 16,000 runs."""
_ROUNDED = 0.005
"""Reports give two decimals."""


def expected_acceptance(forced: float, output_tokens: Sequence[float], at_once: int) -> tuple[float, float]:
    """Return the least and most tokens per step that a run with a forced acceptance length can show.

    A step gives one of the two whole numbers next to the forced length, by chance. An engine may draw once
    for all requests of a step. The first step of a request gives one token; an engine may count the token and
    not the step. The last step may end early; an engine may count what was cut off.

    Args:
        forced: the acceptance length.
        output_tokens: of each request.
        at_once: the most requests in one step.
    """
    steps = sum(output_tokens) / forced / max(min(at_once, len(output_tokens)), 1)
    share = forced % 1
    chance = _CERTAIN * math.sqrt(share * (1 - share) / max(steps, 1)) + _ROUNDED
    least = fmean(tokens / (2 + (tokens - 1) / forced) for tokens in output_tokens)
    most = fmean(
        forced + 1 / max((tokens - 1) / forced, 1) if tokens > 1 else 1.0 for tokens in output_tokens
    )
    return least - chance, most + chance


def suspicions(
    scenario: Scenario,
    report: Mapping[str, float],
    records: Mapping[str, float],
    metrics: Mapping[str, MetricValue],
) -> tuple[str, ...]:
    """Return warnings about the numbers, one sentence each.

    Args:
        scenario: the scenario that ran.
        report: metrics from the engine's own report.
        records: the same metrics recomputed from request records.
        metrics: both, combined.
    """
    return (*_disagreements(report, records), *_acceptance(scenario, metrics))


def without_zeros(
    metrics: Mapping[str, MetricValue],
) -> tuple[dict[str, MetricValue], tuple[str, ...]]:
    """Return the metrics without zeros that are not a measurement, and a warning about each.

    A zero of a mean, a percentile or a description says that there was nothing to measure, such as the time
    between tokens of answers with one token. A target of it is INVALID; other targets are judged. A zero of a
    rate or of a total is wrong: it makes the run INVALID.
    """
    zeros = [
        name
        for name, metric in metrics.items()
        if metric.value == 0
        and not METRICS[name].may_be_zero
        and METRICS[name].kind in {"mean", "tail", "description"}
    ]
    kept = {name: metric for name, metric in metrics.items() if name not in zeros}
    return kept, tuple(f"{METRICS[name].label} is 0, so it was not measured" for name in zeros)


def _disagreements(report: Mapping[str, float], records: Mapping[str, float]) -> Iterable[str]:
    for name, metric in METRICS.items():
        if name not in report or name not in records:
            continue
        if abs(report[name] - records[name]) > REPORT_TOLERANCE * abs(records[name]):
            yield (
                f"{metric.label}: the report says {report[name]:,.4f} {metric.unit}, "
                f"but its request records give {records[name]:,.4f}"
            )


def _acceptance(scenario: Scenario, metrics: Mapping[str, MetricValue]) -> Iterable[str]:
    drafts = scenario.engine.draft_tokens
    measured = metrics.get("acceptance_length")
    if scenario.forced:
        if measured is None:
            yield (
                f"{scenario.forced}, but not seen: the engine did not report the acceptance length, so it is "
                "unknown whether it was forced"
            )
        return
    if not drafts or measured is None:
        return
    expected = real_text_acceptance(drafts)
    # If it is too low, the run is slow; diagnosis/ reports that when a target is missed.
    if expected is not None and measured.value > expected[1]:
        yield (
            f"acceptance length {measured.value:.2f} is above {expected[1]:.1f}, the most that MTP with "
            f"{drafts} draft tokens gives on real text: the text is easier to predict than real text, "
            "so the measured speed is too high (`pytest-dsr1 docs datasets`)"
        )
