"""How the tests of scenarios ended: each selected one has a status, or a reason why it was not judged."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pytest

from pytest_dsr1.session.collection import Missed, gates, judges, loaded_of, made, measured, name_of
from pytest_dsr1.session.selection import SELECTION
from pytest_dsr1.session.state import Failed, RunState, ScenarioOutcome, SelectedTest, ended_by
from pytest_dsr1.text import brief, harmless

if TYPE_CHECKING:
    from pytest_dsr1.verdict.accuracy import AccuracyVerdict
    from pytest_dsr1.verdict.verdict import Status, Verdict


_VERDICTS = (
    "_dsr1_verdict",
    "_dsr1_regression",
    "_dsr1_pair_verdict",
    "_dsr1_accuracy_verdict",
    "_dsr1_frontier_verdict",
    "_dsr1_search_verdict",
)
"""The fixtures that give a test its verdict."""


def skipped(why: str) -> str:
    """Return the reason of a test that was skipped, from pytest's own."""
    return f"skipped: {why.removeprefix('Skipped: ').rstrip('.') or 'no reason is given'}"


def expected_to_fail(why: str) -> str:
    """Return the reason of a test whose failure would not count, from that of its mark."""
    return f"marked xfail: {why.rstrip('.') or 'no reason is given'}"


def not_judged(test: str, why: str) -> str:
    """Return the message that a test, or a whole scenario, was selected and not judged."""
    return (
        f"not judged: {test}: {why}; remove the cause, deselect the test with -k, or allow it with the ini "
        "option dsr1_unjudged"
    )


def note_selected(state: RunState, items: Iterable[pytest.Item]) -> None:
    """Remember what is selected, and which whole runs are judged: a gate alone may send fewer requests."""
    for item in items:
        loaded = loaded_of(item)
        if loaded is None:
            continue
        prefix = item.config.stash[SELECTION].test_id_prefix(loaded.path)
        state.tests[item.nodeid] = SelectedTest(
            loaded, prefix, name_of(item), made(item), judges(item), gates(item)
        )
        if measured(item):
            state.whole.add(loaded.scenario.name)


def note_status(state: RunState, item: pytest.Item, call: pytest.CallInfo[None]) -> Status | None:
    """Remember and return the status of a test that has just been set up, called or torn down.

    Returns:
        None if this phase gives none. Whatever else is raised in a scenario's test is INVALID, because only a
        verdict can be FAIL. The failure of a user's own test is a FAIL.
    """
    from pytest_dsr1.verdict.verdict import Status, exit_status

    error, test = call.excinfo.value if call.excinfo else None, state.tests[item.nodeid]
    if isinstance(error, pytest.skip.Exception):
        return None
    given = getattr(item, "funcargs", {})
    verdict: Verdict | AccuracyVerdict | None = next(filter(None, map(given.get, _VERDICTS)), None)
    if isinstance(error, Failed):
        status = error.status
    elif call.when == "call" and verdict is not None and verdict.status is not Status.PASS:
        status, error = verdict.status, None
    elif error is not None:
        status = Status.INVALID if test.made or call.when != "call" else Status.FAIL
    elif call.when == "call":
        answered = "_dsr1_measured" in given or given.get("_dsr1_search_verdict", "other test") is None
        status = Status.MEASURED if answered else Status.PASS
    else:
        return None
    before = state.statuses.get(item.nodeid)
    if call.when == "teardown" and before and exit_status((before, status)) == exit_status((before,)):
        status = before  # its call ended at least as badly
    state.statuses[item.nodeid] = status
    if error is not None and test.made:
        said = harmless(str(error if isinstance(error, Failed) else ended_by(error, test.full_name)))
        _note_error(_outcome(state, test), test, status, said, of_gate=test.gates and call.when != "teardown")
    return status


def _note_error(
    outcome: ScenarioOutcome, test: SelectedTest, status: Status, said: str, *, of_gate: bool
) -> None:
    """Keep the error that ended a scenario's test, unless it is known already."""
    verdicts, answers = outcome.verdicts, outcome.accuracy
    known = [outcome.problem or "", *(each.message for each in verdicts), *(each.message for each in answers)]
    if of_gate:
        outcome.refused = status, said
    elif said not in map(harmless, known):
        outcome.unjudged[test.name] = status, said


