"""The record of a study: what is kept, what is finished, and what a bad file says."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from pytest_dsr1.errors import UserError
from pytest_dsr1.study.record import PAIRS, StudyRecord, StudyRun, newest, path_of, write

BEGAN = datetime(2026, 11, 30, 14, 15, 46, 1, timezone.utc)
RECORD = StudyRecord("small", BEGAN, ("one", "two"))


def test_a_run_that_counts_finishes_its_point() -> None:
    tried = RECORD.with_run(StudyRun("one", "/results/1", "too hot"))
    assert tried.finished == {}
    done = tried.with_run(StudyRun("one", "/results/2")).with_run(StudyRun("two", "", "the engine died"))
    assert done.finished == {"one": "/results/2"}
    assert RECORD.runs == ()


def test_the_newest_record_is_read_again(tmp_path: Path) -> None:
    assert newest(tmp_path, "small") is None
    done = RECORD.with_run(StudyRun("one", "/results/2"))
    for record, days in ((done, 2), (RECORD, 0), (done, 1)):
        at = BEGAN + timedelta(days=days)
        write(path_of(tmp_path, "small", at), StudyRecord("small", at, record.points, record.runs))
    found = newest(tmp_path, "small")
    assert found is not None
    path, record = found
    assert path == tmp_path / "small" / "study-20261202T141546000001Z.json"
    assert record == StudyRecord("small", BEGAN + timedelta(days=2), ("one", "two"), done.runs)
    assert newest(tmp_path, "other") is None


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "is not JSON (Expecting property name"),
        (
            '{"format": "pytest-dsr1 gate", "version": 1}',
            'is not a saved study ("format" is not',
        ),
        ('{"format": "pytest-dsr1 study", "version": 2}', "version"),
        ('{"format": "pytest-dsr1 study", "version": 1}', "profile"),
    ],
)
def test_a_bad_file_is_named(tmp_path: Path, text: str, why: str) -> None:
    path = path_of(tmp_path, "small", BEGAN)
    path.parent.mkdir()
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        newest(tmp_path, "small")
    assert str(caught.value).startswith(f"{path}: ")
    assert why in str(caught.value)


def test_records_of_two_kinds_do_not_mix(tmp_path: Path) -> None:
    pairs = replace(RECORD, points=("old", "new"), first="/results/1", answer="the new side is faster")
    write(path_of(tmp_path, "small", BEGAN, PAIRS), pairs)
    assert newest(tmp_path, "small") is None
    assert newest(tmp_path, "small", PAIRS) == (
        tmp_path / "small" / "pairs-20261130T141546000001Z.json",
        pairs,
    )
