"""The record of a study on disk: which runs it made, so that an ended or killed one can go on."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path

from pydantic import AwareDatetime, TypeAdapter, ValidationError

from pytest_dsr1.errors import UserError
from pytest_dsr1.measurement.store import saving
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
    """

    profile: str
    began: AwareDatetime
    points: tuple[str, ...]
    runs: tuple[StudyRun, ...] = ()
    first: str = ""
    answer: str = ""

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
    document = {**STUDY.head, **asdict(record), "began": record.began.isoformat()}
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
        yield path, _read(path)


def _read(path: Path) -> StudyRecord:
    try:
        document = STUDY.read_json(path)
        content = {key: value for key, value in document.items() if key not in STUDY.head}
        return _RECORD.validate_python(content, strict=False)
    except (DocumentError, FileNotFoundError) as error:
        raise UserError(f"{path}: {error}") from None
    except ValidationError as error:
        raise UserError(f"{path}: {changed(error)}") from None