def note_skipped(
    state: RunState, item: pytest.Item, call: pytest.CallInfo[None], report: pytest.TestReport
) -> None:
    """Take back the status of a test that is reported as skipped, or as failed and expected to fail.

    A test that must be judged has failed instead: it was marked while it ran, or a plugin changed its report.
    """
    test, status = state.tests[item.nodeid], state.statuses.get(item.nodeid)
    if not report.skipped:
        return
    error = call.excinfo.value if call.excinfo else None
    if status is not None and (error is None or isinstance(error, pytest.skip.Exception)):
        return  # it is judged: only its teardown was skipped, or nothing failed
    allowed = state.may_go_unjudged(test.full_name)
    if test.judges and status is not None and not allowed:
        report.outcome = "failed"
        if hasattr(report, "wasxfail"):
            del report.wasxfail
        elif call.excinfo is not None:
            report.longrepr = item.repr_failure(call.excinfo)
        return
    state.statuses.pop(item.nodeid, None)
    if test.judges:
        place = report.longrepr
        why = place[2] if isinstance(place, tuple) else ""
        expected = getattr(report, "wasxfail", None)
        _note_unjudged(state, test, skipped(why) if expected is None else expected_to_fail(expected))


def shorten(state: RunState, call: pytest.CallInfo[None], report: pytest.TestReport) -> None:
    """Report a message of several lines in full once: each test that needs what failed fails with it.

    pytest's short summary of failures begins with the figures of a miss, and has more than the first line.
    """
    error = call.excinfo.value if call.excinfo else None
    crash = getattr(report.longrepr, "reprcrash", None)
    if crash is not None and isinstance(error, Failed | Missed):
        figures = error.figures if isinstance(error, Missed) else ""
        crash.message = " ".join(f"{figures}{': ' if figures else ''}{error}".split())
    if not (report.failed and isinstance(error, Failed)):
        return
    message = str(error)
    first = state.shown.setdefault(message, report.nodeid)
    if first != report.nodeid and "\n" in message:
        report.longrepr = f"as above, at {first}: {brief(message)}"


def _note_unjudged(state: RunState, test: SelectedTest, why: str) -> None:
    """Keep why a test was not judged: as an error, unless ``dsr1_unjudged`` allows it."""
    from pytest_dsr1.verdict.verdict import Status

    ended: tuple[Status | None, str]
    if state.may_go_unjudged(test.full_name):
        ended = None, f"not judged: {test.full_name}: {why} (dsr1_unjudged allows it)"
    else:
        ended = Status.INCONCLUSIVE, not_judged(test.full_name, why)
    _outcome(state, test).unjudged[test.name] = ended


def note_unjudged(state: RunState, why: str) -> None:
    """Note each test that must be judged and was not, after the session.

    Args:
        state: of the session.
        why: the reason for a test that has none.
    """
    for test_id, test in state.tests.items():
        if test.judges and test_id not in state.statuses and test.name not in _outcome(state, test).unjudged:
            _note_unjudged(state, test, why)


def why_ended_early(session: pytest.Session, state: RunState) -> str | None:
    """Return why a session ended before its last test; None if it ran to its end, or Ctrl-C ended it.

    It ends early by a plugin's time limit for the whole session, ``--stepwise``, ``pytest.exit``, or ``-x``
    after the failure of another test. After a failure of ours, ``-x`` leaves the other scenarios not run.
    """
    most, failed = session.config.getoption("maxfail"), session.testsfailed
    if most and most <= failed <= state.failures and not state.ended_by_exit:
        return None
    why = state.ended_by_exit or session.shouldfail or session.shouldstop
    if not why:
        return None
    said = str(why).strip().rstrip(".") if isinstance(why, str) else ""
    return f"the session ended early: {harmless(said) or 'no reason is given'}"


def _outcome(state: RunState, test: SelectedTest) -> ScenarioOutcome:
    return state.outcome_of(test.loaded, test.test_id_prefix)
