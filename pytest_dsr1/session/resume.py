"""The record of each sweep of a session, and the points that an earlier session has finished."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_dsr1.errors import Dsr1Error, UserError
from pytest_dsr1.text import shown_path

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from pytest_dsr1.measurement.measurement import Measurement
    from pytest_dsr1.scenario.schema.scenario import Scenario
    from pytest_dsr1.scenario.schema.sweep import Point
    from pytest_dsr1.session.state import RunState
    from pytest_dsr1.study.record import StudyRecord


_MEASURED = {"hardware", "gpu_setup", "model", "dataset", "load", "engine", "speculation", "slo", "accuracy"}
"""The parts of a scenario that decide what is measured; the others judge it."""


def finished(
    state: RunState,
    scenario: Scenario,
    points: Collection[str],
    may_differ: Mapping[str, set[str]] | None = None,
) -> Measurement | None:
    """Return the valid run of a point that the sweep to go on with has made; None if it must run.

    The first call for a sweep begins its record.

    Args:
        state: of this session.
        scenario: the point's.
        points: the labels of all points of its sweep; none of a search, whose probes are not known before.
        may_differ: by part of the scenario, the keys that may have changed since.

    Raises:
        UserError: there is no sweep to go on with, or its record cannot be read.
        InvalidRunError: its record cannot be written.
    """
    point = scenario.point
    if point is None:
        return None
    _, record = _study(state, point, points)
    folder = record.finished.get(point.label)
    if not folder or not state.resume:
        return None
    from pytest_dsr1.measurement.store import load
    from pytest_dsr1.scenario.rules.speculation import as_saved
    from pytest_dsr1.scenario.variables import without_secrets
    from pytest_dsr1.verdict.validity import invalid_reasons

    try:
        found = load(Path(folder))
    except Dsr1Error as error:
        state.notify(f"{scenario.name}: runs again: {error}")
        return None
    now = as_saved(without_secrets(scenario))
    before, after = (
        each.model_dump(include=_MEASURED, exclude=dict(may_differ or {})) for each in (found.scenario, now)
    )
    if before != after:
        state.notify(f"{scenario.name}: runs again: it has changed since {shown_path(Path(folder))}")
        return None
    if invalid_reasons(found):
        return None
    state.notify(f"{scenario.name}: finished in {shown_path(Path(folder))}")
    return found


def note(state: RunState, scenario: Scenario, points: Collection[str], folder: Path | None, why: str) -> None:
    """Note that a point's run has ended.

    Args:
        state: of this session.
        scenario: the point's.
        points: the labels of all points of its sweep.
        folder: of the run; None if nothing was saved.
        why: why it does not count; empty if it does.

    Raises:
        InvalidRunError: the record cannot be written.
    """
    point = scenario.point
    if point is None:
        return
    from pytest_dsr1.study.record import StudyRun, write

    path, record = _study(state, point, points)
    record = record.with_run(StudyRun(point.label, str(folder or ""), why))
    state.studies[point.sweep] = path, record
    write(path, record)


def _study(state: RunState, point: Point, points: Collection[str]) -> tuple[Path, StudyRecord]:
    """Return the record of this session's sweep, and its file: a new one, or the one to go on with."""
    from pytest_dsr1.study.record import StudyRecord, newest, path_of, write

    known = state.studies.get(point.sweep)
    if known is None and state.resume:
        known = newest(state.results, point.sweep)
        if known is None:
            what = "sweep" if points else "search"
            raise UserError(
                f"--dsr1-resume: no {what} of {point.sweep} was started in {state.results}; run it without "
                "this option"
            )
    if known is None:
        began = datetime.now(timezone.utc)
        known = path_of(state.results, point.sweep, began), StudyRecord(point.sweep, began, tuple(points))
        write(*known)
    state.studies[point.sweep] = known
    return known
