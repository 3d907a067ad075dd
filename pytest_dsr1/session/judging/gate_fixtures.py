"""The fixtures of the tests ``regression`` (``--dsr1-gate``) and ``reference`` (``--dsr1-reference``)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest

from pytest_dsr1.errors import (
    Dsr1Error,
    InvalidRunError,
    NoReferenceError,
    ReferencesError,
    UserError,
)
from pytest_dsr1.session.judging.search_probes import Searches
from pytest_dsr1.session.judging.takes import takes
from pytest_dsr1.session.run import outcome_of, ready, run
from pytest_dsr1.session.state import INTERRUPTIONS, STATE, ScenarioOutcome, ended_by, fail_setup

if TYPE_CHECKING:
    from pytest_dsr1.gate.plan import GatePlan
    from pytest_dsr1.gate.progress import GateProgress
    from pytest_dsr1.machine.warm_start import Starts
    from pytest_dsr1.measurement.measurement import Measurement
    from pytest_dsr1.scenario.schema.scenario import Scenario
    from pytest_dsr1.session.reuse import SharedResources
    from pytest_dsr1.verdict.verdict import Status, Verdict


def _status_of(error: Dsr1Error) -> Status:
    """Return the status that an error means for a verdict."""
    from pytest_dsr1.gate.eligibility import NotComparableError
    from pytest_dsr1.gate.plan import UndecidableError
    from pytest_dsr1.study.loop import InconclusiveError
    from pytest_dsr1.verdict.verdict import Status

    statuses = {
        NoReferenceError: Status.NO_REFERENCE,
        ReferencesError: Status.NO_REFERENCE,
        NotComparableError: Status.NOT_COMPARABLE,
        InconclusiveError: Status.INCONCLUSIVE,
        UndecidableError: Status.INCONCLUSIVE,
    }
    return statuses.get(type(error), Status.INVALID)


def _named(request: pytest.FixtureRequest, text: str) -> str:
    """Return a message whose commands name what ``--dsr1-store`` and ``--dsr1-sweep`` name."""
    from pytest_dsr1.gate.references import with_store, with_sweep

    option = request.config.getoption
    return with_sweep(with_store(text, option("--dsr1-store")), option("--dsr1-sweep"))


def _refuse(request: pytest.FixtureRequest, error: Dsr1Error) -> NoReturn:
    """End a fixture with the status of the error."""
    fail_setup(UserError(_named(request, str(error))), _status_of(error))


@pytest.fixture(scope="session")
def _dsr1_store(request: pytest.FixtureRequest, dsr1_scenario: Scenario) -> Iterator[Path]:
    """The folder of references, checked before GPU time is spent.

    A gate locks the references from now on. For a recording, the fixture has tried to add a file.
    """
    from pytest_dsr1.gate.eligibility import refuse_unfit
    from pytest_dsr1.gate.recordings import folder_of, names
    from pytest_dsr1.gate.reference_file import locked, path_of

    state, name = request.config.stash[STATE], dsr1_scenario.name
    loaded, store = outcome_of(request, dsr1_scenario).loaded, state.store
    with ExitStack() as stack:
        try:
            refuse_unfit(loaded, dsr1_scenario, lambda: ready(request, "dsr1_dataset")[0])
            # Without references there is nothing to lock, so no folder is made for a lock.
            if state.mode == "record":
                _try_to_record(folder_of(store, name))
                names(store, name)  # raises if it cannot be listed
            elif os.path.exists(path_of(store, name)):  # noqa: PTH110 - never raises
                stack.enter_context(locked(store, name, f"a gate of {name}"))
        except Dsr1Error as error:
            _refuse(request, error)
        yield store


@pytest.fixture
def _dsr1_gated(request: pytest.FixtureRequest) -> str | None:
    """The metric that the scenario's gate judges, as in the test's name; None if the scenario names none."""
    name: str | None = request.param
    return name


@pytest.fixture(scope="session")
def _dsr1_gate_plan(request: pytest.FixtureRequest, dsr1_scenario: Scenario, _dsr1_store: Path) -> GatePlan:
    """The plan of the scenario's gate; raises if the gate cannot decide. Needs no inference."""
    from pytest_dsr1.gate.comparability import node
    from pytest_dsr1.gate.eligibility import compared
    from pytest_dsr1.gate.plan import gate_plan
    from pytest_dsr1.gate.reference_file import load
    from pytest_dsr1.gate.searched import facts_of
    from pytest_dsr1.measurement.run import facts_before

    site = request.config.stash[STATE].site
    try:
        model, dataset, machine = ready(request, "dsr1_model", "dsr1_dataset", "dsr1_gpu")
        facts = facts_before(machine, model, dataset, dsr1_scenario, site).facts
        if dsr1_scenario.gates_search:
            facts = facts_of(facts, dsr1_scenario)
        now = datetime.now(timezone.utc)
        references = load(_dsr1_store, dsr1_scenario, now)
        # The engine has not reported its software yet, so that is assumed equal; the run is compared in full.
        assumed = {key: fact for key, fact in references.facts.items() if key.startswith("engine.")}
        compared(references, {**assumed, **facts})
        plan = gate_plan(_dsr1_store, references, dsr1_scenario, node(facts), now)
    except Dsr1Error as error:
        _refuse(request, error)
    return plan


