"""The file of questions for a worker."""

from __future__ import annotations

from pathlib import Path

from pytest_dsr1.process.questions import load, save
from pytest_dsr1.records import Question, QuestionSet


def test_questions_survive_their_file(tmp_path: Path) -> None:
    sets = (
        QuestionSet((Question("same_answers/0", (1, 2), 3, ends=False),), 1),
        QuestionSet((Question("q/0", "\u00e4 text\n", 4, ends=True), Question("q/1", "b", 4, ends=True)), 2),
    )
    path = save(tmp_path, sets)
    assert path == str(tmp_path / "questions.json")
    assert load(path) == sets


def test_without_questions_there_is_no_file(tmp_path: Path) -> None:
    assert save(tmp_path, ()) is None
    assert load(None) == ()
    assert list(tmp_path.iterdir()) == []
