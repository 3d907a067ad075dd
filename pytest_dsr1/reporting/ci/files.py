"""The files of ``--dsr1-report``, and everything that GitHub shows of a run."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

from pytest_dsr1.case.case import BAD, Case, case_of, case_without_data
from pytest_dsr1.case.cause.cause import Cause
from pytest_dsr1.gate.history import NO_HISTORY, history
from pytest_dsr1.reporting.ci.annotations import commands
from pytest_dsr1.reporting.ci.markdown import joined, summary
from pytest_dsr1.reporting.formats import Report, ReportFormat
from pytest_dsr1.reporting.terminal.overview import Line
from pytest_dsr1.session.state import NOT_WRITTEN, RunState, ScenarioOutcome
from pytest_dsr1.storage.files import write_atomically
from pytest_dsr1.text import shown_path
from pytest_dsr1.verdict.verdict import EXIT_STATUS, Status

CAUSE = "cause.json"
"""The file in the folder of a run with a bad result, for machines to read."""
STEP_LIMIT = 1024 * 1024
"""The most bytes of a step's summary; GitHub shows nothing of a longer one."""
_FAILED = (EXIT_STATUS[Status.FAIL], EXIT_STATUS[Status.INVALID])
_AGAIN = "`pytest --dsr1-replay=RESULTS` with the same --dsr1-report writes it without a GPU"


def report_of(state: RunState, status: int, root: Path, *, is_wanted: bool) -> Report:
    """Return the content of all reports of a run: on the terminal, in files, and for CI servers.

    Args:
        state: of the run.
        status: pytest's exit status.
        root: pytest's rootdir.
        is_wanted: whether any report is written: also read earlier results, to compare with, and look for
            clues even if nothing failed. If something failed, earlier results are read in any case.
    """
    now = datetime.now(timezone.utc)
    past = history(state.results) if is_wanted or status in _FAILED or _is_bad(state) else NO_HISTORY

    def case(outcome: ScenarioOutcome) -> Case:
        try:
            return case_of(outcome, state.store, now, past, with_clues=is_wanted)
        except Exception as error:  # noqa: BLE001 - the other scenarios must still be reported
            return case_without_data(outcome, error)

    return Report(
        cases=tuple(case(outcome) for outcome in state.outcomes.values()),
        not_run=tuple(name for name in state.selected if name not in state.outcomes),
        status=status,
        root=root,
        history=past,
        now=now,
    )


def _is_bad(state: RunState) -> bool:
    """Return whether a test has a bad result, also if the session was interrupted afterwards."""
    return any(status in BAD for status in state.statuses.values())


def cause_so_far(state: RunState, outcome: ScenarioOutcome, status: Status) -> Cause | None:
    """Return the cause of a test's bad result, as far as it is known when the test ends; None without any."""
    if status not in BAD:
        return None
    try:
        # Its own and later runs are never compared, so what was saved before its first test is enough.
        past = state.past = history(state.results) if state.past is None else state.past
        return case_of(outcome, state.store, datetime.now(timezone.utc), past).cause
    except Exception:  # noqa: BLE001 - the report of the session names our mistake; the verdict stands
        return None


def causes_so_far(state: RunState) -> dict[str, Cause]:
    """Return the causes of bad results that are known now, by scenario."""
    status = next((status for status in state.statuses.values() if status in BAD), None)
    if status is None:
        return {}
    causes = {name: cause_so_far(state, outcome, status) for name, outcome in state.outcomes.items()}
    return {name: cause for name, cause in causes.items() if cause is not None}


def keep_causes(cases: Iterable[Case]) -> list[Line]:
    """Write ``cause.json`` into the folder of each run with a bad result; return lines about failures."""
    written = [
        _try_to_write(shown_path(folder / CAUSE), partial(_write_cause, folder, case.cause), "the log has it")
        for case in cases
        if case.cause is not None and (folder := case.run.folder) is not None
    ]
    return [line for line in written if line[1] == NOT_WRITTEN]


def _write_cause(folder: Path, cause: Cause) -> None:
    document = {"cause": cause.word, **asdict(cause)}
    del document["kind"]
    write_atomically(folder / CAUSE, json.dumps(document, indent=1))


def is_wanted(files: Mapping[Path, ReportFormat], environ: Mapping[str, str]) -> bool:
    """Return whether any report must be written."""
    return bool(files or environ.get("GITHUB_ACTIONS") == "true" or environ.get("GITHUB_STEP_SUMMARY"))


def write(report: Report, files: Mapping[Path, ReportFormat], environ: Mapping[str, str]) -> list[Line]:
    """Write the requested files, and what GitHub requests through environment variables.

    Args:
        report: the content.
        files: the format of each file.
        environ: the environment variables, perhaps with GitHub's.

    Returns:
        Lines for the terminal: what was written, failures in red, and commands to GitHub.
    """
    lines = [
        _try_to_write(shown_path(path), partial(each.write, path, report), _AGAIN)
        for path, each in files.items()
    ]
    cases = report.worst_first
    step = environ.get("GITHUB_STEP_SUMMARY")
    if step and cases:
        pieces = summary(cases, report.not_run, report.status)
        append = partial(_append, Path(step), pieces)
        lines.append(_try_to_write("the job summary", append, "the log has all of it"))
    if environ.get("GITHUB_ACTIONS") == "true":
        workspace = environ.get("GITHUB_WORKSPACE")
        lines += [(each, {}) for each in commands(cases, Path(workspace) if workspace else None)]
    return lines


def _try_to_write(what: str, write: Callable[[], None], otherwise: str) -> Line:
    """Write one report and return a line about it; no error may end hours of GPU time in a traceback."""
    try:
        write()
    except Exception as error:  # noqa: BLE001
        why = error.strerror if isinstance(error, OSError) else error
        return f"dsr1: {what} cannot be written: {why}; {otherwise}", NOT_WRITTEN
    return f"dsr1: wrote {what}", {}


def _append(path: Path, pieces: Sequence[str]) -> None:
    """Append to the summary of the step, in which other commands may have written."""
    begun = path.stat().st_size if path.exists() else 0
    with path.open("a", encoding="utf-8") as file:
        file.write("\n" * bool(begun) + joined(pieces, STEP_LIMIT - begun - 1))
