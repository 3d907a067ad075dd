"""Pictures that compare a measurement with accepted references, earlier runs and published results."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

from pytest_dsr1.case.case import Case
from pytest_dsr1.case.published import is_like
from pytest_dsr1.gate import comparability
from pytest_dsr1.gate.history import History, PastRun
from pytest_dsr1.machine.values import FORCED
from pytest_dsr1.measurement.measurement import Measurement
from pytest_dsr1.metrics.catalogue import METRICS, metric_named
from pytest_dsr1.reporting.charts.request_data import RATE
from pytest_dsr1.reporting.charts.run import Picture
from pytest_dsr1.reporting.charts.vega import (
    ACCENT,
    BAD,
    DIM,
    GOOD,
    INK,
    Spec,
    kinds,
    level,
    picture,
    rows,
    value_axis,
)
from pytest_dsr1.scenario.loading import load_all
from pytest_dsr1.scenario.profiles import discover
from pytest_dsr1.scenario.schema.scenario import Scenario
from pytest_dsr1.text import number

CLOCK_FORMAT = {"hours": "%H:%M", "minutes": "%H:%M"}
"""Vega's own formats use a 12-hour clock."""
MODEL, REQUESTS = "model.content", "dataset.requests"
USER, GPU = "per_user_output_throughput", "per_gpu_output_throughput"


@dataclass(frozen=True, slots=True)
class PublishedPoint:
    """A published result on the plane of tok/s/user and tok/s/GPU."""

    profile: str
    version: str
    model: str
    gpu: str
    per_user: float
    per_gpu: float


def published_points(scenarios: Iterable[Scenario]) -> tuple[PublishedPoint, ...]:
    """Return the newest published result of each scenario that has both figures."""
    found = []
    for scenario in scenarios:
        for each in scenario.publications:
            model, gpu = each.model or scenario.model.name, each.gpu or scenario.hardware.gpu
            if USER in each.values and GPU in each.values and gpu:
                of = scenario.name, each.version, model, gpu
                found.append(PublishedPoint(*of, each.values[USER], each.values[GPU]))
                break
    return tuple(found)


def shipped_points() -> tuple[PublishedPoint, ...]:
    """Return the published points of all scenarios that ship, with each point of a sweep."""
    files = discover(()).select("*")
    return published_points(each.scenario for file in files for each in load_all(file))


@dataclass(frozen=True, slots=True)
class ReportContext:
    """What every case of a report is compared with.

    Attributes:
        history: earlier runs.
        published: published results.
        now: when the report was made.
    """

    history: History
    published: tuple[PublishedPoint, ...]
    now: datetime


def comparison_pictures(case: Case, context: ReportContext) -> Iterator[Picture]:
    """Yield the pictures that compare a case with others; a picture with nothing to compare is left out."""
    measurement = case.run.measurement
    if measurement is None:
        return
    here = comparability.node(measurement.fingerprint.facts)
    runs = [run for run in context.history.runs if run.node == here and run.folder != measurement.folder]
    yield from _against_references(case)
    yield from _over_runs(case, measurement, case.background.past)
    yield from _steady_over_runs(case, measurement)
    yield from _plane(measurement, runs, context.published)


