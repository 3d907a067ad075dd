"""The fixtures of the test ``pair`` (``--dsr1-against``): two sides in turn until the pairs decide."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pytest_dsr1.errors import Dsr1Error, UserError
from pytest_dsr1.session import resume
from pytest_dsr1.session.judging.pair_sides import Pairing, go_on, new_side, start_s, take_of
from pytest_dsr1.session.judging.replayed import replayed_pairs
from pytest_dsr1.session.options import command
from pytest_dsr1.session.run import outcome_of, ready
from pytest_dsr1.session.state import INTERRUPTIONS, STATE, ended_by, fail_setup

if TYPE_CHECKING:
    from pytest_dsr1.machine.warm_start import Starts
    from pytest_dsr1.scenario.schema.scenario import Scenario
    from pytest_dsr1.session.reuse import SharedResources
    from pytest_dsr1.session.state import RunState
    from pytest_dsr1.verdict.verdict import Verdict


@pytest.fixture(scope="session")
def _dsr1_pairing(
    request: pytest.FixtureRequest, dsr1_scenario: Scenario, _dsr1_shared: SharedResources
) -> Pairing:
    """The comparison of a scenario, checked and announced before GPU time is spent."""
    from pytest_dsr1.gate.eligibility import refuse_unfit
    from pytest_dsr1.pairs.compared import as_new_side, as_start
    from pytest_dsr1.pairs.order import seed_of
    from pytest_dsr1.pairs.plan import pairs_plan
    from pytest_dsr1.pairs.progress import PairsProgress

    state, name = request.config.stash[STATE], dsr1_scenario.name
    loaded = outcome_of(request, dsr1_scenario).loaded
    try:
        refuse_unfit(loaded, dsr1_scenario, lambda: ready(request, "dsr1_dataset")[0], searches=False)
        ready(request, "dsr1_preflight", "dsr1_model", "dsr1_dataset")
        new = new_side(request, dsr1_scenario, _dsr1_shared)
        time_s, of = start_s(request, dsr1_scenario)
        _, record = resume.paired(state, name)
        plan = pairs_plan(dsr1_scenario, seed=seed_of(record.began), again=command(request.config, name))
        old = as_start(as_new_side(dsr1_scenario, dsr1_scenario))
        pairing = Pairing(old, new, PairsProgress(plan))
        go_on(pairing, record)
    except Dsr1Error as error:
        fail_setup(error)
    for line in plan.statement(time_s):
        state.notify(line)
    if time_s is not None:
        state.notify(f"{name}: a start takes {time_s:.0f} s, {of}")
    if counted := sum(not each.why for each in pairing.progress.runs):
        state.notify(f"{name}: goes on after {counted} engine starts that count")
    return pairing


@pytest.fixture
def _dsr1_pair_verdict(
    request: pytest.FixtureRequest,
    dsr1_scenario: Scenario,
    _dsr1_shared: SharedResources,
    _dsr1_starts: Starts,
) -> Verdict:
    """The verdict on the new side, after as many pairs as it needs, or as an earlier session made."""
    from pytest_dsr1.study.loop import InconclusiveError
    from pytest_dsr1.verdict.verdict import Status

    outcome = outcome_of(request, dsr1_scenario)
    if outcome.word is None and (replay := request.config.stash[STATE].replay) is not None:
        try:
            outcome.word = replayed_pairs(dsr1_scenario, outcome, replay.pairs[dsr1_scenario.name])
        except Dsr1Error as error:
            outcome.word = error
    elif outcome.word is None:
        pairing: Pairing = request.getfixturevalue("_dsr1_pairing")
        _decide(request, dsr1_scenario, _dsr1_shared, pairing, _dsr1_starts)
    word = outcome.word
    assert word is not None
    if isinstance(word, Dsr1Error):
        undecided = isinstance(word, InconclusiveError)
        fail_setup(UserError(str(word)), Status.INCONCLUSIVE if undecided else Status.INVALID)
    return word


def _decide(
    request: pytest.FixtureRequest,
    scenario: Scenario,
    shared: SharedResources,
    pairing: Pairing,
    starts: Starts,
) -> None:
    """Run the pairs; keep and save their verdict, or why there is none."""
    from pytest_dsr1.study.eligibility import why_not
    from pytest_dsr1.study.loop import answer

    state, outcome = request.config.stash[STATE], outcome_of(request, scenario)
    outcome.pairs = pairing.progress
    try:
        outcome.word = answer(
            pairing.progress,
            take_of(request, scenario, shared, pairing),
            lambda measurement: why_not(measurement, starts),
            state.notify,
            lambda: _save(state, pairing),
        )
        _save(state, pairing, outcome.word.message)
    except (*INTERRUPTIONS, pytest.skip.Exception):
        raise
    except BaseException as error:
        ours = error if isinstance(error, Dsr1Error) else ended_by(error, f"the pairs of {scenario.name}")
        outcome.word = ours
        with suppress(Dsr1Error):  # a failure to save may be the error itself
            _save(state, pairing, str(ours))
        if not isinstance(error, (Dsr1Error, pytest.fail.Exception)):
            raise  # with its traceback


def _save(state: RunState, pairing: Pairing, said: str = "") -> None:
    """Write the record of the pairs."""
    from pytest_dsr1.study.record import PAIRS, StudyRun

    name = pairing.progress.plan.name
    runs = tuple(StudyRun(run.side.value, run.folder, run.why) for run in pairing.progress.runs)
    _, record = resume.paired(state, name)
    resume.keep(state, PAIRS, replace(record, runs=runs, answer=said))
