"""What is kept of verdicts and gates, and what is refused when it is read again."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from pytest_dsr1.errors import InvalidRunError, UserError
from pytest_dsr1.gate.saved import (
    SavedGate,
    read_gate,
    saved_accuracy,
    write_accuracy,
    write_gate,
    write_verdicts,
)
from tests.helpers.saved_gate import GATE, VERDICT
from tests.helpers.values import answers

HEAD = {"format": "pytest-dsr1 gate", "version": 1}


def test_a_gate_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_gate(tmp_path, GATE)
    assert read_gate(tmp_path) == GATE
    document = json.loads((tmp_path / "gate.json").read_text(encoding="utf-8"))
    assert document["format"] == "pytest-dsr1 gate"
    assert document["verdict"]["word"] == document["word"] == "FAIL"
    assert document["runs"][1]["evidence"]["value"] == 95.0


def test_verdicts_are_kept_by_their_fields(tmp_path: Path) -> None:
    write_verdicts(tmp_path, [VERDICT])
    fields = asdict(VERDICT)
    expected = {"word": fields.pop("status"), **fields}
    assert json.loads((tmp_path / "verdicts.json").read_text(encoding="utf-8")) == [expected]


def test_a_result_without_a_gate_has_none(tmp_path: Path) -> None:
    assert read_gate(tmp_path) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON (*); it was damaged after it was written"),
        ("[]", 'is not a saved gate ("format" is not "pytest-dsr1 gate")'),
        (
            '{"format": "pytest-dsr1 gate", "version": 2}',
            "has format version 2; this pytest-dsr1 reads version 1: use the pytest-dsr1 that wrote it",
        ),
        (
            '{"format": "pytest-dsr1 gate", "version": 1}',
            "profile: field required; the file was changed after it was written",
        ),
        (
            json.dumps(
                {**json.loads(TypeAdapter(SavedGate).dump_json(GATE, by_alias=True)), **HEAD, "word": "GREEN"}
            ),
            "word: input should be 'PASS', 'MEASURED', 'FAIL', 'INVALID', 'NOT COMPARABLE', 'NO REFERENCE' "
            "or 'INCONCLUSIVE'; the file was changed after it was written",
        ),
    ],
)
def test_a_damaged_gate_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "gate.json").write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        read_gate(tmp_path)
    start, _, end = message.partition("*")
    assert str(caught.value).startswith(f"{tmp_path / 'gate.json'}: {start}")
    assert str(caught.value).endswith(end)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "gate.json").mkdir()
    with pytest.raises(UserError, match=r"gate\.json: cannot be read: Is a directory"):
        read_gate(tmp_path)


def test_a_folder_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(InvalidRunError, match="results cannot be written: No such file or directory"):
        write_gate(tmp_path / "gone", GATE)


def test_verdicts_on_answers(tmp_path: Path) -> None:
    assert saved_accuracy(tmp_path) == ()
    write_accuracy(tmp_path, [answers()])
    assert saved_accuracy(tmp_path) == (answers(),)
    assert json.loads((tmp_path / "accuracy.json").read_text(encoding="utf-8")) == [
        {
            "word": "FAIL",
            "subject": "accuracy[questions]",
            "message": answers().message,
            "measured": 0.75,
            "at_least": 0.95,
            "bound": 0.8181,
            "wrong": [{"id": "questions/7", "question": "3 + 4?", "expected": "7", "found": "8 & 9"}],
        }
    ]
