"""The fixtures of the test ``search[...]``: the highest load that keeps a service level, found by probes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from pytest_dsr1.errors import Dsr1Error, UserError
from pytest_dsr1.session.judging.search_probes import searched
from pytest_dsr1.session.run import outcome_of, ready
from pytest_dsr1.session.state import INTERRUPTIONS, STATE, ended_by, fail_setup, keep

if TYPE_CHECKING:
    from pytest_dsr1.scenario.schema.scenario import Scenario
    from pytest_dsr1.scenario.schema.search import Search
    from pytest_dsr1.search.progress import SearchResult
    from pytest_dsr1.session.reuse import SharedResources
    from pytest_dsr1.verdict.verdict import Verdict


@pytest.fixture
def _dsr1_search(request: pytest.FixtureRequest) -> str:
    """The name of what was found and is judged, as in the test's name."""
    name: str = request.param
    return name


@pytest.fixture
def _dsr1_search_verdict(
    request: pytest.FixtureRequest, dsr1_scenario: Scenario, _dsr1_search: str, _dsr1_shared: SharedResources
) -> Verdict | None:
    """The verdict on a result of the search; None without a target, when the answer is all there is."""
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
    target = search.targets[_dsr1_search]
    if target is not None:
        verdict = found.judge(_dsr1_search, target)
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
    from pytest_dsr1.text import number

    outcome = outcome_of(request, scenario)
    try:
        if scenario.name in request.config.stash[STATE].gated:
            ready(request, "_dsr1_announced")
        found, left_out, outcome.probes = searched(request, scenario, shared)
    except Dsr1Error as error:
        return error
    except (*INTERRUPTIONS, pytest.skip.Exception):
        raise
    except BaseException as error:
        outcome.search = ended_by(error, f"the search of {scenario.name}")
        raise
    judged = any(target is not None for target in search.targets.values())
    outcome.notes += found.sentences if judged else found.sentences[1:]
    if found.throughput is not None and found.at_ends is not None:
        value, low, high = map(number, (found.throughput, *found.at_ends))
        outcome.notes.append(
            f"output throughput at that load: {value} tok/s; throughput at SLO: {low} tok/s, at the lower "
            f"end of the interval ({high} at the upper end)"
        )
    outcome.notes += [f"a probe did not count: {why}" for why in left_out]
    return found


def _folders(request: pytest.FixtureRequest, scenario: Scenario) -> str:
    """Return the folders of a search's probes as a pattern."""
    state = request.config.stash[STATE]
    saved = state.replay.searches[scenario.name] if state.replay is not None else None
    results = state.results if saved is None else saved.path.parent.parent
    return str(results / f"{scenario.name}.search-*")
