"""The curves of sweeps: throughput per GPU over speed per user, with published points, and their CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pytest_dsr1.case.case import Case
from pytest_dsr1.case.published import is_like
from pytest_dsr1.metrics.catalogue import METRICS
from pytest_dsr1.reporting.charts.history import GPU, USER, PublishedPoint
from pytest_dsr1.reporting.charts.run import Picture
from pytest_dsr1.reporting.charts.vega import INK, SERIES, WIDE, Spec, kinds, picture, rows
from pytest_dsr1.sweep.curve import CurvePoint, frontier
from pytest_dsr1.text import number
from pytest_dsr1.verdict.targets import Noise

TOTAL = "total_output_throughput"
_UNKNOWN = Noise(0.0)
"""How sure a point is does not matter for the picture."""


@dataclass(frozen=True, slots=True)
class Curve:
    """The measured points of one sweep.

    Attributes:
        name: of the sweep, with the version of its engine.
        cases: of its points that have a run, even one that does not count.
        y: the metric over the speed per user: per GPU, or in total on the CPU.
    """

    name: str
    cases: tuple[Case, ...]
    y: str

    @property
    def points(self) -> list[CurvePoint]:
        """The points that have both metrics and count."""
        found = []
        for case in self.cases:
            assert case.run.measurement is not None
            assert case.scenario.point is not None
            values = case.run.measurement.metrics
            if not case.judgment.problem and USER in values and self.y in values:
                label = case.scenario.point.label
                found.append(CurvePoint(label, values[USER].value, values[self.y].value, _UNKNOWN, _UNKNOWN))
        return found


def curves(cases: Iterable[Case]) -> list[Curve]:
    """Return the curves of all sweeps among the cases, in their order; none of a single point."""
    by_sweep: dict[str, list[Case]] = {}
    for case in cases:
        if case.scenario.point is not None and case.run.measurement is not None:
            by_sweep.setdefault(case.scenario.point.sweep, []).append(case)
    made = [Curve(_name(sweep, each), tuple(each), _y(each)) for sweep, each in by_sweep.items()]
    return [curve for curve in made if len(curve.points) > 1]


def _name(sweep: str, cases: Sequence[Case]) -> str:
    version = cases[0].run.measurement.result.version if cases[0].run.measurement else ""
    return f"{sweep} ({version})" if version else sweep


def _y(cases: Sequence[Case]) -> str:
    has_gpus = all(case.run.measurement and GPU in case.run.measurement.metrics for case in cases)
    return GPU if has_gpus else TOTAL


def curve_pictures(found: Sequence[Curve], published: Sequence[PublishedPoint]) -> Iterable[Picture]:
    """Yield a wide picture of all curves with the same axes.

    Args:
        found: of :func:`curves`.
        published: published results; those of the same model and GPU are shown.
    """
    for y in dict.fromkeys(curve.y for curve in found):
        yield _picture([curve for curve in found if curve.y == y], y, published if y == GPU else ())


def _picture(found: Sequence[Curve], y: str, published: Sequence[PublishedPoint]) -> Picture:
    encoding: Spec = {
        "x": _axis("x", USER, padding=90),
        "y": _axis("y", y, padding=40),
    }
    colors = {curve.name: SERIES[number % len(SERIES)] for number, curve in enumerate(found)}
    like = _published(found, published)
    if like:
        colors["published"] = INK
    color = kinds("kind", colors, columns=2)
    texts = _texts(found)
    points = [
        (curve.name, texts.get(each.label, each.label), each.x, each.y)
        for curve in found
        for each in curve.points
    ]
    best = [(curve.name, each.x, each.y) for curve in found for each in _best(curve)]
    known = [("published", str(n), each.per_user, each.per_gpu) for n, each in enumerate(like, 1)]
    every = [*points, *known]
    shown = rows(
        kind=(p[0] for p in every),
        text=(p[1] for p in every),
        x=(p[2] for p in every),
        y=(p[3] for p in every),
    )
    layers: list[Spec] = [
        {
            "data": rows(kind=(p[0] for p in best), x=(p[1] for p in best), y=(p[2] for p in best)),
            "mark": {"type": "line", "strokeWidth": 1.5, "interpolate": "linear"},
            "encoding": {**encoding, "color": color, "order": {"field": "x", "type": "quantitative"}},
        },
        {
            "data": shown,
            "mark": {"type": "point", "filled": True, "size": 80, "opacity": 0.9},
            "encoding": {**encoding, "color": color},
        },
        {
            "data": shown,
            "mark": {"type": "text", "fill": INK, "align": "left", "dx": 8, "dy": -6},
            "encoding": {**encoding, "text": {"field": "text"}},
        },
    ]
    title = f"{METRICS[y].label} vs. speed per user"
    return Picture(title, _caption(found, y, like), picture(layers, height=380, width=WIDE), wide=True)


def _axis(field: str, metric: str, *, padding: int) -> Spec:
    """Return a logarithmic axis with room for the labels of points."""
    scale = {"type": "log", "nice": False, "padding": padding}
    return {"field": field, "type": "quantitative", "title": METRICS[metric].unit, "scale": scale}


def _texts(found: Sequence[Curve]) -> dict[str, str]:
    """Return the text of each point by its label: its value alone, if all points set one and the same key."""
    points = [case.scenario.point for curve in found for case in curve.cases if case.scenario.point]
    keys = {key for point in points for key in point.values}
    if len(keys) > 1:
        return {}
    return {point.label: str(value) for point in points for value in point.values.values()}


def _best(curve: Curve) -> list[CurvePoint]:
    return frontier(curve.points, METRICS[USER].better, METRICS[curve.y].better)


def _published(found: Sequence[Curve], published: Sequence[PublishedPoint]) -> list[PublishedPoint]:
    """Return the published results of the same model on the same GPU as a curve's first point."""
    like = []
    for each in sorted(published, key=lambda point: point.per_user):
        firsts = (curve.cases[0] for curve in found)
        measured = ((case.scenario, case.run.measurement) for case in firsts if case.run.measurement)
        if any(is_like(each.model, each.gpu, scenario, run) for scenario, run in measured):
            like.append(each)
    return like


