"""The record of a study on disk: which runs it made, so that an ended or killed one can go on.

In the file, folders are relative to the folder of results, which may be moved.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from functools import partial
from pathlib import Path

from pydantic import AwareDatetime, TypeAdapter, ValidationError

from pytest_dsr1.errors import UserError
from pytest_dsr1.measurement.store import saving
from pytest_dsr1.scenario.schema.scenario import Scenario
from pytest_dsr1.scenario.variables import without_secrets
from pytest_dsr1.scenario.writer import dump
from pytest_dsr1.storage.documents import DocumentError, DocumentKind, changed
from pytest_dsr1.storage.files import write_atomically

STUDY = DocumentKind("a saved study", "pytest-dsr1 study", 1)


@dataclass(frozen=True, slots=True)
class StudyRun:
    """One run of a study.

    Attributes:
        point: what was run.
        folder: where it is saved; empty if nothing was saved.
        why: why it does not count; empty if it does.
    """

    point: str
    folder: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class StudyRecord:
    """The runs of a study.

    Attributes:
        profile: the scenario's name.
        began: when it began.
        points: all that it runs: of a sweep, those that were selected.
        runs: in the order in which they ended.
        first: the folder of the run that other tests judge too; empty if there is none.
        answer: the answer, in words; empty before it is known.
        found: of a search, by metric, the value and the ends of its interval; null is infinity.
        place: the scenario's path in test ids; empty if the file of the scenario is not kept.
    """

    profile: str
    began: AwareDatetime
    points: tuple[str, ...]
    runs: tuple[StudyRun, ...] = ()
    first: str = ""
    answer: str = ""
    found: Mapping[str, tuple[float, float, float | None]] = field(default_factory=dict)
    place: str = ""

    @property
    def finished(self) -> Mapping[str, str]:
        """By point, the folder of the run that counts."""
        return {run.point: run.folder for run in self.runs if not run.why}

    def with_run(self, run: StudyRun) -> StudyRecord:
        """Return a copy with one more run."""
        return replace(self, runs=(*self.runs, run))


_RECORD: TypeAdapter[StudyRecord] = TypeAdapter(StudyRecord)


SWEEP, SEARCH, PAIRS = "study", "search", "pairs"
"""The kinds of studies, with which the names of their files begin."""


def path_of(results: Path, profile: str, began: datetime, kind: str = SWEEP) -> Path:
    """Return the file of a study that began then."""
    return results / profile / f"{kind}-{began:%Y%m%dT%H%M%S%fZ}.json"


def write(path: Path, record: StudyRecord) -> None:
    """Write the record.

    Raises:
        InvalidRunError: the file cannot be written.
    """
    content = asdict(_with_folders(record, partial(_inside, path.parent.parent)))
    document = {**STUDY.head, **content, "began": record.began.isoformat()}
    with saving(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(document, indent=2) + "\n")


def newest(results: Path, profile: str, kind: str = SWEEP) -> tuple[Path, StudyRecord] | None:
    """Return the newest study of a kind of a scenario, and its file; None without any.

    Raises:
        UserError: its file cannot be read.
    """
    return next(newest_first(results, profile, kind), None)


def newest_first(results: Path, profile: str, kind: str = SWEEP) -> Iterator[tuple[Path, StudyRecord]]:
    """Yield the studies of a kind of a scenario, each with its file.

    Raises:
        UserError: a file cannot be read.
    """
    for path in sorted((results / profile).glob(f"{kind}-*.json"), reverse=True):
        yield path, read(path)


def read(path: Path) -> StudyRecord:
    """Return the record of a file.

    Raises:
        UserError: it cannot be read.
    """
    try:
        document = STUDY.read_json(path)
        content = {key: value for key, value in document.items() if key not in STUDY.head}
        record = _RECORD.validate_python(content, strict=False)
    except (DocumentError, FileNotFoundError) as error:
        raise UserError(f"{path}: {error}") from None
    except ValidationError as error:
        raise UserError(f"{path}: {changed(error)}") from None
    return _with_folders(record, partial(_found, path.parent.parent))


def _with_folders(record: StudyRecord, changed: Callable[[str], str]) -> StudyRecord:
    """Return a copy in which each folder that is given is changed."""
    runs = tuple(replace(run, folder=run.folder and changed(run.folder)) for run in record.runs)
    return replace(record, runs=runs, first=record.first and changed(record.first))


def _inside(results: Path, folder: str) -> str:
    """Return a folder as the file names it."""
    path = Path(folder)
    return path.relative_to(results).as_posix() if path.is_relative_to(results) else folder


def _found(results: Path, folder: str) -> str:
    """Return a folder from its name in the file; the whole path of an earlier version may be out of date."""
    path = results / folder
    moved = results.joinpath(*path.parts[-2:])
    return str(moved if not path.exists() and moved.exists() else path)


def scenario_of(path: Path) -> Path:
    """Return the file that keeps the scenario of a record."""
    return path.with_suffix(".yaml")


def keep_scenario(path: Path, scenario: Scenario, place: str) -> None:
    """Write the scenario as it ran next to its record, without secrets.

    Args:
        path: of the record.
        scenario: with its variables expanded.
        place: its path in test ids.

    Raises:
        InvalidRunError: the file cannot be written.
    """
    text = f"# As it ran, from {place}.\n{dump(without_secrets(scenario))}"
    with saving(path.parent):
        write_atomically(scenario_of(path), text, private=any(scenario.engine.process_environments))