def _against_references(case: Case) -> Iterator[Picture]:
    """Compare the steady figures of the gate's runs, or of this run, with the mean of the references."""
    references, gate = case.background.comparable, case.judgment.gate
    if references is None:
        return
    runs, metric = references.runs, metric_named(references.metric)
    mean = sum(math.log(run.value) for run in runs) / len(runs)
    of_gate = [run.evidence.value for run in gate.runs if run.evidence] if gate else []
    here = of_gate or ([case.background.figure] if case.background.figure is not None else [])
    if not here:
        return
    label = "gate runs" if of_gate else "this run"
    changes = [100 * math.expm1(math.log(run.value) - mean) for run in runs]
    own = [100 * math.expm1(math.log(value) - mean) for value in here]
    delta = case.scenario.gate.delta_percent
    bound = -delta if metric.better == "higher" else delta
    points: Spec = {
        "data": rows(x=[*changes, *own], y=["references"] * len(changes) + [label] * len(own)),
        "mark": {"type": "point", "filled": True, "size": 70, "opacity": 0.7},
        "encoding": {
            "x": {
                "field": "x",
                "type": "quantitative",
                "title": "steady figure, % from the mean",
            },
            "y": {"field": "y", "type": "nominal", "title": None, "sort": ["references", label]},
            "color": {**kinds("y", {"references": DIM, label: ACCENT}), "legend": None},
        },
    }
    average = sum(own) / len(own)
    caption = (
        f"Steady figures of {metric.label}: {len(runs)} references, accepted "
        f"{references.accepted.at:%Y-%m-%d} ({references.accepted.reason}): {number(math.exp(mean))} "
        f"{metric.unit} on average, from {min(changes):+.2f}% to {max(changes):+.2f}%; "
        f"{label}: {average:+.2f}%{' on average' if len(own) > 1 else ''}. A gate fails when it shows "
        f"a loss, and passes when it rules out a loss of {delta:g}% or more"
    )
    layers = [
        points,
        *level(0, "mean", vertical=True),
        *level(
            bound, f"a loss of {delta:g}%", vertical=True, color=BAD, align="right" if bound < 0 else "left"
        ),
    ]
    yield Picture("Against the reference runs", f"{caption}.", picture(layers, height=90))


def _plane(
    measurement: Measurement, runs: Sequence[PastRun], published: Sequence[PublishedPoint]
) -> Iterator[Picture]:
    """Plot tok/s/GPU over tok/s/user: this machine's runs of this model, and published results.

    Published results are of the model with this name itself and of natural acceptance, so random weights and
    forced acceptance have none. Other runs have the same acceptance: natural, or forced to the same length.
    A run that was stopped early is left out: its ramp-up is a larger share of it.
    """
    own = {name: metric.value for name, metric in measurement.metrics.items()}
    if USER not in own or GPU not in own:
        return
    others = [
        (run.profile, run.metrics[USER], run.metrics[GPU])
        for run in runs
        if USER in run.metrics
        and GPU in run.metrics
        and not run.stopped
        and all(run.facts.get(key) == measurement.fingerprint.facts.get(key) for key in (MODEL, FORCED))
    ]
    scenario = measurement.scenario
    random_weights, model = scenario.model.random_weights is not None, scenario.model.name
    of_gpu = sorted(
        (each for each in published if is_like(each.model, each.gpu, scenario, measurement)),
        key=lambda each: each.per_user,
    )
    published_of_gpu = [(each.profile, each.per_user, each.per_gpu) for each in of_gpu]
    this = [(scenario.name, own[USER], own[GPU])]
    groups = {"published": published_of_gpu, "other runs": others, "this run": this}
    points = [(kind, *point) for kind, group in groups.items() for point in group]
    colors = {"published": INK, "other runs": GOOD, "this run": ACCENT}
    log: Spec = {"scale": {"type": "log", "padding": 30}, "axis": {"grid": False}}
    encoding: Spec = {
        "x": {"field": "x", "type": "quantitative", "title": METRICS[USER].unit, **log},
        "y": {"field": "y", "type": "quantitative", "title": METRICS[GPU].unit, **log},
    }
    marks: Spec = {
        "data": rows(kind=(p[0] for p in points), x=(p[2] for p in points), y=(p[3] for p in points)),
        "mark": {"type": "point", "filled": True, "size": 80, "opacity": 0.8},
        "encoding": {
            **encoding,
            "color": kinds("kind", {kind: colors[kind] for kind, group in groups.items() if group}),
        },
    }
    labels: Spec = {
        "data": rows(
            text=(str(n) for n, _ in enumerate(of_gpu, 1)),  # their names would overlap
            x=(p.per_user for p in of_gpu),
            y=(p.per_gpu for p in of_gpu),
        ),
        "mark": {"type": "text", "fill": INK, "align": "center", "dy": -12},
        "encoding": {**encoding, "text": {"field": "text"}},
    }
    if random_weights:
        published_text = "published results are not of random weights, so none are shown"
    elif scenario.forced:
        published_text = f"{scenario.forced}, published results are natural, so none are shown"
    elif of_gpu:
        named = ", ".join(f"({n}) {each.profile}" for n, each in enumerate(of_gpu, 1))
        published_text = f"published for {model} on its GPU, from left to right: {named}"
    else:
        published_text = f"no published result of {model} on its GPU is known"
    caption = (
        f"This run: {number(own[USER])} {METRICS[USER].unit} at {number(own[GPU])} {METRICS[GPU].unit}; "
        f"{len(others)} other runs of this model on this machine; {published_text}. Up and to the right is "
        "better; both scales are logarithmic"
    )
    yield Picture("Throughput per GPU vs. speed per user", f"{caption}.", picture([marks, labels]), wide=True)


