"""What a run leaves for those who were not there: the files of ``--dsr1-report``, and what GitHub shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

from pytest_dsr1.case.answers import worst_first
from pytest_dsr1.case.case import Case, case_of
from pytest_dsr1.gate.history import History, history
from pytest_dsr1.reporting.ci.annotations import code_quality, commands
from pytest_dsr1.reporting.ci.markdown import joined, summary
from pytest_dsr1.reporting.terminal.overview import Line
from pytest_dsr1.session.state import RunState
from pytest_dsr1.storage.files import write_atomically
from pytest_dsr1.text import shown_path

STEP_LIMIT = 1024 * 1024
"""Bytes of one step's summary; of a longer one GitHub shows nothing."""
_BAD = {"red": True, "bold": True}
_AGAIN = "`pytest --dsr1-replay=RESULTS` with this --dsr1-report writes it without a GPU"


def write(state: RunState, status: int, root: Path, environ: Mapping[str, str]) -> list[Line]:
    """Write all that was asked for, and what GitHub asks for in its environment.

    Args:
        state: with all outcomes.
        status: pytest's exit status.
        root: pytest's rootdir.
        environ: of GitHub, if it is there.

    Returns:
        Lines for the terminal: what was written, in red what could not be, and commands to GitHub.
    """
    on_github = environ.get("GITHUB_ACTIONS") == "true"
    step = environ.get("GITHUB_STEP_SUMMARY")
    if not (state.reports or on_github or step):
        return []
    now = datetime.now(timezone.utc)
    past = history(state.results)
    cases = sorted(
        (case_of(each, state.store, now, past) for each in state.outcomes.values()), key=worst_first
    )
    unrun = [name for name in state.selected if name not in state.outcomes]
    pieces = summary(cases, unrun, status)
    lines = [
        _told(shown_path(path), partial(_report, path, cases, pieces, past, root, now), _AGAIN)
        for path in state.reports
    ]
    if step and cases:
        lines.append(_told("the job summary", partial(_append, Path(step), pieces), "the log has all of it"))
    if on_github:
        workspace = environ.get("GITHUB_WORKSPACE")
        lines += [(each, {}) for each in commands(cases, Path(workspace) if workspace else None)]
    return lines


def _told(what: str, do: Callable[[], None], otherwise: str) -> Line:
    """Write one thing, and say so; hours of GPU time must not end in a traceback of ours, whatever it is."""
    try:
        do()
    except Exception as error:  # noqa: BLE001
        why = error.strerror if isinstance(error, OSError) else error
        return f"dsr1: {what} cannot be written: {why}; {otherwise}", _BAD
    return f"dsr1: wrote {what}", {}


def _report(
    path: Path, cases: Sequence[Case], pieces: Sequence[str], past: History, root: Path, now: datetime
) -> None:
    if path.suffix == ".md":
        write_atomically(path, joined(pieces))
    elif path.suffix == ".json":
        write_atomically(path, code_quality(cases, root))
    else:
        _html(path, cases, past, now)


def _append(path: Path, pieces: Sequence[str]) -> None:
    """Add to the summary of the step, which other commands of it may have begun."""
    begun = path.stat().st_size if path.exists() else 0
    with path.open("a", encoding="utf-8") as file:
        file.write("\n" * bool(begun) + joined(pieces, STEP_LIMIT - begun - 1))


def _html(path: Path, cases: Sequence[Case], past: History, now: datetime) -> None:
    from pytest_dsr1.reporting.charts.history import Background, published_points
    from pytest_dsr1.reporting.html.render import write_html
    from pytest_dsr1.scenario.loading import load
    from pytest_dsr1.scenario.profiles import discover

    shipped = (load(file).scenario for file in discover(()).select("*"))
    write_html(path, cases, Background(past, published_points(shipped), now))
