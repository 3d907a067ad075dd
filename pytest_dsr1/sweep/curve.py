"""The curve of a sweep: its best points, and what lies between two of them.

A point is on the curve if no other point is as good or better in both metrics. Between two neighbors on the
curve both metrics are taken to follow a straight line in logarithms; beyond the last points nothing is known.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

from pytest_dsr1.errors import InvalidRunError
from pytest_dsr1.metrics.catalogue import METRICS
from pytest_dsr1.scenario.schema.sweep import Frontier
from pytest_dsr1.text import number
from pytest_dsr1.verdict.targets import Noise, judged
from pytest_dsr1.verdict.verdict import Verdict, subject_of

Side = Literal["lower", "higher"]
_NAMED = 5
"""The most points without a result that a message names."""


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """A measured point.

    Attributes:
        label: its values, as in test ids.
        x: the metric across the curve, in its unit.
        y: the other metric, in its unit.
        x_noise: how much engine starts differ in x.
        y_noise: the same of y.
    """

    label: str
    x: float
    y: float
    x_noise: Noise
    y_noise: Noise


@dataclass(frozen=True, slots=True)
class Read:
    """What the curve has at a place.

    Attributes:
        value: of the judged metric, in its unit.
        noise: of that value, from both neighbors.
        between: the labels of the neighbors; one if a point is exactly there.
    """

    value: float
    noise: Noise
    between: tuple[str, ...]


def frontier(points: Iterable[CurvePoint], x_better: str, y_better: str) -> list[CurvePoint]:
    """Return the points that no other one beats, by growing x.

    Args:
        points: those with both metrics above 0.
        x_better: ``higher`` or ``lower``: which x is better.
        y_better: the same of y.
    """
    x_sign, y_sign = (1 if better == "higher" else -1 for better in (x_better, y_better))
    best: list[CurvePoint] = []
    for point in sorted(points, key=lambda p: (-x_sign * p.x, -y_sign * p.y)):
        if not best or y_sign * point.y > y_sign * best[-1].y:
            best.append(point)
    return sorted(best, key=lambda p: p.x)


def read(curve: Sequence[CurvePoint], x: float) -> Read | Side:
    """Return what the curve has at x; or the side on which a point is missing.

    Args:
        curve: of :func:`frontier`, with at least one point.
        x: in the unit of its metric.
    """
    for point in curve:
        if point.x == x:
            return Read(point.y, point.y_noise, (point.label,))
    if x < curve[0].x:
        return "lower"
    for left, right in pairwise(curve):
        if left.x < x < right.x:
            return _between(left, right, x)
    return "higher"


def _between(left: CurvePoint, right: CurvePoint, x: float) -> Read:
    """Interpolate in logarithms; the errors of the neighbors' x count by the slope of the line."""
    run, rise = math.log(right.x / left.x), math.log(right.y / left.y)
    share = math.log(x / left.x) / run
    slope = rise / run
    variance = sum(
        weight**2 * (point.y_noise.percent**2 + (slope * point.x_noise.percent) ** 2)
        for point, weight in ((left, 1 - share), (right, share))
    )
    counts = [each.references for point in (left, right) for each in (point.x_noise, point.y_noise)]
    known = [count for count in counts if count is not None]
    references = min(known) if len(known) == len(counts) else None
    value = left.y * math.exp(share * rise)
    return Read(value, Noise(math.sqrt(variance), references), (left.label, right.label))


def judge(
    wanted: Frontier, name: str, points: Sequence[CurvePoint], missing: Mapping[str, str], curve_of: str
) -> Verdict:
    """Return the verdict on a figure of a sweep's curve.

    Args:
        wanted: the figure.
        name: of its test, without brackets.
        points: the measured points that have both metrics.
        missing: why other points of the sweep have none, by label.
        curve_of: the name of the sweep.

    Raises:
        InvalidRunError: no point can be on the curve, or it does not reach the place; the message says what
            to do.
    """
    x, y = METRICS[wanted.of], METRICS[wanted.metric]
    usable = [point for point in points if point.x > 0 and point.y > 0]
    zeros = [point for point in points if point not in usable]
    missing = {**missing, **{point.label: f"{(y if point.x > 0 else x).label} is 0" for point in zeros}}
    curve = frontier(usable, x.better, y.better)
    found = read(curve, wanted.at) if curve else None
    place = f"{number(wanted.at)} {x.unit}"
    if isinstance(found, Read):
        middle = " and ".join(found.between)
        where = f" at {place} ({'between' if len(found.between) > 1 else 'point'} {middle})"
        verdict = judged(subject_of("frontier", name), wanted, found.value, found.noise, where)
        return replace(verdict, place=place, message=f"{verdict.message}{_listed(missing)}")
    why = _beyond(wanted, curve, found) if found else _no_curve(points)
    raise InvalidRunError(f"{curve_of}: {y.label} at {place} was not measured: {why}{_listed(missing)}")


def _listed(missing: Mapping[str, str]) -> str:
    """Return the first points without a result, and why; empty if there are none."""
    shown = [f"{label} ({why})" for label, why in missing.items()]
    more = len(shown) - _NAMED
    named = f"{', '.join(shown[:_NAMED])} and {more} more" if more > 0 else ", ".join(shown)
    return f"; points without a result: {named}" if shown else ""


def _no_curve(points: Sequence[CurvePoint]) -> str:
    """Return why no point is on the curve, and what to do."""
    if points:
        return "no point has both metrics above 0; add one that has"
    return (
        "no point has a valid result: remove the cause, which is told with each point, then run again with "
        "--dsr1-resume"
    )


def _beyond(wanted: Frontier, curve: Sequence[CurvePoint], side: Side) -> str:
    x = METRICS[wanted.of]
    return (
        f"the curve runs from {number(curve[0].x)} ({curve[0].label}) to {number(curve[-1].x)} {x.unit} "
        f"({curve[-1].label}), and nothing is judged beyond it; add a point with a {side} {x.label}"
    )
