"""The fixtures of the test ``search[...]``: the highest load that keeps a service level, found by probes."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pytest_dsr1.errors import Dsr1Error, UserError, on_failure
from pytest_dsr1.session import resume
from pytest_dsr1.session.judging.replayed import replayed_search
from pytest_dsr1.session.run import Inputs, outcome_of, ready, run
from pytest_dsr1.session.state import INTERRUPTIONS, STATE, ScenarioOutcome, ended_by, fail_setup, keep

if TYPE_CHECKING:
    from pytest_dsr1.machine.lease import Machine
    from pytest_dsr1.measurement.measurement import Measurement
    from pytest_dsr1.scenario.schema.scenario import Scenario
    from pytest_dsr1.scenario.schema.search import Search
    from pytest_dsr1.search.placing import Plan
    from pytest_dsr1.search.progress import SearchProgress, SearchResult
    from pytest_dsr1.session.reuse import SharedResources
    from pytest_dsr1.verdict.verdict import Verdict


@pytest.fixture
def _dsr1_search(request: pytest.FixtureRequest) -> str:
    """The name of what is searched, as in the test's name."""
    name: str = request.param
    return name


@pytest.fixture
def _dsr1_search_verdict(
    request: pytest.FixtureRequest, dsr1_scenario: Scenario, _dsr1_search: str, _dsr1_shared: SharedResources
) -> Verdict | None:
    """The verdict of the scenario's search; None without a target, when the answer is all there is."""
    from pytest_dsr1.study.loop import InconclusiveError
    from pytest_dsr1.verdict.verdict import Status

    outcome, search = outcome_of(request, dsr1_scenario), dsr1_scenario.search
    assert search is not None
    if outcome.search is None:
        outcome.search = _answer(request, dsr1_scenario, search, _dsr1_shared)
    if isinstance(outcome.search, Dsr1Error):
        undecided = isinstance(outcome.search, InconclusiveError)
        fail_setup(outcome.search, Status.INCONCLUSIVE if undecided else None)
    found = outcome.search
    where = f"{outcome.loaded.where('search')}; results: {_folders(request, dsr1_scenario)}"
    if search.at_least is not None:
        verdict = found.judge(search.at_least)
        if verdict.status is not Status.PASS:
            verdict = replace(verdict, message=f"{verdict.message}\n{where}")
        keep(outcome.verdicts, verdict)
        return verdict
    if found.found.where == "unclear":
        fail_setup(UserError("\n  ".join([*found.sentences, where])), Status.INCONCLUSIVE)
    outcome.answer = found.sentences[0]
    return None


def _answer(
    request: pytest.FixtureRequest, scenario: Scenario, search: Search, shared: SharedResources
) -> SearchResult | Dsr1Error:
    """Search, and return the result, or why there is none; both are kept for the session."""
    from pytest_dsr1.measurement.inputs import slo_limits
    from pytest_dsr1.scenario.schema.load import Slo
    from pytest_dsr1.search.placing import Question
    from pytest_dsr1.search.progress import SearchProgress
    from pytest_dsr1.study.loop import answer
    from pytest_dsr1.text import number
    from pytest_dsr1.verdict.validity import invalid_reasons

    state, outcome = request.config.stash[STATE], outcome_of(request, scenario)
    slo = Slo(preset=search.slo) if search.slo else scenario.slo
    assert slo is not None
    low, high = search.ends
    progress = SearchProgress(
        name=scenario.name,
        asked=Question(
            float(low),
            float(high),
            search.goal,
            search.width_percent,
            whole=search.whole,
            most_requests=search.most_requests,
        ),
        limits=slo_limits(slo),
        again=f"pytest --dsr1-profile={scenario.name} -k search",
    )
    try:
        if state.replay is not None:
            found = replayed_search(state, outcome, state.replay.searches[scenario.name], progress)
        else:
            take = _Probes(request, scenario, search, shared, progress)
            found = answer(
                progress, take, lambda each: "; ".join(invalid_reasons(each)), state.notify, lambda: None
            )
            take.ended(found.sentences[0])
    except Dsr1Error as error:
        return error
    except (*INTERRUPTIONS, pytest.skip.Exception):
        raise
    except BaseException as error:
        outcome.search = ended_by(error, f"the search of {scenario.name}")
        raise
    judged = search.at_least is not None
    outcome.notes += found.sentences if judged else found.sentences[1:]
    if found.throughput is not None:
        outcome.notes.append(f"output throughput at that load: {number(found.throughput)} tok/s")
    outcome.notes += [f"a probe did not count: {why}" for why in progress.left_out]
    return found


