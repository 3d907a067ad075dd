"""How a search makes its probes, and how a gate makes its searches."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from typing import TYPE_CHECKING

from pytest_dsr1.errors import Dsr1Error, InvalidRunError, UserError, on_failure
from pytest_dsr1.session import resume
from pytest_dsr1.session.judging.replayed import replayed_search
from pytest_dsr1.session.options import command
from pytest_dsr1.session.run import Inputs, outcome_of, ready, run
from pytest_dsr1.session.state import STATE, ScenarioOutcome

if TYPE_CHECKING:
    import pytest

    from pytest_dsr1.machine.lease import Machine
    from pytest_dsr1.machine.warm_start import Starts
    from pytest_dsr1.measurement.measurement import Measurement
    from pytest_dsr1.scenario.schema.scenario import Scenario
    from pytest_dsr1.scenario.schema.search import Search
    from pytest_dsr1.search.placing import Plan
    from pytest_dsr1.search.progress import SearchProgress, SearchResult
    from pytest_dsr1.session.reuse import SharedResources
    from pytest_dsr1.steady.trace import Trace


def searched(
    request: pytest.FixtureRequest, scenario: Scenario, shared: SharedResources, *, shown: bool = True
) -> tuple[SearchResult, tuple[str, ...], list[Measurement]]:
    """Search, or judge a saved search again.

    A search that is gated begins with an engine start of its own, which must not be a warm-up.

    Args:
        request: of a fixture that serves the scenario.
        scenario: with its variables expanded.
        shared: the machine, and the server that the probes share.
        shown: whether reports show the probes.

    Returns:
        The result, why probes do not count, and the probes that count; in a replay none.

    Raises:
        Dsr1Error: there is no result.
    """
    from pytest_dsr1.measurement.inputs import slo_limits
    from pytest_dsr1.scenario.schema.load import Slo
    from pytest_dsr1.search.placing import Question
    from pytest_dsr1.search.progress import SearchProgress
    from pytest_dsr1.study.loop import answer

    state, outcome = request.config.stash[STATE], outcome_of(request, scenario)
    search = scenario.search
    assert search is not None
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
        again=command(request.config, scenario.name, "-k", "search"),
    )
    if state.replay is not None:
        found = replayed_search(state, outcome, state.replay.searches[scenario.name], progress)
        return found, tuple(progress.left_out), []
    gated = scenario.gates_search and state.mode in {"gate", "record"} and scenario.name in state.gated
    starts: Starts | None = request.getfixturevalue("_dsr1_starts") if gated else None
    take = _Probes(request, scenario, search, shared, progress, starts, shown=shown)
    found = answer(progress, take, take.why_not, state.notify, lambda: None)
    take.ended(found)
    return found, tuple(progress.left_out), take.counted


def as_run(scenario: Scenario, found: SearchResult, probes: list[Measurement]) -> tuple[Measurement, Trace]:
    """Return a search as one run of a gate: its first probe with the facts of the search, and its figure.

    Raises:
        UserError: the answer is beyond the range.
        InvalidRunError: the probes contradict each other.
    """
    from pytest_dsr1.gate.searched import facts_of
    from pytest_dsr1.scenario.variables import without_secrets
    from pytest_dsr1.steady.trace import Trace, trace

    assert scenario.search is not None
    if found.found.where == "unclear":
        raise InvalidRunError(found.sentences[0])
    if found.found.where != "inside":
        raise UserError(f"{found.sentences[0]}; a gate needs an answer inside the range: search a wider one")
    first = probes[0]
    fingerprint = replace(first.fingerprint, facts=facts_of(first.fingerprint.facts, scenario))
    whole = replace(first, scenario=without_secrets(scenario), fingerprint=fingerprint, metrics={})
    return whole, Trace(
        requests=(),
        series=(),
        concurrency=1,
        gpus=first.result.gpus,
        open_loop=True,
        startup_s=trace(first).startup_s,
        found=found.figures,
        found_s=sum(each.measured_s for each in probes),
    )


class Searches:
    """The searches of a gate or a recording: first the one that ``search[...]`` judges, if it is selected."""

    def __init__(self, request: pytest.FixtureRequest, scenario: Scenario, shared: SharedResources) -> None:
        self._request = request
        self._scenario = scenario
        self._shared = shared
        tests = request.config.stash[STATE].tests.values()
        self._pending = any(
            test.loaded.scenario.name == scenario.name and test.name.startswith("search[") for test in tests
        )

    def __call__(self) -> tuple[Measurement, Trace]:
        """Return the next search as a run.

        Raises:
            Dsr1Error: it has no result that counts.
        """
        outcome = outcome_of(self._request, self._scenario)
        if self._pending:
            self._pending = False
            if isinstance(outcome.search, Dsr1Error):
                raise outcome.search
            if outcome.search is not None:
                return as_run(self._scenario, outcome.search, outcome.probes)
        resume.forget_search(self._request.config.stash[STATE], self._scenario.name)
        with on_failure(self._shared.end_engines):
            found, _, probes = searched(self._request, self._scenario, self._shared, shown=False)
        return as_run(self._scenario, found, probes)


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
        starts: Starts | None,
        *,
        shown: bool,
    ) -> None:
        self._request = request
        self._scenario = scenario
        self._search = search
        self._shared = shared
        self._progress = progress
        self._starts = starts
        self._shown = shown
        self._used: set[int] = set()
        self._whys: dict[str, str] = {}
        self.counted: list[Measurement] = []
        state, prefix = request.config.stash[STATE], outcome_of(request, scenario).test_id_prefix
        record = resume.begin_search(state, scenario, prefix)
        progress.left_out += [run.why for run in record.runs if run.why]

    def why_not(self, measurement: Measurement) -> str:
        """Return why a probe does not count, which is decided once."""
        return self._whys[str(measurement.folder)]

    def _why(self, measurement: Measurement) -> str:
        from pytest_dsr1.study.eligibility import why_not
        from pytest_dsr1.verdict.validity import invalid_reasons

        if self._starts is not None and not self.counted:
            return why_not(measurement, self._starts)
        return "; ".join(invalid_reasons(measurement))

    def ended(self, result: SearchResult) -> None:
        """Note the answer, and that earlier probes which it does not use do not count."""
        from pytest_dsr1.study.record import SEARCH

        state, name = self._request.config.stash[STATE], self._scenario.name
        record = resume.searched(state, name)
        runs = tuple(
            each if each.why or number in self._used else replace(each, why=f"{each.point} {_UNUSED}")
            for number, each in enumerate(record.runs)
        )
        found = {
            name: (value, low, None if math.isinf(high) else high)
            for name, (value, low, high) in result.metrics.items()
        }
        resume.keep(state, SEARCH, replace(record, runs=runs, answer=result.sentences[0], found=found))

    def __call__(self, plan: Plan) -> Measurement:
        """Return the measurement of a probe: of an earlier session that is resumed, or a new one.

        Raises:
            Dsr1Error: the run cannot be made.
        """
        from pytest_dsr1.scenario.search import label_of

        state, outcome = self._request.config.stash[STATE], outcome_of(self._request, self._scenario)
        known = sum(probe.load == plan.load for probe in self._progress.probes)
        name, label = self._scenario.name, label_of(plan.load, known)
        record = resume.searched(state, name)
        runs = record.runs
        measurement, used = None, len(runs)
        for number, each in enumerate(runs):
            if state.resume and each.point == label and not each.why:
                probe = self._scenario_of(plan, known, number)
                measurement, used = resume.reused(state, probe, each.folder), number
        if measurement is None:
            probe, used = self._scenario_of(plan, known, len(runs)), len(runs)
            measurement = resume.unnoted(state, probe, record)
            if measurement is None:
                measurement = self._new(plan, probe, label)
            why = self._whys[str(measurement.folder)] = self._why(measurement)
            resume.note_probe(state, name, label, measurement.folder, why)
        else:
            self._whys[str(measurement.folder)] = ""
        if self.why_not(measurement):
            return measurement
        self._used.add(used)
        self.counted.append(measurement)
        if self._shown:
            shown = state.outcome_of(
                replace(outcome.loaded, scenario=probe, warnings=()), outcome.test_id_prefix
            )
            shown.measurement, shown.folder = measurement, measurement.folder
        return measurement

    def _new(self, plan: Plan, probe: Scenario, label: str) -> Measurement:
        """Return the measurement of a new probe; one that fails is noted."""
        state, outcome = self._request.config.stash[STATE], outcome_of(self._request, self._scenario)
        own = ScenarioOutcome(replace(outcome.loaded, scenario=probe, warnings=()), outcome.test_id_prefix)
        if self._starts is not None and not self.counted:
            self._shared.end_engines()
        try:
            with on_failure(self._shared.end_engines):
                return self._run(plan, probe, own)
        except Dsr1Error as error:
            resume.note_probe(state, self._scenario.name, label, own.folder, str(error))
            raise

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
