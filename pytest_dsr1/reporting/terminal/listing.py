"""Output of ``--dsr1-list``: all scenarios. Little is imported, because a person waits for the list."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from pytest_dsr1.metrics.catalogue import METRICS, metric_named
from pytest_dsr1.scenario.schema.scenario import Scenario, Target
from pytest_dsr1.scenario.schema.sweep import Frontier, Point
from pytest_dsr1.scenario.variables import unset_variables
from pytest_dsr1.text import number

if TYPE_CHECKING:
    from pytest_dsr1.scenario.loading import LoadedScenario


def _target(target: Target | Frontier) -> str:
    metric = METRICS[target.metric]
    sign = ">=" if metric.better == "higher" else "<="
    bound = f"{sign} {number(target.value)} {metric.unit}"
    return f"{metric.label} {bound} (tolerance {target.tolerance_percent:g}%)"


def to_set(scenario: Scenario) -> Iterable[str]:
    """Return the shell lines that set the variables a scenario needs."""
    return (f"export {name}=..." for name in unset_variables(scenario, os.environ))


def _lines(scenario: Scenario, points: Sequence[Point]) -> Iterable[str]:
    yield points[0].sweep if points else scenario.name
    yield f"    {scenario.description}"
    yield f"    {scenario.machine}"
    if points:
        yield f"    {len(points)} points: {', '.join(point.label for point in points)}"
        for each in scenario.frontier:
            yield f"    curve at {number(each.at)} {METRICS[each.of].unit}: {_target(each)}"
    for target in scenario.targets:
        yield f"    {_target(target)}"
    if scenario.accuracy is not None:
        yield f"    accuracy: {', '.join(scenario.accuracy.test_names)}"
    search = scenario.search
    if search is not None:
        wanted = "".join(
            f", target {metric_named(name).label} at least {number(target)} {metric_named(name).unit}"
            for name, target in search.targets.items()
            if target is not None
        )
        yield f"    search: {search.key} {' to '.join(map(number, search.ends))}{wanted}"
    elif not scenario.targets:
        yield "    no targets: measured, not judged"
    for line in to_set(scenario):
        yield f"    set first: {line}"


def listing(scenarios: Sequence[LoadedScenario]) -> Iterable[str]:
    """Yield the lines to print; each profile's name starts in the first column, a sweep is one profile.

    Targets of a sweep are those of its first point.
    """
    points: dict[str, list[Point]] = {}
    for loaded in scenarios:
        if point := loaded.scenario.point:
            points.setdefault(point.sweep, []).append(point)
    for loaded in scenarios:
        point = loaded.scenario.point
        of_sweep = points[point.sweep] if point else []
        if point is None or point is of_sweep[0]:
            yield from _lines(loaded.scenario, of_sweep)
