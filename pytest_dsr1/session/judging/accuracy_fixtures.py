"""The fixtures of the tests ``accuracy[...]``: the answers of the scenario's one measurement, judged."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING

import pytest

from pytest_dsr1.errors import Dsr1Error, UserError
from pytest_dsr1.session.collection import accuracy_keys
from pytest_dsr1.session.run import outcome_of
from pytest_dsr1.session.state import STATE, fail_setup, keep

if TYPE_CHECKING:
    from pytest_dsr1.gate.accuracy.reference_answers import Accepted
    from pytest_dsr1.measurement.measurement import Measurement
    from pytest_dsr1.scenario.schema.scenario import Scenario
    from pytest_dsr1.verdict.accuracy import AccuracyVerdict


@pytest.fixture
def _dsr1_accuracy(request: pytest.FixtureRequest) -> str:
    """The name of an accuracy test: ``same_answers``, or a task's."""
    name: str = request.param
    return name


@pytest.fixture(scope="session")
def _dsr1_accepted(request: pytest.FixtureRequest, dsr1_scenario: Scenario) -> Accepted:
    """The answers of the scenario's references, for all of its tests."""
    from pytest_dsr1.gate.accuracy.reference_answers import Accepted

    return Accepted(request.config.stash[STATE].store, dsr1_scenario.name, datetime.now(timezone.utc))


@pytest.fixture
def _dsr1_accuracy_verdict(
    request: pytest.FixtureRequest,
    _dsr1_accuracy: str,
    dsr1_measurement: Measurement,
    _dsr1_accepted: Accepted,
) -> AccuracyVerdict:
    """The verdict on the answers of a scenario's measurement."""
    from pytest_dsr1.gate.accuracy.judge import judge, only_recorded
    from pytest_dsr1.gate.references import with_store, with_sweep
    from pytest_dsr1.gate.saved import write_accuracy
    from pytest_dsr1.verdict.verdict import GOOD, Status

    state, outcome = request.config.stash[STATE], outcome_of(request, dsr1_measurement.scenario)
    records = state.mode == "record" and dsr1_measurement.scenario.name in state.gated
    verdict = only_recorded(_dsr1_accuracy, dsr1_measurement) if records else None
    if verdict is None:
        asked = _as_asked(request, _dsr1_accuracy, dsr1_measurement)
        verdict = judge(_dsr1_accuracy, asked, _dsr1_accepted, gated=state.mode == "gate")
    if verdict.status not in GOOD:
        where = outcome.loaded.where(accuracy_keys(dsr1_measurement.scenario)[_dsr1_accuracy])
        option = request.config.getoption
        said = with_sweep(with_store(verdict.message, option("--dsr1-store")), option("--dsr1-sweep"))
        verdict = replace(verdict, message=f"{said}\n{where}; results: {dsr1_measurement.folder}")
    keep(outcome.accuracy, verdict)
    if state.replay is None:  # a replay leaves the saved verdict alone
        try:
            write_accuracy(dsr1_measurement.folder, outcome.accuracy)
        except Dsr1Error as error:
            fail_setup(error)
    if verdict.status not in {Status.FAIL, *GOOD}:
        fail_setup(UserError(verdict.message), verdict.status)
    return verdict


def _as_asked(request: pytest.FixtureRequest, name: str, measurement: Measurement) -> Measurement:
    """Return the measurement with the scenario that asked its questions: in a replay, the saved one.

    If today's scenario asks otherwise, a note says so.
    """
    from pytest_dsr1.gate.accuracy.answers import as_asked, asked_otherwise

    today = measurement.scenario
    replay = request.config.stash[STATE].replay
    saved = replay.runs.get(today.name) if replay else None
    if saved is None:
        return measurement
    if otherwise := asked_otherwise(saved.scenario, today, name):
        notes = outcome_of(request, today).notes
        note = f"accuracy: {name} was asked otherwise, and is judged as it was asked: {'; '.join(otherwise)}"
        notes += [] if note in notes else [note]
    return replace(measurement, scenario=as_asked(saved.scenario, today))
