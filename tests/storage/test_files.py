from __future__ import annotations

import os
from pathlib import Path

import pytest

from pytest_dsr1.storage.files import entries, open_regular, replacing, write_atomically


def test_what_is_in_a_folder_in_order(tmp_path: Path) -> None:
    for name in ("b", ".a", "c.yaml"):
        (tmp_path / name).touch()
    assert [one.name for one in entries(tmp_path)] == [".a", "b", "c.yaml"]


def test_no_folder_is_empty_and_what_cannot_be_listed_is_not(tmp_path: Path) -> None:
    assert entries(tmp_path / "none") == []
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        entries(tmp_path / "file")


def test_a_file_is_replaced_whole_when_its_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_text("old", encoding="utf-8")
    with replacing(path) as part:
        part.write_text("new", encoding="utf-8")
        assert path.read_text(encoding="utf-8") == "old"
        assert [one.name for one in entries(tmp_path)] == [part.name, "data"]
        assert part.name.startswith(".data.")
        assert part.suffix == ".part"
    assert path.read_text(encoding="utf-8") == "new"
    assert [one.name for one in entries(tmp_path)] == ["data"]


def test_a_block_that_fails_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "data"
    path.write_text("old", encoding="utf-8")

    def interrupted() -> None:
        with replacing(path) as part:
            part.write_text("ne", encoding="utf-8")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text(encoding="utf-8") == "old"
    assert [one.name for one in entries(tmp_path)] == ["data"]


def test_text_that_cannot_be_written_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "data"
    write_atomically(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(path, "\udc00")
    assert path.read_text(encoding="utf-8") == "old"
    assert [one.name for one in entries(tmp_path)] == ["data"]


def test_only_a_regular_file_is_opened_to_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"text")
    with open_regular(tmp_path / "file") as file:
        assert file.read() == b"text"
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    pipe = "it is a device or pipe"
    for name, why in (("pipe", pipe), ("link", pipe), (".", "Is a directory")):
        with pytest.raises(OSError, match=why):
            open_regular(tmp_path / name)
