"""The fixtures: machine, model, dataset, engine and measurement of a scenario.

They serve the tests made from scenario files, and also Python tests: ``def test_x(dsr1_measurement)`` is
parameterized over the selected scenarios and shares the one measurement of each. Like any fixture, each can
be overridden in a conftest.py.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_dsr1.errors import Dsr1Error, InvalidRunError, UserError, on_failure
from pytest_dsr1.session.collection import target_index
from pytest_dsr1.session.run import outcome_of, ready, run
from pytest_dsr1.session.selection import SELECTION
from pytest_dsr1.session.state import (
    INTERRUPTIONS,
    STATE,
    ScenarioOutcome,
    allowed,
    ended_by,
    fail_setup,
    keep,
    listed,
)

if TYPE_CHECKING:
    from pytest_dsr1.engines.protocol import Engine
    from pytest_dsr1.findings import Finding
    from pytest_dsr1.machine.lease import Machine
    from pytest_dsr1.measurement.measurement import Measurement
    from pytest_dsr1.scenario.loading import LoadedScenario
    from pytest_dsr1.scenario.schema.scenario import Scenario
    from pytest_dsr1.session.replay import SavedStudy
    from pytest_dsr1.session.reuse import SharedResources
    from pytest_dsr1.verdict.verdict import Verdict
    from pytest_dsr1.workload.checkpoint import CheckpointFacts
    from pytest_dsr1.workload.questions import Questions
    from pytest_dsr1.workload.workload import Workload


@pytest.fixture(scope="session")
def _dsr1_shared(request: pytest.FixtureRequest) -> Iterator[SharedResources]:
    """The machine and the server that outlive a scenario; both are released after the last one."""
    from pytest_dsr1.session.reuse import SharedResources

    shared = SharedResources(request.config.stash[STATE].site)
    yield shared
    try:
        shared.close()
    except Dsr1Error as error:
        fail_setup(error)


@pytest.fixture(scope="session")
def dsr1_scenario(request: pytest.FixtureRequest) -> Scenario:
    """The scenario, parameterized over those selected, with each ``${VARIABLE}`` expanded."""
    loaded: LoadedScenario = request.param
    state = request.config.stash[STATE]
    prefix = request.config.stash[SELECTION].test_id_prefix(loaded.path)
    state.outcome_of(loaded, prefix)
    if state.replay is not None:
        return loaded.scenario
    from pytest_dsr1.scenario.variables import resolve

    try:
        return resolve(loaded.scenario, os.environ)
    except Dsr1Error as error:
        outcome_of(request, loaded.scenario).error = error
        fail_setup(error)


@pytest.fixture(scope="session")
def dsr1_preflight(
    request: pytest.FixtureRequest, dsr1_scenario: Scenario, _dsr1_shared: SharedResources
) -> tuple[Finding, ...]:
    """The findings on the machine; raises if it does not match the scenario. Changes nothing."""
    state, outcome = request.config.stash[STATE], outcome_of(request, dsr1_scenario)
    if state.replay is not None:
        if (search := state.replay.searches.get(dsr1_scenario.name)) is not None and dsr1_scenario.search:
            return _of_first_probe(search)
        measurement: Measurement = request.getfixturevalue("dsr1_measurement")
        return measurement.findings
    from pytest_dsr1.machine.lease import RESULT_BYTES
    from pytest_dsr1.workload.synthetic import synthetic_bytes

    dataset, load = dsr1_scenario.dataset, dsr1_scenario.load
    try:
        written = RESULT_BYTES + (0 if dataset.path else synthetic_bytes(dataset, load))
        findings = _dsr1_shared.look(
            dsr1_scenario, state.gpu_setup, os.environ, state.results, written, state.notify
        )
    except Dsr1Error as error:
        fail_setup(error)
    if state.allow_mismatch:
        findings = allowed(findings)
    outcome.findings = findings
    if outcome.problem is not None:
        fail_setup(InvalidRunError(outcome.problem))
    return findings


def _of_first_probe(search: SavedStudy) -> tuple[Finding, ...]:
    """Return the findings of the first probe that counts; none without any."""
    from pytest_dsr1.measurement.store import load

    try:
        return next((load(Path(run.folder)).findings for run in search.record.runs if not run.why), ())
    except Dsr1Error as error:
        fail_setup(error)


@pytest.fixture(scope="session")
def dsr1_model(dsr1_scenario: Scenario) -> CheckpointFacts:
    """The checkpoint, checked without reading a weight."""
    from pytest_dsr1.workload.checkpoint import check_checkpoint

    try:
        return check_checkpoint(dsr1_scenario.model)
    except Dsr1Error as error:
        fail_setup(error)


@pytest.fixture(scope="session")
def dsr1_dataset(request: pytest.FixtureRequest, dsr1_scenario: Scenario) -> Workload:
    """The requests, as a file: the scenario's own file, or synthetic ones from the cache."""
    from pytest_dsr1.workload.prepare import prepare

    count = request.config.stash[STATE].count
    try:
        with count(f"{dsr1_scenario.name}: writing the dataset, requests") as progress:
            return prepare(dsr1_scenario.dataset, dsr1_scenario.load, environ=os.environ, progress=progress)
    except Dsr1Error as error:
        fail_setup(error)


