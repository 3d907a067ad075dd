"""The records of a session's sweeps, searches and pairs, and the runs that are finished already."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_dsr1.errors import Dsr1Error, UserError
from pytest_dsr1.text import shown_path

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from pytest_dsr1.measurement.measurement import Measurement
    from pytest_dsr1.scenario.schema.scenario import Scenario
    from pytest_dsr1.scenario.schema.sweep import Point
    from pytest_dsr1.session.state import RunState
    from pytest_dsr1.study.record import StudyRecord


def refuse_nothing(results: Path, sweeps: Iterable[str], searches: Collection[str], *, pairs: bool) -> None:
    """Refuse ``--dsr1-resume`` with nothing to go on with, before anything runs.

    Args:
        results: the folder of results.
        sweeps: the selected sweeps.
        searches: the selected scenarios with a search.
        pairs: whether pairs are selected.

    Raises:
        UserError: nothing can go on, or a record cannot be read.
    """
    from pytest_dsr1.study.record import SEARCH, newest

    selected = list(dict.fromkeys(sweeps))
    if pairs:
        return
    if any(newest(results, each, SEARCH) for each in searches):
        return
    if searches and not selected:
        raise UserError(
            f"--dsr1-resume: no search of {', '.join(searches)} was started in {results}; run it without "
            "this option"
        )
    if not selected:
        raise UserError(
            "--dsr1-resume goes on with a sweep, a search or pairs, but none is selected: select one, and "
            "repeat the --dsr1-set, --dsr1-sweep or --dsr1-against of the run that stopped"
        )
    if not any(newest(results, sweep) for sweep in selected):
        raise UserError(
            f"--dsr1-resume: no sweep of {', '.join(selected)} was started in {results}; run it without this "
            "option"
        )


def finished(state: RunState, scenario: Scenario, points: Iterable[str]) -> Measurement | None:
    """Return the valid run of a point that the sweep to go on with has made; None if it must run.

    The first call for a sweep begins its record.

    Args:
        state: of this session.
        scenario: the point's.
        points: the labels of all points of its sweep.

    Raises:
        UserError: there is no sweep to go on with, or its record cannot be read.
        InvalidRunError: its record cannot be written.
    """
    point = scenario.point
    if point is None:
        return None
    _sweep(state, point, points)
    if not state.resume:
        return None
    found = (reused(state, scenario, folder) for folder in _folders(state, scenario.name, point, points))
    return next((each for each in found if each is not None), None)


def _folders(state: RunState, profile: str, point: Point, points: Iterable[str]) -> Iterator[str]:
    """Yield where an earlier session may have saved the run of a point, newest first.

    A session that selected only some of the points does not hide those of the session before it.
    """
    from pytest_dsr1.study.record import newest_first

    known, every = [], set(points)
    began = datetime.now(timezone.utc)
    for _, record in newest_first(state.results, point.sweep):
        began = record.began
        known += [record.finished[point.label]] if point.label in record.finished else []
        if every <= set(record.points):
            break
    yield from dict.fromkeys([*known, *_saved_since(state, profile, began)])


def _saved_since(state: RunState, profile: str, began: datetime) -> Iterator[str]:
    """Yield the folders of a scenario's runs since then, newest first.

    A run may be saved and not noted, if its session was killed between the two.
    """
    since = f"{began:%Y%m%dT%H%M%S}"
    for each in sorted((state.results / profile).glob("*"), reverse=True):
        if each.name >= since and (each / "measurement.json").is_file():
            yield str(each)


def unnoted(state: RunState, scenario: Scenario, record: StudyRecord) -> Measurement | None:
    """Return the valid run that the study to go on with has saved and not noted; None without one.

    Both sides of pairs may have the same folders, so runs of another scenario are left out without a word.
    """
    from pytest_dsr1.measurement.store import load
    from pytest_dsr1.study.measured import is_of

    noted = {record.first, *(run.folder for run in record.runs)}
    for folder in _saved_since(state, scenario.name, record.began) if state.resume else ():
        with suppress(Dsr1Error):  # what cannot be read runs again
            if folder not in noted and is_of(load(Path(folder)), scenario):
                found = reused(state, scenario, folder)
                if found is not None:
                    return found
    return None


def reused(state: RunState, scenario: Scenario, folder: str) -> Measurement | None:
    """Return a saved run of a scenario if it is valid and the scenario has not changed; None otherwise."""
    from pytest_dsr1.measurement.store import load
    from pytest_dsr1.study.measured import is_of
    from pytest_dsr1.verdict.validity import invalid_reasons

    try:
        found = load(Path(folder))
    except Dsr1Error as error:
        state.notify(f"{scenario.name}: runs again: {error}")
        return None
    if not is_of(found, scenario):
        state.notify(f"{scenario.name}: runs again: it has changed since {shown_path(Path(folder))}")
        return None
    if invalid_reasons(found):
        return None
    state.notify(f"{scenario.name}: finished in {shown_path(Path(folder))}")
    return found


def note(state: RunState, scenario: Scenario, points: Iterable[str], folder: Path | None, why: str) -> None:
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
    from pytest_dsr1.study.record import SWEEP, StudyRun

    _, record = _sweep(state, point, points)
    keep(state, SWEEP, record.with_run(StudyRun(point.label, str(folder or ""), why)))


def _sweep(state: RunState, point: Point, points: Iterable[str]) -> tuple[Path, StudyRecord]:
    from pytest_dsr1.study.record import SWEEP

    tests = [test.loaded.scenario.point for test in state.tests.values()]
    sweeps = {each.sweep for each in tests if each is not None}
    selected = {each.label for each in tests if each is not None and each.sweep == point.sweep}
    return study(state, SWEEP, point.sweep, [each for each in points if each in selected], sweeps)


def keep(state: RunState, kind: str, record: StudyRecord) -> None:
    """Write the new state of a record.

    Raises:
        InvalidRunError: the record cannot be written.
    """
    from pytest_dsr1.study.record import write

    path, _ = state.studies[kind, record.profile]
    state.studies[kind, record.profile] = path, record
    write(path, record)


def searched(state: RunState, profile: str) -> StudyRecord:
    """Return the record of a scenario's search; raises as :func:`study`."""
    from pytest_dsr1.study.record import SEARCH

    scenarios = [test.loaded.scenario for test in state.tests.values()]
    return study(state, SEARCH, profile, (), {each.name for each in scenarios if each.search})[1]


