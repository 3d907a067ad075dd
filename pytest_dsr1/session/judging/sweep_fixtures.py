"""The fixtures of the tests ``frontier[...]``: the curve through the points of a sweep, judged."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING

import pytest

from pytest_dsr1.errors import InvalidRunError
from pytest_dsr1.session.collection import frontier_names
from pytest_dsr1.session.run import outcome_of
from pytest_dsr1.session.selection import SELECTION
from pytest_dsr1.session.state import STATE, fail_setup, keep

if TYPE_CHECKING:
    from pytest_dsr1.measurement.measurement import Measurement
    from pytest_dsr1.scenario.schema.scenario import Scenario
    from pytest_dsr1.scenario.schema.sweep import Frontier
    from pytest_dsr1.session.state import RunState
    from pytest_dsr1.sweep.curve import CurvePoint
    from pytest_dsr1.verdict.verdict import Verdict


@pytest.fixture
def _dsr1_frontier(request: pytest.FixtureRequest) -> int:
    """The index of the figure of the curve that a test judges."""
    index: int = request.param
    return index


@pytest.fixture
def _dsr1_frontier_verdict(
    request: pytest.FixtureRequest, dsr1_scenario: Scenario, _dsr1_frontier: int
) -> Verdict:
    """The verdict on a figure of the sweep's curve, from the points that were measured before it."""
    from pytest_dsr1.sweep.curve import judge
    from pytest_dsr1.verdict.verdict import Status

    state, outcome = request.config.stash[STATE], outcome_of(request, dsr1_scenario)
    wanted, name = dsr1_scenario.frontier[_dsr1_frontier], frontier_names(dsr1_scenario)[_dsr1_frontier]
    points: list[CurvePoint] = []
    missing: dict[str, str] = {}
    for loaded in request.config.stash[SELECTION].points(dsr1_scenario.name):
        assert loaded.scenario.point is not None
        label = loaded.scenario.point.label
        found = _measured(state, loaded.scenario.name)
        if isinstance(found, str):
            missing[label] = found
        elif why := next((why for key in (wanted.of, wanted.metric) if (why := _without(found, key))), None):
            missing[label] = why
        else:
            points.append(_point(state, label, found, wanted))
    where = outcome.loaded.where(f"frontier.{_dsr1_frontier}")
    try:
        verdict = judge(wanted, name, points, missing, dsr1_scenario.name)
    except InvalidRunError as error:
        fail_setup(InvalidRunError("\n".join([str(error), *_none_selected(state, dsr1_scenario), where])))
    if verdict.status is not Status.PASS:
        verdict = replace(verdict, message=f"{verdict.message}\n{where}")
    keep(outcome.verdicts, verdict)
    return verdict


def _none_selected(state: RunState, sweep: Scenario) -> Iterator[str]:
    """Yield what to select, if no test was selected that measures a point."""
    points = (test.loaded.scenario for test in state.tests.values() if test.loaded.scenario.point)
    if state.replay is None and not any(
        each.point and each.point.sweep == sweep.name and each.name in state.whole for each in points
    ):
        yield (
            "no test that measures a point of the sweep is selected: add them, such as with -k 'frontier or "
            "target or measured'; with --dsr1-resume, finished points are not run again"
        )


def _measured(state: RunState, profile: str) -> Measurement | str:
    """Return the valid run of a point, or why there is none."""
    outcome = state.outcomes.get(profile)
    if outcome is None or (outcome.measurement is None and not outcome.problem):
        return "was not run"
    if outcome.problem or outcome.measurement is None:
        return "is INVALID"
    return outcome.measurement


def _without(measurement: Measurement, metric: str) -> str | None:
    """Return that a run has no such metric; None if it has."""
    from pytest_dsr1.metrics.catalogue import METRICS

    return None if metric in measurement.metrics else f"{METRICS[metric].label} was not measured"


def _point(state: RunState, label: str, measurement: Measurement, wanted: Frontier) -> CurvePoint:
    from pytest_dsr1.gate.reference_file import noise_of
    from pytest_dsr1.sweep.curve import CurvePoint

    facts, now = measurement.fingerprint.facts, datetime.now(timezone.utc)
    of, judged = (
        noise_of(state.store, measurement.scenario, facts, metric, now)
        for metric in (wanted.of, wanted.metric)
    )
    values = measurement.metrics
    return CurvePoint(label, values[wanted.of].value, values[wanted.metric].value, of, judged)
