"""Saved documents: what is read, and what each file that is not one is said to be."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError

from pytest_dsr1.storage.documents import DocumentError, DocumentKind, changed, read_text

KIND = DocumentKind("a saved song", "song", 2)
DAMAGED = "; it was damaged after it was written"


def test_a_document_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "song.json"
    path.write_text(json.dumps({**KIND.head, "key": "C"}), encoding="utf-8")
    assert KIND.read_json(path) == {"format": "song", "version": 2, "key": "C"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", f"is not JSON (Expecting value: line 1 column 1 (char 0)){DAMAGED}"),
        (b'{"format": ', f"is not JSON (Expecting value: line 1 column 12 (char 11)){DAMAGED}"),
        (b"\xff\xfe", f"is not a text file{DAMAGED}"),
        (b"[" * 100_000, f"is nested too deeply{DAMAGED}"),
        (b"[]", 'is not a saved song ("format" is not "song")'),
        (b'{"version": 2}', 'is not a saved song ("format" is not "song")'),
        (
            b'{"format": "song"}',
            "has format version None; this pytest-dsr1 reads version 2: use the pytest-dsr1 that wrote it",
        ),
        (
            b'{"format": "song", "version": 3}',
            "has format version 3; this pytest-dsr1 reads version 2: use the pytest-dsr1 that wrote it",
        ),
    ],
)
def test_what_is_not_one_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "song.json"
    path.write_bytes(content)
    with pytest.raises(DocumentError) as caught:
        KIND.read_json(path)
    assert str(caught.value) == message


@pytest.mark.parametrize("read", [KIND.read_json, read_text])
def test_a_file_that_cannot_be_read(tmp_path: Path, read: Callable[[Path], object]) -> None:
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "none")
    with pytest.raises(DocumentError) as caught:
        read(tmp_path)
    assert str(caught.value) == f"cannot be read: Is a directory; `ls -ld {tmp_path}` shows what is there"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (" \n", "is empty"),
        ("name: x\n", 'is not a saved song ("format" is not "song")'),
        ("a: b\n c: [d\n", f"is not YAML (line 2){DAMAGED}"),
        ("- " * 10_000, f"is nested too deeply{DAMAGED}"),
        (
            'format: "song"\nversion: 3\n',
            "has format version 3; this pytest-dsr1 reads version 2: use the pytest-dsr1 that wrote it",
        ),
    ],
)
def test_the_envelope_of_yaml(text: str, message: str) -> None:
    with pytest.raises(DocumentError) as caught:
        KIND.check_yaml(text)
    assert str(caught.value) == message


def test_a_truncated_yaml_text_is_known_by_its_envelope() -> None:
    KIND.check_yaml('format: "song"\nversion: 2\nlines: [')


def test_lines_of_text_end_alike(tmp_path: Path) -> None:
    (tmp_path / "song").write_bytes(b"one\r\ntwo\n")
    assert read_text(tmp_path / "song") == "one\ntwo\n"


def test_content_that_was_changed() -> None:
    class Song(BaseModel):
        bars: int

    with pytest.raises(ValidationError) as caught:
        Song.model_validate({"bars": "many"})
    assert changed(caught.value) == (
        "bars: input should be a valid integer, unable to parse string as an integer; the file was changed "
        "after it was written"
    )