def _caption(found: Sequence[Curve], y: str, like: Sequence[PublishedPoint]) -> str:
    texts = []
    for curve in found:
        ends = sorted(curve.points, key=lambda point: point.x)
        texts.append(
            f"{curve.name}: {len(ends)} points, from {number(ends[0].x)} {METRICS[USER].unit} at "
            f"{number(ends[0].y)} {METRICS[y].unit} ({ends[0].label}) to {number(ends[-1].x)} at "
            f"{number(ends[-1].y)} ({ends[-1].label}); {len(_best(curve))} are on the curve"
        )
    if like:
        named = ", ".join(f"({n}) {each.profile}" for n, each in enumerate(like, 1))
        texts.append(f"published for this model on this GPU, from left to right: {named}")
    return f"{'; '.join(texts)}. The line joins the best points; both scales are logarithmic."


def curve_csv(found: Sequence[Curve]) -> str:
    """Return all points of all curves as CSV: a row per point, a column per metric with its unit."""
    runs = [(curve, case) for curve in found for case in curve.cases]
    keys = list(
        dict.fromkeys(key for _, case in runs if case.scenario.point for key in case.scenario.point.values)
    )
    names = [
        name
        for name in METRICS
        if any(case.run.measurement and name in case.run.measurement.metrics for _, case in runs)
    ]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    units = [f"{name} [{METRICS[name].unit}]" for name in names]
    writer.writerow(["curve", "point", *keys, "gpus", "verdict", *units])
    for curve, case in runs:
        assert case.scenario.point is not None
        assert case.run.measurement is not None
        values, status = case.run.measurement.metrics, case.judgment.status
        writer.writerow(
            [
                curve.name,
                case.scenario.point.label,
                *(case.scenario.point.values.get(key, "") for key in keys),
                case.scenario.hardware.count,
                "" if status is None else status.value,
                *(repr(values[name].value) if name in values else "" for name in names),
            ]
        )
    return text.getvalue()