def _folders(request: pytest.FixtureRequest, scenario: Scenario) -> str:
    """Return the folders of a search's probes as a pattern."""
    state = request.config.stash[STATE]
    saved = state.replay.searches[scenario.name] if state.replay is not None else None
    results = state.results if saved is None else saved.path.parent.parent
    return str(results / f"{scenario.name}.search-*")


_UNUSED = "was made for a question that the answer is not about"


class _Probes:
    """Makes the probes of one search: each is a scenario of its own, on the machine of the one searched."""

    def __init__(
        self,
        request: pytest.FixtureRequest,
        scenario: Scenario,
        search: Search,
        shared: SharedResources,
        progress: SearchProgress,
    ) -> None:
        self._request = request
        self._scenario = scenario
        self._search = search
        self._shared = shared
        self._progress = progress
        self._used: set[int] = set()
        state, prefix = request.config.stash[STATE], outcome_of(request, scenario).test_id_prefix
        record = resume.begin_search(state, scenario, prefix)
        progress.left_out += [run.why for run in record.runs if run.why]

    def ended(self, said: str) -> None:
        """Note the answer, and that earlier probes which it does not use do not count."""
        from pytest_dsr1.study.record import SEARCH

        state, name = self._request.config.stash[STATE], self._scenario.name
        record = resume.searched(state, name)
        runs = tuple(
            each if each.why or number in self._used else replace(each, why=f"{each.point} {_UNUSED}")
            for number, each in enumerate(record.runs)
        )
        resume.keep(state, SEARCH, replace(record, runs=runs, answer=said))

    def __call__(self, plan: Plan) -> Measurement:
        """Return the measurement of a probe: of an earlier session that is resumed, or a new one.

        Raises:
            Dsr1Error: the run cannot be made.
        """
        from pytest_dsr1.scenario.search import label_of
        from pytest_dsr1.verdict.validity import invalid_reasons

        state, outcome = self._request.config.stash[STATE], outcome_of(self._request, self._scenario)
        known = sum(probe.load == plan.load for probe in self._progress.probes)
        name, label = self._scenario.name, label_of(plan.load, known)
        runs = resume.searched(state, name).runs
        measurement, used = None, len(runs)
        for number, each in enumerate(runs):
            if state.resume and each.point == label and not each.why:
                probe = self._scenario_of(plan, known, number)
                measurement, used = resume.reused(state, probe, each.folder), number
        if measurement is None:
            probe, used = self._scenario_of(plan, known, len(runs)), len(runs)
            own = ScenarioOutcome(
                replace(outcome.loaded, scenario=probe, warnings=()), outcome.test_id_prefix
            )
            try:
                with on_failure(self._shared.end_engines):
                    measurement = self._run(plan, probe, own)
            except Dsr1Error as error:
                resume.note_probe(state, name, label, own.folder, str(error))
                raise
            why = "; ".join(invalid_reasons(measurement))
            resume.note_probe(state, name, label, measurement.folder, why)
        if not invalid_reasons(measurement):
            self._used.add(used)
            shown = state.outcome_of(
                replace(outcome.loaded, scenario=probe, warnings=()), outcome.test_id_prefix
            )
            shown.measurement, shown.folder = measurement, measurement.folder
        return measurement

    def _scenario_of(self, plan: Plan, again: int, runs: int) -> Scenario:
        from pytest_dsr1.scenario.search import probe_of

        return probe_of(
            self._scenario, self._search, plan.load, again=again, run=runs, requests=plan.requests
        )

    def _run(self, plan: Plan, probe: Scenario, outcome: ScenarioOutcome) -> Measurement:
        from pytest_dsr1.search.stopping import EnoughProbed
        from pytest_dsr1.workload.prepare import prepare
        from pytest_dsr1.workload.questions import Questions

        findings, checkpoint = ready(self._request, "dsr1_preflight", "dsr1_model")
        with self._request.config.stash[STATE].count(f"{probe.name}: writing the dataset, requests") as count:
            workload = prepare(probe.dataset, probe.load, environ=os.environ, progress=count)
        machine: Machine
        machine, engine = ready(self._request, "dsr1_gpu", "dsr1_engine")
        enough = EnoughProbed(
            plan,
            self._progress.limits,
            self._search.goal,
            concurrency=probe.load.at_once if self._search.whole else None,
        )
        inputs = Inputs(findings, checkpoint, workload, Questions(), machine.of(probe), engine)
        return run(self._request, probe, outcome, enough=enough, inputs=inputs, drains=True)
