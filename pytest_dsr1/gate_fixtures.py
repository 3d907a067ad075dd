"""The fixtures of ``--dsr1-gate`` and ``--dsr1-reference=record``: of the tests regression and reference."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import pytest

from pytest_dsr1.errors import Dsr1Error, InvalidRunError, NoReferenceError, ReferencesError
from pytest_dsr1.fixtures import outcome_of, ready, run
from pytest_dsr1.session import SESSION, Outcome, fail_setup

if TYPE_CHECKING:
    from pytest_dsr1.environment.starts import Starts
    from pytest_dsr1.gating import Gate, Take
    from pytest_dsr1.measurement.held import Held
    from pytest_dsr1.measurement.values import Measurement
    from pytest_dsr1.scenario.model import Scenario
    from pytest_dsr1.verdict.plan import GatePlan
    from pytest_dsr1.verdict.words import Verdict, Word


def _word(error: Dsr1Error) -> Word:
    """What an error means for a verdict."""
    from pytest_dsr1.gating import InconclusiveError, NotComparableError
    from pytest_dsr1.verdict.plan import UndecidableError
    from pytest_dsr1.verdict.words import Word

    words = {
        NoReferenceError: Word.NO_REFERENCE,
        ReferencesError: Word.NO_REFERENCE,
        NotComparableError: Word.NOT_COMPARABLE,
        InconclusiveError: Word.INCONCLUSIVE,
        UndecidableError: Word.INCONCLUSIVE,
    }
    return words.get(type(error), Word.INVALID)


def _refuse(error: Dsr1Error) -> NoReturn:
    """End a fixture with the word of the error."""
    fail_setup(error, _word(error))


@pytest.fixture
def _dsr1_gated(request: pytest.FixtureRequest, dsr1_scenario: Scenario) -> str:
    """The metric that the scenario's gate judges; raises where there is none, or the runs are too short."""
    from pytest_dsr1.errors import UserError
    from pytest_dsr1.measurement.run_length import LATENCIES
    from pytest_dsr1.scenario.metrics import GATEABLE

    name, load, engine = dsr1_scenario.gated_metric, dsr1_scenario.load, dsr1_scenario.engine
    loaded = outcome_of(request, dsr1_scenario).loaded
    if engine.type == "openai" and engine.url is not None:
        fail_setup(
            UserError(
                f"{loaded.where('engine.url')}: the unit of evidence is one engine start, and the server at "
                f"{engine.url} is started by somebody else; let pytest-dsr1 start it: engine.command or "
                "engine.server instead of engine.url"
            )
        )
    least = (1 + LATENCIES + 1) * load.concurrency
    if load.arrival is None and load.concurrency > 1 and load.num_requests < least:
        fail_setup(
            UserError(
                f"{loaded.where('load.num_requests')}: {load.num_requests:,} requests at load.concurrency "
                f"{load.concurrency:,} are too few for references and gates: one wave warms up, three count, "
                f"one runs out; set load.num_requests to at least {least:,}"
            )
        )
    if name not in GATEABLE:
        fail_setup(
            UserError(
                f"{loaded.where('targets.0.metric')}: {name}, the metric of the first target, cannot be "
                f"gated; set gate.metric to one of: {', '.join(GATEABLE)}"
            )
        )
    return name


@pytest.fixture(scope="session")
def _dsr1_gate_plan(request: pytest.FixtureRequest, dsr1_scenario: Scenario) -> GatePlan:
    """How the scenario's gate decides; raises when it cannot be judged. No inference is run for it."""
    from pytest_dsr1.gating import compared
    from pytest_dsr1.measurement.run import facts_before
    from pytest_dsr1.verdict.plan import gate_plan
    from pytest_dsr1.verdict.reference_file import load
    from pytest_dsr1.verdict.rings import node

    try:
        model, dataset, machine = ready(request, "dsr1_model", "dsr1_dataset", "dsr1_gpu")
        facts = facts_before(machine, model, dataset, dsr1_scenario).facts
        store = request.config.stash[SESSION].store
        now = datetime.now(timezone.utc)
        references = load(store, dsr1_scenario, now)
        # What the engine will tell of its software is not known yet; the run itself is compared whole.
        told = {key: fact for key, fact in references.facts.items() if key.startswith("engine.")}
        compared(references, {**told, **facts})
        plan = gate_plan(store, references, dsr1_scenario, node(facts), now)
    except Dsr1Error as error:
        _refuse(error)
    return plan


@pytest.fixture(scope="session")
def _dsr1_gate_told(request: pytest.FixtureRequest, dsr1_scenario: Scenario) -> None:
    """Say what the gate will cost, or why there is none, before GPU time is spent."""
    tell = request.config.stash[SESSION].tell
    try:
        plan: GatePlan = request.getfixturevalue("_dsr1_gate_plan")
    except pytest.fail.Exception as failure:
        tell(f"{dsr1_scenario.name}: there will be no gate: {failure.msg}")
    else:
        for line in plan.statement():
            tell(line)