def begin_search(state: RunState, scenario: Scenario, place: str) -> StudyRecord:
    """Return the record of a scenario's search, and keep the scenario next to it, for a replay.

    Args:
        state: of this session.
        scenario: that is searched.
        place: its path in test ids.

    Raises:
        UserError: there is no search to go on with, or its record cannot be read.
        InvalidRunError: a file cannot be written.
    """
    from pytest_dsr1.study.record import SEARCH, keep_scenario

    record = replace(searched(state, scenario.name), place=place, answer="")
    keep(state, SEARCH, record)
    keep_scenario(state.studies[SEARCH, scenario.name][0], scenario, place)
    return record


def forget_search(state: RunState, profile: str) -> None:
    """Let the next search of a scenario begin a record of its own."""
    from pytest_dsr1.study.record import SEARCH

    state.studies.pop((SEARCH, profile), None)


def note_probe(state: RunState, profile: str, probe: str, folder: Path | None, why: str) -> None:
    """Note that a probe of a search has ended; the arguments are as those of :func:`note`."""
    from pytest_dsr1.study.record import SEARCH, StudyRun

    keep(state, SEARCH, searched(state, profile).with_run(StudyRun(probe, str(folder or ""), why)))


def paired(state: RunState, profile: str) -> tuple[Path, StudyRecord]:
    """Return the record of a scenario's pairs, and its file; raises as :func:`study`."""
    from pytest_dsr1.study.record import PAIRS

    return study(state, PAIRS, profile, ("old", "new"), state.gated)


def first_of_pairs(state: RunState, scenario: Scenario) -> Measurement | None:
    """Return the run of the pairs to go on with that other tests judge too; None if it must run.

    Raises:
        InvalidRunError: the record cannot be written.
    """
    _, record = paired(state, scenario.name)
    if record.first and state.resume:
        return reused(state, scenario, record.first)
    found = unnoted(state, scenario, record)
    if found is not None:
        note_first(state, scenario, found.folder)
    return found


def note_first(state: RunState, scenario: Scenario, folder: Path) -> None:
    """Note the run that other tests judge too.

    Raises:
        InvalidRunError: the record cannot be written.
    """
    from pytest_dsr1.study.record import PAIRS

    _, record = paired(state, scenario.name)
    keep(state, PAIRS, replace(record, first=str(folder)))


def study(
    state: RunState, kind: str, profile: str, points: Iterable[str], profiles: Iterable[str]
) -> tuple[Path, StudyRecord]:
    """Return the record of this session's study, and its file: a new one, or the one to go on with.

    Args:
        state: of this session.
        kind: of the study: a sweep, a search, or pairs.
        profile: the name of its scenario or sweep.
        points: all that it runs.
        profiles: those of all studies of this kind in this session: if one of them can go on, those that had
            not begun begin.

    Raises:
        UserError: there is nothing to go on with, or a record cannot be read.
        InvalidRunError: the record cannot be written.
    """
    from pytest_dsr1.study.record import PAIRS, SEARCH, SWEEP, StudyRecord, newest, path_of, write

    known = state.studies.get((kind, profile))
    if known is None and state.resume:
        known = newest(state.results, profile, kind)
        if known is None and not any(newest(state.results, each, kind) for each in profiles):
            named = {SWEEP: "sweep", SEARCH: "search"}.get(kind)
            what = f"{named} of {profile} was" if named else f"pairs of {profile} were"
            raise UserError(
                f"--dsr1-resume: no {what} started in {state.results}; run it without this option"
            )
    if known is None:
        began = datetime.now(timezone.utc)
        labels = tuple(points)
        # Pairs of all scenarios begin together: none of them goes on with those of an earlier session.
        others = {*profiles} if kind == PAIRS and not state.resume else set()
        for each in sorted({profile, *others}):
            state.studies[kind, each] = (
                path_of(state.results, each, began, kind),
                StudyRecord(each, began, labels),
            )
            write(*state.studies[kind, each])
        return state.studies[kind, profile]
    state.studies[kind, profile] = known
    return known
