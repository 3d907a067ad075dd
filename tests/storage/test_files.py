from __future__ import annotations

from pathlib import Path

import pytest

from pytest_dsr1.storage.files import entries


def test_what_is_in_a_folder_in_order(tmp_path: Path) -> None:
    for name in ("b", ".a", "c.yaml"):
        (tmp_path / name).touch()
    assert [one.name for one in entries(tmp_path)] == [".a", "b", "c.yaml"]


def test_no_folder_is_empty_and_what_cannot_be_listed_is_not(tmp_path: Path) -> None:
    assert entries(tmp_path / "none") == []
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        entries(tmp_path / "file")
