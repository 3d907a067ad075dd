"""``--dsr1-list``: what there is, with hardware, engine and targets."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from pytest_dsr1.case.case import machine
from pytest_dsr1.metrics.catalogue import METRICS
from pytest_dsr1.scenario.schema.scenario import Scenario, Target
from pytest_dsr1.scenario.variables import unset_variables
from pytest_dsr1.text import number

if TYPE_CHECKING:
    from pytest_dsr1.scenario.loading import LoadedScenario


def _target(target: Target) -> str:
    metric = METRICS[target.metric]
    sign = ">=" if metric.better == "higher" else "<="
    bound = f"{sign} {number(target.value)} {metric.unit}"
    return f"{metric.label} {bound} (tolerance {target.tolerance_percent:g}%)"


def to_set(scenario: Scenario) -> Iterable[str]:
    """The variables that must be set before the scenario runs, as a person sets them."""
    return (f"export {name}=..." for name in unset_variables(scenario, os.environ))


def _lines(scenario: Scenario) -> Iterable[str]:
    yield scenario.name
    yield f"    {scenario.description}"
    yield f"    {machine(scenario)}"
    for target in scenario.targets:
        yield f"    {_target(target)}"
    for line in to_set(scenario):
        yield f"    set first: {line}"


def listing(scenarios: Sequence[LoadedScenario]) -> Iterable[str]:
    """The lines to print; the profiles' names stand in the first column."""
    for loaded in scenarios:
        yield from _lines(loaded.scenario)
