"""What a run leaves for those who were not there: the files of ``--dsr1-report``, and what GitHub shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

from pytest_dsr1.case.case import case_of
from pytest_dsr1.gate.history import NO_HISTORY, history
from pytest_dsr1.reporting.ci.annotations import commands
from pytest_dsr1.reporting.ci.markdown import joined, summary
from pytest_dsr1.reporting.formats import Report, ReportFormat
from pytest_dsr1.reporting.terminal.overview import Line
from pytest_dsr1.session.state import RunState
from pytest_dsr1.text import shown_path

STEP_LIMIT = 1024 * 1024
"""Bytes of one step's summary; of a longer one GitHub shows nothing."""
_BAD = {"red": True, "bold": True}
_AGAIN = "`pytest --dsr1-replay=RESULTS` with this --dsr1-report writes it without a GPU"


def report_of(state: RunState, status: int, root: Path, *, beside_past: bool) -> Report:
    """Return what there is to say of a run: for the terminal, for reports, and for CI servers.

    Args:
        state: of the run.
        status: pytest's exit status.
        root: pytest's rootdir.
        beside_past: read earlier results as well, which a report sets it beside.
    """
    now, past = datetime.now(timezone.utc), history(state.results) if beside_past else NO_HISTORY
    return Report(
        cases=tuple(case_of(each, state.store, now, past) for each in state.outcomes.values()),
        not_run=tuple(name for name in state.selected if name not in state.outcomes),
        status=status,
        root=root,
        history=past,
        now=now,
    )


def is_wanted(files: Mapping[Path, ReportFormat], environ: Mapping[str, str]) -> bool:
    """Return whether anything is to be written at all."""
    return bool(files or environ.get("GITHUB_ACTIONS") == "true" or environ.get("GITHUB_STEP_SUMMARY"))


def write(report: Report, files: Mapping[Path, ReportFormat], environ: Mapping[str, str]) -> list[Line]:
    """Write all that was asked for, and what GitHub asks for in its environment.

    Args:
        report: what there is to say.
        files: what to write.
        environ: of GitHub, if it is there.

    Returns:
        Lines for the terminal: what was written, in red what could not be, and commands to GitHub.
    """
    lines = [
        _told(shown_path(path), partial(each.write, path, report), _AGAIN) for path, each in files.items()
    ]
    cases = report.worst_first
    step = environ.get("GITHUB_STEP_SUMMARY")
    if step and cases:
        pieces = summary(cases, report.not_run, report.status)
        lines.append(_told("the job summary", partial(_append, Path(step), pieces), "the log has all of it"))
    if environ.get("GITHUB_ACTIONS") == "true":
        workspace = environ.get("GITHUB_WORKSPACE")
        lines += [(each, {}) for each in commands(cases, Path(workspace) if workspace else None)]
    return lines


def _told(what: str, do: Callable[[], None], otherwise: str) -> Line:
    """Write one thing, and say so; hours of GPU time must not end in a traceback, whatever it is."""
    try:
        do()
    except Exception as error:  # noqa: BLE001
        why = error.strerror if isinstance(error, OSError) else error
        return f"dsr1: {what} cannot be written: {why}; {otherwise}", _BAD
    return f"dsr1: wrote {what}", {}


def _append(path: Path, pieces: Sequence[str]) -> None:
    """Add to the summary of the step, which other commands of it may have begun."""
    begun = path.stat().st_size if path.exists() else 0
    with path.open("a", encoding="utf-8") as file:
        file.write("\n" * bool(begun) + joined(pieces, STEP_LIMIT - begun - 1))