@pytest.fixture(scope="session")
def dsr1_questions(request: pytest.FixtureRequest, dsr1_scenario: Scenario) -> Questions:
    """The questions of `accuracy`, read before a GPU is used; none without it."""
    from pytest_dsr1.workload.questions import questions_of

    workload: Workload = request.getfixturevalue("dsr1_dataset")
    try:
        return questions_of(dsr1_scenario, workload)
    except Dsr1Error as error:
        fail_setup(error)


@pytest.fixture(scope="session")
def dsr1_gpu(
    request: pytest.FixtureRequest, dsr1_scenario: Scenario, _dsr1_shared: SharedResources
) -> Iterator[Machine]:
    """The machine, locked and set up for this run; restored when the run, or its kept server, ends."""
    request.getfixturevalue("dsr1_preflight")
    state = request.config.stash[STATE]
    try:
        yield _dsr1_shared.machine(dsr1_scenario, state.gpu_setup, os.environ, state.notify)
        _dsr1_shared.scenario_ended()
    except Dsr1Error as error:
        fail_setup(error)


@pytest.fixture(scope="session")
def dsr1_engine(dsr1_scenario: Scenario, _dsr1_shared: SharedResources) -> Engine:
    """The engine, which runs the inference."""
    from pytest_dsr1.engines.registry import create

    try:
        return create(dsr1_scenario.engine, _dsr1_shared.pool(dsr1_scenario))
    except Dsr1Error as error:
        fail_setup(error)


@pytest.fixture(scope="session")
def dsr1_measurement(
    request: pytest.FixtureRequest, dsr1_scenario: Scenario, _dsr1_shared: SharedResources
) -> Measurement:
    """The scenario's one measurement, shared by every test; raises if it is INVALID."""
    outcome = outcome_of(request, dsr1_scenario)
    if outcome.measurement is None and outcome.error is None:
        try:
            with on_failure(_dsr1_shared.end_engines):
                _measure(request, dsr1_scenario, outcome)
        except Dsr1Error as error:
            outcome.error = error
        except INTERRUPTIONS:
            outcome.error = InvalidRunError("interrupted")
            raise
        except pytest.skip.Exception:
            raise
        except BaseException as error:
            outcome.error = ended_by(error, "the run")
            if not isinstance(error, pytest.fail.Exception):
                raise  # with its traceback
    if outcome.error is not None:
        fail_setup(outcome.error)
    assert outcome.measurement is not None
    return outcome.measurement


def _measure(request: pytest.FixtureRequest, scenario: Scenario, outcome: ScenarioOutcome) -> None:
    from pytest_dsr1.verdict.validity import invalid_reasons

    state = request.config.stash[STATE]
    if state.replay is not None:
        if scenario.name not in state.replay.runs:
            found = f"one of {', '.join(state.replay.names)}"
            if scenario.name in state.replay.searches:
                found = "a search of it without that; `-k search` judges the search alone"
            raise UserError(f"--dsr1-replay: expected a result of {scenario.name}, found {found}")
        measurement = replace(state.replay.runs[scenario.name], scenario=scenario)
    else:
        if scenario.name in state.gated:
            ready(request, "_dsr1_announced")
        measurement = _run_or_resume(request, scenario, outcome)
    outcome.measurement = measurement
    reasons = invalid_reasons(measurement)
    if reasons:
        raise InvalidRunError(listed("the run does not count", reasons, f"results: {measurement.folder}"))


