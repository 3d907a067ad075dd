"""The head of a section: its main figures, a bar for each target, and what ran."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pytest_dsr1.case.case import Case
from pytest_dsr1.case.published import PublishedValue, published_value
from pytest_dsr1.machine.values import FactValue
from pytest_dsr1.measurement.measurement import Measurement
from pytest_dsr1.metrics.catalogue import METRICS, metric_named
from pytest_dsr1.scenario.schema.scenario import Scenario
from pytest_dsr1.text import number
from pytest_dsr1.verdict.verdict import Verdict

_SHOWN = (
    "total_output_throughput",
    "per_gpu_output_throughput",
    "per_user_output_throughput",
    "energy_per_output_token",
)
"""The metrics that stand at the head of a section if they were measured."""
_ROOM = 1.08
"""The length of a bar's scale, as a multiple of the largest value on it."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A main figure; every cell is text.

    Attributes:
        label: of the metric.
        value: without the unit.
        unit: of the metric.
        status: of the target of this metric; empty without one.
        against: its distance from the target and from what was published.
    """

    label: str
    value: str
    unit: str
    status: str
    against: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Mark:
    """A value next to the measured one.

    Attributes:
        kind: ``target``, ``bound`` or ``published``.
        text: the value in words, such as ``target 11,489``.
        percent: its place on the bar.
    """

    kind: str
    text: str
    percent: float


@dataclass(frozen=True, slots=True)
class Bar:
    """A verdict as a bar, whose scale begins at 0.

    Attributes:
        status: the verdict.
        subject: the metric.
        measured: the value with its unit and uncertainty.
        margin: how far from the target; empty if it was not measured.
        percent: the length of the bar.
        band: the ends of its uncertainty on the scale; None if it is unknown.
        marks: what it is compared with.
        better: ``higher`` or ``lower``.
    """

    status: str
    subject: str
    measured: str
    margin: str
    percent: float
    band: tuple[float, float] | None
    marks: tuple[Mark, ...]
    better: str

    @property
    def words(self) -> str:
        """The bar for a reader who does not see it."""
        marks = ", ".join(mark.text for mark in self.marks)
        return f"{self.subject}: measured {self.measured}, {marks}; {self.better} is better"


def figures(case: Case) -> Iterator[Figure]:
    """Yield the main figures of a case; none without a measurement."""
    measured = case.run.measurement.metrics if case.run.measurement else {}
    verdicts = {verdict.metric: verdict for verdict in case.judgment.verdicts if not verdict.place}
    for name in (name for name in _SHOWN if name in measured):
        metric, verdict = METRICS[name], verdicts.get(name)
        against = []
        if verdict is not None and verdict.margin_percent is not None:
            against.append(f"{verdict.margin_percent:+.1f}% against the target {number(verdict.target)}")
        if (known := published_value(case.scenario, case.run.measurement, name)) is not None:
            against.append(f"{known.share} of the published {number(known.value)}")
        status = verdict.status.value if verdict else ""
        yield Figure(metric.label, number(measured[name].value), metric.unit, status, tuple(against))


def bars(case: Case) -> Iterator[Bar]:
    """Yield a bar for each verdict on a metric that was measured."""
    for verdict in case.judgment.judged:
        if verdict.measured is None or verdict.measured <= 0:
            continue
        yield _bar(case, verdict, verdict.measured)


def _bar(case: Case, verdict: Verdict, measured: float) -> Bar:
    metric = metric_named(verdict.metric)
    gate, noise = case.judgment.gate_of(verdict), case.noise_of(verdict)
    pair = verdict is case.judgment.pair
    target = "references" if gate else "old side" if pair else "target"
    published = None if gate or pair else published_value(case.scenario, case.run.measurement, verdict.metric)
    values = {target: verdict.target, "bound": verdict.bound}
    longest = _ROOM * max(measured, *values.values(), published.value if published else 0.0)
    uncertain = 2 * noise.percent / 100 if noise else None
    assumed = " (assumed)" if noise and noise.presumed else ""
    plus_minus = f" \N{PLUS-MINUS SIGN}{100 * uncertain:.2g}%{assumed}" if uncertain else ""
    what = " (gate, steady figure)" if gate else " (pairs, steady figure)" if pair else ""
    return Bar(
        status=verdict.status.value,
        subject=f"{metric.label}{what}",
        measured=f"{number(measured)} {metric.unit}{plus_minus}",
        margin="" if verdict.margin_percent is None else f"{verdict.margin_percent:+.1f}%",
        percent=100 * measured / longest,
        band=None if not uncertain else _band(measured, uncertain, longest),
        marks=tuple(_marks(values, published, longest)),
        better=metric.better,
    )


def _band(measured: float, uncertain: float, longest: float) -> tuple[float, float]:
    low, high = measured * (1 - uncertain), measured * (1 + uncertain)
    return max(100 * low / longest, 0.0), min(100 * high / longest, 100.0)


def _marks(values: Mapping[str, float], published: PublishedValue | None, longest: float) -> Iterator[Mark]:
    for name, value in values.items():
        kind = "bound" if name == "bound" else "target"
        yield Mark(kind, f"{name} {number(value)}", 100 * value / longest)
    if published is not None:
        yield Mark("published", f"published {number(published.value)}", 100 * published.value / longest)


def ran(scenario: Scenario, measurement: Measurement | None) -> str:
    """Return in a line what ran: GPUs, driver, software, container, model and load."""
    facts = measurement.fingerprint.facts if measurement else {}
    named, load = scenario.model.quantization, scenario.load
    quantization = f" ({named})" if named != "none" else ""
    parts = [
        f"{scenario.hardware.words}{_power(facts)}",
        f"engine {scenario.engine.type}",
        scenario.forced,
        f"driver {facts['driver']}" if facts.get("driver") else "",
        measurement.result.version if measurement else "",
        f"container {facts['container.image']}" if facts.get("container.image") else "",
        f"{scenario.model.name}{quantization}",
        _tokens(measurement) if measurement else "",
        f"{load.at_once:,} in flight" if load.limited else "",
    ]
    return " \N{MIDDLE DOT} ".join(filter(None, parts))


def _power(facts: Mapping[str, FactValue]) -> str:
    limit_w = facts.get("gpu.power_limit_w")
    return f", {limit_w:.0f} W each" if isinstance(limit_w, int | float) else ""


def _tokens(measurement: Measurement) -> str:
    load = measurement.workload
    read = "" if load.mean_input is None else f"{number(load.mean_input)} tokens in, "
    return f"{read}{number(load.mean_output)} tokens out"
