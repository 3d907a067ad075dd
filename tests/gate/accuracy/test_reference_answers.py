from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_dsr1.errors import ReferencesError
from pytest_dsr1.gate import recordings
from pytest_dsr1.gate.accuracy.reference_answers import chosen, path_of, read, write
from pytest_dsr1.gate.recordings import RecordedAnswers
from pytest_dsr1.machine.values import FactValue
from tests.helpers.recorded_runs import record_nth_run

BASIS: dict[str, FactValue] = {"model.content": "ab", "prompts": 2, "output_tokens": 3}
IDS = RecordedAnswers(BASIS, ((1, 2, 3), (4, 5, 6)))
OTHER_IDS = RecordedAnswers(BASIS, ((1, 2, 3), (4, 5, 7)))
TEXTS = RecordedAnswers(BASIS, ("a", "b"))
MARKS = RecordedAnswers({"questions": "cd"}, right=190, answered=199)
ADVICE = (
    "`git log -p -- {0}` shows its history, `git checkout -- {0}` restores the committed file; or delete it "
    "and accept again"
)
ANSWERS = {"same_answers": {"one": IDS, "two": OTHER_IDS, "three": IDS}, "questions": {"one": MARKS}}


def test_the_answers_of_a_recorded_run_are_kept(tmp_path: Path) -> None:
    record_nth_run(tmp_path, 0, answers={"same_answers": IDS, "texts": TEXTS, "questions": MARKS})
    record_nth_run(tmp_path, 2)
    (run, without), problems = recordings.read(tmp_path, "small")
    assert problems == ()
    assert run.answers == {"same_answers": IDS, "texts": TEXTS, "questions": MARKS}
    assert without.answers == {}
    files = sorted((tmp_path / "candidates" / "small").iterdir())
    assert ["answers" in json.loads(file.read_text("utf-8")) for file in files] == [True, False]


def test_what_was_written_is_read(tmp_path: Path) -> None:
    write(tmp_path, "small", {**ANSWERS, "texts": {"one": TEXTS}})
    assert read(tmp_path, "small") == {**ANSWERS, "texts": {"one": TEXTS}}


def test_equal_answers_are_written_once_with_a_line_per_prompt_and_run(tmp_path: Path) -> None:
    write(tmp_path, "small", ANSWERS)
    assert path_of(tmp_path, "small").name == "small.answers.json"
    lines = path_of(tmp_path, "small").read_text("utf-8").splitlines()
    assert [line.strip() for line in lines if line.startswith("    ")] == [
        '"model.content": "ab",',
        '"prompts": 2,',
        '"output_tokens": 3',
        '"one": [0, 0],',
        '"two": [0, 1],',
        '"three": [0, 0]',
        "[[1, 2, 3]],",
        "[[4, 5, 6], [4, 5, 7]]",
        '"questions": "cd"',
        '"one": [190, 199]',
    ]


def test_a_task_has_no_prompts_in_the_file(tmp_path: Path) -> None:
    write(tmp_path, "small", ANSWERS)
    tests = json.loads(path_of(tmp_path, "small").read_text("utf-8"))["tests"]
    assert {name: sorted(test) for name, test in tests.items()} == {
        "same_answers": ["basis", "prompts", "runs"],
        "questions": ["basis", "runs"],
    }


def test_without_answers_there_is_no_file(tmp_path: Path) -> None:
    write(tmp_path, "small", ANSWERS)
    write(tmp_path, "small", {})
    assert list(tmp_path.iterdir()) == []
    assert read(tmp_path, "small") == {}
    write(tmp_path, "small", {})


def test_an_edited_file_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "small", ANSWERS)
    path = path_of(tmp_path, "small")
    path.write_text(path.read_text("utf-8").replace("[190, 199]", "[199, 199]"), "utf-8")
    with pytest.raises(ReferencesError) as refused:
        read(tmp_path, "small")
    assert str(refused.value) == (
        f"{path}: does not match its checksum: it was edited by hand or merged after it was written; "
        f"{ADVICE.format(path)}"
    )


def test_the_answers_of_another_profile_are_refused(tmp_path: Path) -> None:
    write(tmp_path, "other", ANSWERS)
    path = path_of(tmp_path, "other").rename(path_of(tmp_path, "small"))
    with pytest.raises(ReferencesError) as refused:
        read(tmp_path, "small")
    assert str(refused.value) == f"{path}: contains answers of 'other', not of 'small'; {ADVICE.format(path)}"


MISSING = "the answers of a run are missing"


@pytest.mark.parametrize(
    ("test", "why"),
    [
        ({"basis": {}, "runs": {"one": [0]}, "prompts": []}, MISSING),
        ({"basis": {}, "runs": {"one": [0]}, "prompts": [[[1]], [[1]]]}, MISSING),
        ({"basis": {}, "runs": {"one": [9]}, "prompts": [[[1]]]}, MISSING),
        ({"basis": {}}, "t.runs: field required; the file was changed after it was written"),
    ],
)
def test_a_file_with_a_right_checksum_and_another_content_is_refused(
    tmp_path: Path, test: object, why: str
) -> None:
    document = {"format": "pytest-dsr1 answers", "version": 1, "profile": "small", "tests": {"t": test}}
    path = path_of(tmp_path, "small")
    path.write_text(json.dumps({**document, "sha256": recordings.checksum(document)}), "utf-8")
    with pytest.raises(ReferencesError) as refused:
        read(tmp_path, "small")
    assert str(refused.value) == f"{path}: {why}; {ADVICE.format(path)}"


def test_a_file_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    path_of(tmp_path, "small").mkdir()
    with pytest.raises(ReferencesError) as refused:
        write(tmp_path, "small", ANSWERS)
    assert str(refused.value) == (
        f"{path_of(tmp_path, 'small')}: cannot be written: Is a directory; nothing was changed"
    )


def test_runs_that_answered_something_else_than_the_newest_are_not_chosen(tmp_path: Path) -> None:
    other = replace(IDS, basis={**BASIS, "prompts": 1})
    for number, answers in enumerate(
        [{"same_answers": other}, {"same_answers": IDS}, {}, {"questions": MARKS}]
    ):
        record_nth_run(tmp_path, 2 * number, answers=answers)
    runs, _ = recordings.read(tmp_path, "small")
    assert chosen(runs) == {"same_answers": {runs[1].name: IDS}, "questions": {runs[3].name: MARKS}}