@pytest.fixture(scope="session")
def _dsr1_gate_announced(request: pytest.FixtureRequest, dsr1_scenario: Scenario) -> None:
    """Announce the cost of the gate, or why there will be none, before GPU time is spent."""
    notify = request.config.stash[STATE].notify
    try:
        plan: GatePlan = request.getfixturevalue("_dsr1_gate_plan")
    except pytest.fail.Exception as failure:
        notify(f"{dsr1_scenario.name}: there will be no gate: {failure.msg}")
    else:
        for line in plan.statement():
            notify(_named(request, line))


@pytest.fixture(scope="session")
def _dsr1_announced(request: pytest.FixtureRequest, dsr1_scenario: Scenario) -> None:  # noqa: ARG001 - once each
    """What a gate, a recording or pairs check and announce before the run that other tests judge."""
    mode = request.config.stash[STATE].mode
    ready(request, "_dsr1_pairing" if mode == "pair" else "_dsr1_store")
    if mode == "gate":
        request.getfixturevalue("_dsr1_gate_announced")


@pytest.fixture(scope="session")
def _dsr1_starts(request: pytest.FixtureRequest) -> Starts:
    """The record of engine starts on this node."""
    from pytest_dsr1.machine.warm_start import Starts

    return Starts(os.environ, request.config.stash[STATE].notify)


@pytest.fixture
def _dsr1_regression(
    request: pytest.FixtureRequest,
    dsr1_scenario: Scenario,
    _dsr1_shared: SharedResources,
    _dsr1_gate_announced: None,
    _dsr1_gate_plan: GatePlan,
    _dsr1_starts: Starts,
) -> Verdict:
    """The verdict of the scenario's gate, after as many runs as it needs."""
    outcome = outcome_of(request, dsr1_scenario)
    if outcome.word is None:
        _decide(request, dsr1_scenario, _dsr1_shared, _dsr1_gate_plan, _dsr1_starts)
    assert outcome.word is not None
    if isinstance(outcome.word, Dsr1Error):
        _refuse(request, outcome.word)
    return outcome.word


def _decide(
    request: pytest.FixtureRequest,
    scenario: Scenario,
    shared: SharedResources,
    plan: GatePlan,
    starts: Starts,
) -> None:
    """Run the gate; keep and save its verdict, or why there is none."""
    from pytest_dsr1.gate.progress import GateProgress
    from pytest_dsr1.steady.run_length import EnoughSeen
    from pytest_dsr1.study.eligibility import why_not
    from pytest_dsr1.study.loop import answer

    state, outcome, load = request.config.stash[STATE], outcome_of(request, scenario), scenario.load
    gate = outcome.gate = GateProgress(plan)

    def another(unseen: ScenarioOutcome) -> Measurement:
        enough = EnoughSeen(
            plan.metric,
            plan.design.level.small_percent,
            concurrency=load.at_once,
            gpus=max(scenario.hardware.count, 1),
            open_loop=load.arrival is not None,
            warmup_requests=plan.references.warmup_requests,
        )
        return run(request, scenario, unseen, requests=plan.references.requests, enough=enough)

    try:
        take = takes(request, scenario, shared, another)
        searches = Searches(request, scenario, shared) if scenario.gates_search else None
        outcome.word = answer(
            gate,
            lambda _: take() if searches is None else _searched(searches, gate),
            lambda measurement: "" if searches else why_not(measurement, starts),
            state.notify,
            lambda: _save(gate),
        )
        _save(gate)
        if not isinstance(outcome.word, Dsr1Error):
            outcome.word = replace(outcome.word, message=_named(request, outcome.word.message))
    except (*INTERRUPTIONS, pytest.skip.Exception):
        raise
    except BaseException as error:
        ours = error if isinstance(error, Dsr1Error) else ended_by(error, f"the gate of {scenario.name}")
        outcome.word = ours
        with suppress(Dsr1Error):  # a failure to save may be the error itself
            _save(gate, ours)
        if not isinstance(error, (Dsr1Error, pytest.fail.Exception)):
            raise  # with its traceback