def _over_runs(case: Case, measurement: Measurement, others: Sequence[PastRun]) -> Iterator[Picture]:
    """Plot the gated metric over whole runs by date: this run, and comparable runs that sent as much.

    If the scenario gates none, it is the output throughput.
    """
    metric = metric_named(case.scenario.gated_metric or RATE)
    own = measurement.metrics.get(metric.name)
    sent = measurement.fingerprint.facts.get(REQUESTS)
    runs = [
        (run.at, run.metrics[metric.name])
        for run in others
        if metric.name in run.metrics and run.facts.get(REQUESTS) == sent and not run.stopped
    ]
    if own is None or measurement.result.stopped or not runs:
        return
    this = [(_began(measurement), own.value)]
    groups = {"other runs": (GOOD, runs), "this run": (ACCENT, this)}
    layers = [_by_date(groups, metric.unit)]
    target = next((t for t in case.scenario.targets if t.metric == metric.name), None)
    if target:
        layers += level(target.value, "target")
    values = [value for _, value in [*runs, *this]]
    caption = (
        f"{metric.label} of {len(values)} whole runs of this profile on this machine, of as many requests: "
        f"{number(min(values))} to {number(max(values))} {metric.unit}, this one {number(own.value)}."
    )
    yield Picture("Trend across runs", caption, picture(layers), wide=True)


def _steady_over_runs(case: Case, measurement: Measurement) -> Iterator[Picture]:
    """Plot the steady figures of the accepted references and of this run by date."""
    references, figure = case.background.comparable, case.background.figure
    if references is None or figure is None:
        return
    metric = metric_named(references.metric)
    accepted = [(run.at, run.value) for run in references.runs]
    groups = {"references": (DIM, accepted), "this run": (ACCENT, [(_began(measurement), figure)])}
    caption = (
        f"Steady figures of {metric.label} over the first {references.requests:,} requests: "
        f"{len(accepted)} accepted references, {number(references.mean)} {metric.unit} on average; "
        f"this run {number(figure)}."
    )
    drawn = picture([_by_date(groups, metric.unit)])
    yield Picture("Trend of steady figures", caption, drawn, wide=True)


_Dated = Sequence[tuple[datetime, float]]


def _by_date(groups: Mapping[str, tuple[str, _Dated]], unit: str) -> Spec:
    """Return values by date; each group has a name, a color and its values, all of one definition."""
    points = [(kind, _milliseconds(at), value) for kind, (_, group) in groups.items() for at, value in group]
    return {
        "data": rows(kind=(p[0] for p in points), x=(p[1] for p in points), y=(p[2] for p in points)),
        "mark": {"type": "point", "filled": True, "size": 60, "opacity": 0.8},
        "encoding": {
            "x": {
                "field": "x",
                "type": "temporal",
                "scale": {"type": "utc"},
                "title": "start of the run (UTC)",
                "axis": {"grid": False, "labelOverlap": True, "format": CLOCK_FORMAT},
            },
            "y": value_axis(unit, zero=False),
            "color": kinds("kind", {kind: color for kind, (color, _) in groups.items()}),
        },
    }


def _began(measurement: Measurement) -> datetime:
    return datetime.fromisoformat(measurement.started_utc)


def _milliseconds(at: datetime) -> float:
    return at.astimezone(timezone.utc).timestamp() * 1e3