def _run_or_resume(
    request: pytest.FixtureRequest, scenario: Scenario, outcome: ScenarioOutcome
) -> Measurement:
    """Run the scenario; a point of a sweep, and the first run of pairs, may be finished already."""
    from pytest_dsr1.session import resume
    from pytest_dsr1.verdict.validity import invalid_reasons

    state, selection = request.config.stash[STATE], request.config.stash[SELECTION]
    in_pairs = state.mode == "pair" and scenario.name in state.gated
    if scenario.point is None:
        if in_pairs and (found := resume.first_of_pairs(state, scenario)) is not None:
            return found
        measurement = run(request, scenario, outcome)
        if in_pairs:
            resume.note_first(state, scenario, measurement.folder)
        return measurement
    labels = [
        each.scenario.point.label for each in selection.points(scenario.point.sweep) if each.scenario.point
    ]
    if (found := resume.finished(state, scenario, labels)) is not None:
        return found
    try:
        measurement = run(request, scenario, outcome)
    except Dsr1Error as error:
        resume.note(state, scenario, labels, outcome.folder, str(error))
        raise
    resume.note(state, scenario, labels, measurement.folder, "; ".join(invalid_reasons(measurement)))
    return measurement


@pytest.fixture
def _dsr1_target(request: pytest.FixtureRequest, dsr1_scenario: Scenario) -> int:
    """The index of the scenario's target that a test judges."""
    return target_index(dsr1_scenario, request.param)


@pytest.fixture
def _dsr1_verdict(
    request: pytest.FixtureRequest, _dsr1_target: int, dsr1_measurement: Measurement
) -> Verdict:
    """The verdict on the target of a scenario's test."""
    from pytest_dsr1.gate.reference_file import noise_of
    from pytest_dsr1.gate.saved import write_verdicts
    from pytest_dsr1.verdict.targets import judge
    from pytest_dsr1.verdict.verdict import Status

    outcome = outcome_of(request, dsr1_measurement.scenario)
    scenario, store = dsr1_measurement.scenario, request.config.stash[STATE].store
    target = scenario.targets[_dsr1_target]
    facts = dsr1_measurement.fingerprint.facts
    noise = noise_of(store, scenario, facts, target.metric, datetime.now(timezone.utc))
    verdict = judge(target, dsr1_measurement, noise)
    if verdict.status is not Status.PASS:
        where = outcome.loaded.where(f"targets.{_dsr1_target}")
        verdict = replace(verdict, message=f"{verdict.message}\n{where}; results: {dsr1_measurement.folder}")
    keep(outcome.verdicts, verdict)
    if request.config.stash[STATE].replay is None:  # a replay leaves the saved verdict alone
        try:
            write_verdicts(dsr1_measurement.folder, outcome.verdicts)
        except Dsr1Error as error:
            fail_setup(error)
    if verdict.status is Status.INVALID:
        fail_setup(InvalidRunError(verdict.message))
    return verdict


@pytest.fixture
def _dsr1_measured(request: pytest.FixtureRequest, dsr1_measurement: Measurement) -> None:
    """The valid run of a scenario without targets, saved with no verdicts."""
    from pytest_dsr1.gate.saved import write_verdicts

    if request.config.stash[STATE].replay is None:
        try:
            write_verdicts(dsr1_measurement.folder, ())
        except Dsr1Error as error:
            fail_setup(error)


@pytest.fixture
def _dsr1_benchmark(request: pytest.FixtureRequest, dsr1_measurement: Measurement) -> None:
    """Give each valid measurement to pytest-benchmark once, for any selection of tests."""
    outcome = outcome_of(request, dsr1_measurement.scenario)
    if outcome.benchmarked:
        return
    from pytest_dsr1.session.benchmark import Rounds, feed

    rounds = Rounds(dsr1_measurement)
    request.node.add_marker(pytest.mark.benchmark(timer=rounds.timer, disable_gc=False))
    feed(request.getfixturevalue("benchmark"), rounds, outcome.test_id_prefix)
    outcome.benchmarked = True