def _searched(searches: Searches, gate: GateProgress) -> Measurement:
    """Return the next search of a gate as a run, whose figure the gate knows."""
    from pytest_dsr1.steady.figure import steady_figure

    measurement, found = searches()
    figure = steady_figure(found, gate.plan.metric, warmup_requests=0)
    gate.found[str(measurement.folder)] = figure
    return measurement


def _save(gate: GateProgress, error: Dsr1Error | None = None) -> None:
    """Write ``gate.json`` into the folder of the gate's first run."""
    from pytest_dsr1.gate.progress import saved
    from pytest_dsr1.gate.saved import write_gate

    if gate.folder:
        status, why = (None, None) if error is None else (_status_of(error), str(error))
        write_gate(Path(gate.folder), saved(gate, status, why))


def _try_to_record(folder: Path) -> None:
    """Check that a run can be recorded in a folder.

    Raises:
        InvalidRunError: the folder cannot be written.
    """
    from pytest_dsr1.storage.files import try_to_write

    try:
        try_to_write(folder)
    except OSError as error:
        raise InvalidRunError(
            f"{error.filename}: no run can be recorded in {folder}: {error.strerror}; expected a writable "
            "folder with free space"
        ) from None


@pytest.fixture
def _dsr1_recorded(
    request: pytest.FixtureRequest,
    dsr1_scenario: Scenario,
    _dsr1_shared: SharedResources,
    _dsr1_store: Path,
    _dsr1_starts: Starts,
) -> Path:
    """The file of a new recorded run, which may become a reference."""
    from pytest_dsr1.gate import recordings
    from pytest_dsr1.gate.accuracy.answers import recorded as recorded_answers
    from pytest_dsr1.gate.references import WANTED
    from pytest_dsr1.metrics.catalogue import metric_named
    from pytest_dsr1.steady.figure import steady_figure
    from pytest_dsr1.steady.trace import trace
    from pytest_dsr1.study.eligibility import figure, gated_metric, save_figure, why_not
    from pytest_dsr1.study.loop import next_that_counts
    from pytest_dsr1.text import number, shown_path

    state, outcome = request.config.stash[STATE], outcome_of(request, dsr1_scenario)

    def note(_: Measurement | None, why: str) -> None:
        state.notify(f"{dsr1_scenario.name}: this run is not recorded: {why}")

    take = takes(request, dsr1_scenario, _dsr1_shared, lambda unseen: run(request, dsr1_scenario, unseen))
    searches = Searches(request, dsr1_scenario, _dsr1_shared) if dsr1_scenario.gates_search else None
    try:
        # Another run would not change a failure of these.
        ready(request, "dsr1_model", "dsr1_dataset", "dsr1_gpu")
        again = f"pytest --dsr1-profile={dsr1_scenario.name} --dsr1-reference=record"
        if searches is None:
            counts = partial(why_not, starts=_dsr1_starts)
            measurement = next_that_counts(take, counts, note, again)
            found, traced = figure(measurement), trace(measurement)
        else:
            measurement, traced = searches()
            found = steady_figure(traced, gated_metric(dsr1_scenario), warmup_requests=0)
        save_figure(measurement, found)
        answers = recorded_answers(measurement) if searches is None else {}
        path = recordings.record(_dsr1_store, measurement, traced, answers)
        recorded, problems = recordings.read(_dsr1_store, dsr1_scenario.name)
    except Dsr1Error as error:
        _refuse(request, error)
    name, facts = dsr1_scenario.name, measurement.fingerprint.facts
    alike = recordings.alike(recorded, facts)
    made = _named(request, f"`pytest-dsr1 references accept {name} --reason TEXT` makes them references")
    outcome.notes.append(
        f"recorded {number(found.value)} {metric_named(gated_metric(dsr1_scenario)).unit} in "
        f"{shown_path(path)}: comparable runs on this node: {len(alike)} of the {WANTED} recommended; "
        f"{made}"
    )
    outcome.notes += problems
    return path
