"""The record of a study: what is kept, what is finished, and what a bad file says."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from pytest_dsr1.errors import UserError
from pytest_dsr1.study.record import PAIRS, StudyRecord, StudyRun, newest, path_of, write
from tests.helpers.killing import killed_in_a_program

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


KILLED = """
import sys
from datetime import datetime, timezone
from pathlib import Path
from pytest_dsr1.study import record
from pytest_dsr1.study.record import StudyRecord, StudyRun, newest, path_of, write
from tests.helpers.killing import killed_at_every_point

results = Path(sys.argv[1])
old = StudyRecord("small", datetime(2026, 11, 30, tzinfo=timezone.utc), ("one", "two"))
new, path = old.with_run(StudyRun("one", "/results/1")), path_of(results, "small", old.began)

def found():
    _, there = newest(results, "small")
    assert there in (old, new), there
    write(path, old)
    return there == new

write(path, old)
print(killed_at_every_point(record, lambda: write(path, new), found, path.parent))
"""


def test_a_record_survives_a_kill_at_every_point_of_a_write(tmp_path: Path) -> None:
    """What was there before, or the new run too; so no finished run is lost."""
    assert killed_in_a_program(KILLED, tmp_path).startswith("(True, [False, True], ")
