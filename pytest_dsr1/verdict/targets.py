"""Targets: the whole run, as published, against a value and a tolerance."""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from pytest_dsr1.errors import NoReferenceError, ReferencesError
from pytest_dsr1.measurement.values import Measurement
from pytest_dsr1.scenario.metrics import METRICS
from pytest_dsr1.scenario.model import Scenario, Target
from pytest_dsr1.verdict.reference_file import load
from pytest_dsr1.verdict.references import References
from pytest_dsr1.verdict.rings import Facts, differences
from pytest_dsr1.verdict.words import Verdict, Word


def number(value: float) -> str:
    """A value as a person reads it: four significant digits or whole thousands, never an exponent."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}" if abs(value) >= 0.001 or not value else f"{value:.6f}"


def bound(target: Target) -> float:
    """The worst value that still passes, in the metric's unit."""
    sign = -1 if METRICS[target.metric].better == "higher" else 1
    return target.value * (1 + sign * target.tolerance_percent / 100)


@dataclass(frozen=True, slots=True)
class Noise:
    """How much engine starts differ.

    Attributes:
        percent: standard deviation between them, in percent.
        references: how many accepted references show it; None where the scenario presumes it.
    """

    percent: float
    references: int | None = None

    @property
    def presumed(self) -> bool:
        """Whether nobody has measured it."""
        return self.references is None

    @property
    def source(self) -> str:
        """Where it is from, in words."""
        if self.presumed:
            return "presumed by gate.presumed_noise_percent"
        return f"by {self.references} accepted references"


def noise_of(store: Path, scenario: Scenario, facts: Facts, metric: str, now: datetime) -> Noise:
    """How much engine starts differ in a metric: by the references where they are of it, else presumed.

    Args:
        store: the folder of references.
        scenario: of the run.
        facts: the run's fingerprint; what must be equal for a gate must be for the noise too, but for the
            node: the noise is that within nodes.
        metric: its name.
        now: for the references' age.
    """
    references = None
    if metric == scenario.gated_metric:
        with suppress(NoReferenceError, ReferencesError):
            references = load(store, scenario, now)
    return noise_by(references, scenario, facts, metric)


def noise_by(references: References | None, scenario: Scenario, facts: Facts, metric: str) -> Noise:
    """As :func:`noise_of`, of references that are read already."""
    if references is None or metric != references.metric:
        return Noise(scenario.gate.presumed_noise_percent)
    alike = not differences(references.facts, facts, references.moved)
    if not alike or references.noise_percent is None:
        return Noise(scenario.gate.presumed_noise_percent)
    return Noise(references.noise_percent, len(references.runs))


_NEAR = 2.0
"""Standard deviations between a figure and its bound within which another run may say otherwise."""


def _doubt(value: float, limit: float, noise: Noise) -> str:
    """What is to be said of a figure that is close to its bound; a goodput of 0 is not."""
    if not value:
        return ""
    if abs(math.log(value / limit)) * 100 >= _NEAR * noise.percent:
        return ""
    return (
        f"that is {abs(value / limit - 1):.1%} from the bound, nearer than twice the standard deviation "
        f"between engine starts ({noise.percent:.2g}%, {noise.source}): another run may say otherwise"
    )


def judge(target: Target, measurement: Measurement, noise: Noise) -> Verdict:
    """The verdict on one target of a valid measurement: PASS, FAIL, or INVALID where it was not measured."""
    metric = METRICS[target.metric]
    limit = bound(target)
    subject = f"target[{target.metric}]"
    measured = measurement.metrics.get(target.metric)
    if measured is None:
        # An engine that knows why says so in its facts.
        told = measurement.result.facts.get("not_measured")
        hint = (told.get(target.metric) if isinstance(told, Mapping) else None) or (
            "set engine.streaming: true"
            if target.metric.startswith(("ttft", "tpot", "average_t", "per_user_output_speed"))
            else "this engine does not report it; remove the target or use another engine"
        )
        return Verdict(
            Word.INVALID,
            subject,
            target.metric,
            None,
            target.value,
            limit,
            None,
            f"{metric.label} was not measured by engine {measurement.scenario.engine.type}: {hint}",
        )
    higher = metric.better == "higher"
    good = measured.value >= limit if higher else measured.value <= limit
    margin = (measured.value / target.value - 1) * 100 * (1 if higher else -1)
    side = {True: "above" if higher else "below", False: "below" if higher else "above"}[margin >= 0]
    message = (
        f"{metric.label} {number(measured.value)} {metric.unit} is {abs(margin):.1f}% {side} the target "
        f"{number(target.value)} (tolerance {target.tolerance_percent:g}%: "
        f"{'at least' if higher else 'at most'} {number(limit)} {metric.unit})"
    )
    doubt = _doubt(measured.value, limit, noise)
    return Verdict(
        Word.PASS if good else Word.FAIL,
        subject,
        target.metric,
        measured.value,
        target.value,
        limit,
        margin,
        f"{message}; {doubt}" if doubt else message,
        doubt,
    )
