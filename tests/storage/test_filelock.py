"""Locks between processes, and the note of who holds one. Holders that are killed: tests/machine/gpu."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from pytest_dsr1.storage import filelock
from pytest_dsr1.storage.filelock import holder, is_held, lock_file, sign


def test_a_lock_is_held_by_one_until_its_file_is_closed(tmp_path: Path) -> None:
    assert not is_held(tmp_path, "a")
    file = lock_file(tmp_path, "a")
    assert file is not None
    with file:
        assert is_held(tmp_path, "a")
        assert lock_file(tmp_path, "a") is None
        assert not is_held(tmp_path, "b")
    assert not is_held(tmp_path, "a")


def test_the_holder_is_named_by_its_note(tmp_path: Path) -> None:
    file = lock_file(tmp_path, "a")
    assert file is not None
    with file:
        assert holder(tmp_path, "a") == "a run that is just starting"
        sign(file, "pytest --dsr1-gate")
        assert re.fullmatch(
            rf"pid {os.getpid()} of user \S+ since 20\S+\+00:00: pytest --dsr1-gate", holder(tmp_path, "a")
        )


def test_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.lock").symlink_to(tmp_path / "target")
    with pytest.raises(OSError, match="Too many levels of symbolic links"):
        lock_file(tmp_path, "a")


def test_a_user_without_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def nameless() -> str:
        raise KeyError("uid not found")

    monkeypatch.setattr("getpass.getuser", nameless)
    assert filelock.user() == str(os.getuid())
