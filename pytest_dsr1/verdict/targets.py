"""Targets: a metric of the whole run, as published, against a value and a tolerance."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from pytest_dsr1.measurement.measurement import Measurement
from pytest_dsr1.metrics.catalogue import METRICS
from pytest_dsr1.metrics.registry import Metric
from pytest_dsr1.scenario.schema.scenario import Target
from pytest_dsr1.text import number
from pytest_dsr1.verdict.verdict import Status, Verdict, subject_of


class Goal(Protocol):
    """What a figure is judged by: a target, or a figure of a sweep's curve."""

    @property
    def metric(self) -> str:
        """The metric's name."""

    @property
    def value(self) -> float:
        """The expected value, in the metric's unit."""

    @property
    def tolerance_percent(self) -> float:
        """A result passes if it is worse by at most this many percent."""


def bound(target: Goal) -> float:
    """Return the worst value that still passes, in the metric's unit."""
    sign = -1 if METRICS[target.metric].better == "higher" else 1
    return target.value * (1 + sign * target.tolerance_percent / 100)


@dataclass(frozen=True, slots=True)
class Noise:
    """The noise of a metric: how much engine starts differ in it.

    Attributes:
        percent: the standard deviation between them, in percent.
        references: the number of accepted references it was measured on; None if the scenario presumes it.
    """

    percent: float
    references: int | None = None

    @property
    def presumed(self) -> bool:
        """True if it was not measured."""
        return self.references is None

    @property
    def source(self) -> str:
        """Its source, in words."""
        if self.presumed:
            return "presumed by gate.presumed_noise_percent"
        return f"from {self.references} accepted references"


_NEAR = 2.0
"""Within this many standard deviations of its bound, a value may get the other verdict in another run."""


def _doubt(value: float, limit: float, noise: Noise) -> str:
    """Return a sentence if a value is close to its bound, else an empty text; a goodput of 0 is not."""
    if not value:
        return ""
    if abs(math.log(value / limit)) * 100 >= _NEAR * noise.percent:
        return ""
    return (
        f"the measured value is {abs(value / limit - 1):.1%} from the bound, which is less than twice the "
        f"standard deviation between engine starts ({noise.percent:.2g}%, {noise.source}): a repeat run may "
        "get the opposite verdict"
    )


def _streamed(measurement: Measurement) -> bool:
    """Return whether the run shows any metric that needs streaming."""
    return any("streaming" in METRICS[name].needs for name in measurement.metrics)


def _why_not(metric: str, measurement: Measurement) -> str:
    """Return why a metric was not measured, and what to do. An engine that knows why says so in its facts."""
    result = measurement.result
    if (why := measurement.why_not_measured(metric)) is not None:
        return why
    if "streaming" in METRICS[metric].needs:
        streaming = measurement.scenario.engine.settings_for.get("streaming")
        if streaming and not _streamed(measurement):
            return f"set {streaming}"
        done = [record for record in result.records if record.error is None]
        if done and all(record.first_token_s == record.last_token_s for record in done):
            return (
                "the tokens of each answer came at one moment, or it has one token, so there is no time "
                "between tokens; ask for more output tokens, and measure without a proxy that collects events"
            )
    return "this engine does not report it; remove the target or use another engine"


def _not_measured(metric: Metric, measurement: Measurement) -> str:
    why = _why_not(metric.name, measurement)
    if "energy" in metric.needs and measurement.why_not_measured(metric.name) is not None:
        return f"{metric.label} was not measured: {why}; remove the target, or run on GPUs that report it"
    return f"{metric.label} was not measured by engine {measurement.scenario.engine.type}: {why}"


def judge(target: Target, measurement: Measurement, noise: Noise) -> Verdict:
    """Return the verdict on a target of a valid measurement: INVALID if the metric was not measured."""
    metric = METRICS[target.metric]
    limit = bound(target)
    subject = subject_of("target", target.metric)
    measured = measurement.metrics.get(target.metric)
    if measured is None:
        return Verdict(
            Status.INVALID,
            subject,
            target.metric,
            None,
            target.value,
            limit,
            None,
            _not_measured(metric, measurement),
        )
    return judged(subject, target, measured.value, noise)


def judged(subject: str, target: Goal, value: float, noise: Noise, where: str = "") -> Verdict:
    """Return the verdict on a value that was measured.

    Args:
        subject: the test's name.
        target: what is expected.
        value: in the metric's unit.
        noise: how much engine starts differ in it.
        where: where on a curve it was read, as `` at 50 tok/s/user``.
    """
    metric, limit = METRICS[target.metric], bound(target)
    higher = metric.better == "higher"
    good = value >= limit if higher else value <= limit
    margin = (value / target.value - 1) * 100 * (1 if higher else -1)
    side = {True: "above" if higher else "below", False: "below" if higher else "above"}[margin >= 0]
    message = (
        f"{metric.label}{where} {number(value)} {metric.unit} is {abs(margin):.1f}% {side} the target "
        f"{number(target.value)} (tolerance {target.tolerance_percent:g}%: "
        f"{'at least' if higher else 'at most'} {number(limit)} {metric.unit})"
    )
    doubt = _doubt(value, limit, noise)
    return Verdict(
        Status.PASS if good else Status.FAIL,
        subject,
        target.metric,
        value,
        target.value,
        limit,
        margin,
        f"{message}; {doubt}" if doubt else message,
        doubt,
    )