@pytest.fixture(scope="session")
def _dsr1_starts(request: pytest.FixtureRequest) -> Starts:
    """The engine starts that this node has seen."""
    from pytest_dsr1.environment.starts import Starts

    return Starts(os.environ, request.config.stash[SESSION].tell)


def _takes(
    request: pytest.FixtureRequest, scenario: Scenario, held: Held, another: Callable[[Outcome], Measurement]
) -> Take:
    """The runs of a scenario: first the one that its other tests judge, if there are any, then more."""
    session, outcome = request.config.stash[SESSION], outcome_of(request, scenario)
    pending = [scenario.name] if scenario.name in session.whole else []

    def take() -> Measurement:
        if pending:
            pending.clear()
            try:
                first: Measurement = request.getfixturevalue("dsr1_measurement")
            except pytest.fail.Exception as failure:
                if outcome.measurement is None:
                    raise InvalidRunError(str(failure.msg)) from None
                return outcome.measurement
            return first
        with held.server.ended_on_failure():
            return another(Outcome(outcome.loaded, outcome.place))

    return take


@pytest.fixture
def _dsr1_regression(
    request: pytest.FixtureRequest,
    dsr1_scenario: Scenario,
    _dsr1_held: Held,
    _dsr1_gate_told: None,
    _dsr1_gate_plan: GatePlan,
    _dsr1_starts: Starts,
) -> Verdict:
    """The verdict of the scenario's gate, after as many runs as it takes."""
    from pytest_dsr1.gating import Gate, decide
    from pytest_dsr1.measurement.enough import EnoughSeen
    from pytest_dsr1.verdict.reference_file import held

    session, outcome = request.config.stash[SESSION], outcome_of(request, dsr1_scenario)
    plan, load = _dsr1_gate_plan, dsr1_scenario.load
    gate = outcome.gate = Gate(plan)

    def another(unseen: Outcome) -> Measurement:
        enough = EnoughSeen(
            plan.metric,
            plan.design.level.noise_percent / 3,
            concurrency=load.concurrency,
            gpus=max(dsr1_scenario.hardware.count, 1),
            open_loop=load.arrival is not None,
            warmup_requests=plan.references.warmup_requests,
        )
        return run(request, dsr1_scenario, unseen, requests=plan.references.requests, enough=enough)

    try:
        with held(session.store, dsr1_scenario.name, f"a gate of {dsr1_scenario.name}"):
            verdict = decide(
                gate,
                _takes(request, dsr1_scenario, _dsr1_held, another),
                _dsr1_starts,
                session.tell,
                lambda: _save(gate),
            )
        _save(gate)
    except Dsr1Error as error:
        with suppress(Dsr1Error):  # what cannot be saved may be why
            _save(gate, error)
        _refuse(error)
    return verdict


def _save(gate: Gate, error: Dsr1Error | None = None) -> None:
    """``gate.json`` in the folder of the gate's first run."""
    from pytest_dsr1.gating import saved
    from pytest_dsr1.verdict.saved import write_gate

    if gate.folder:
        word, why = (None, None) if error is None else (_word(error), str(error))
        write_gate(Path(gate.folder), saved(gate, word, why))


@pytest.fixture
def _dsr1_recorded(
    request: pytest.FixtureRequest, dsr1_scenario: Scenario, _dsr1_held: Held, _dsr1_starts: Starts
) -> Path:
    """The file of one more run that may become a reference."""
    from pytest_dsr1.gating import figure, save_evidence, useful
    from pytest_dsr1.measurement.trace import trace
    from pytest_dsr1.scenario.metrics import METRICS
    from pytest_dsr1.verdict import candidates
    from pytest_dsr1.verdict.references import WANTED
    from pytest_dsr1.verdict.targets import number

    session, outcome = request.config.stash[SESSION], outcome_of(request, dsr1_scenario)

    def note(_: Measurement | None, why: str) -> None:
        session.tell(f"{dsr1_scenario.name}: this run is no reference: {why}")

    take = _takes(request, dsr1_scenario, _dsr1_held, lambda unseen: run(request, dsr1_scenario, unseen))
    try:
        ready(request, "dsr1_model", "dsr1_dataset", "dsr1_gpu")  # what no other run would change
        candidates.names(session.store, dsr1_scenario.name)  # a folder that no run makes listable
        again = f"pytest --dsr1-profile={dsr1_scenario.name} --dsr1-reference=record"
        measurement = useful(take, _dsr1_starts, note, again)
        found = figure(measurement)
        save_evidence(measurement, found)
        path = candidates.record(session.store, measurement, trace(measurement))
        recorded, problems = candidates.read(session.store, dsr1_scenario.name)
    except Dsr1Error as error:
        _refuse(error)
    name, facts = dsr1_scenario.name, measurement.fingerprint.facts
    alike = candidates.alike(recorded, facts)
    outcome.notes.append(
        f"recorded {number(found.value)} {METRICS[dsr1_scenario.gated_metric].unit} in "
        f"{os.path.relpath(path)}: {len(alike)} of {WANTED} wanted runs like this one on this node; "
        f"`pytest-dsr1 references accept {name} --reason TEXT` makes references of them"
    )
    outcome.notes += problems
    return path
