"""Locks between processes, and the note of who holds one. Holders that are killed: tests/machine/gpu."""

from __future__ import annotations

import errno
import fcntl
import os
import re
from pathlib import Path
from typing import IO

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


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EIO])
def test_a_file_system_without_locks_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """As Lustre without -o flock, and NFS without lockd."""

    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(OSError, match="no locks" if code != errno.EIO else "Input/output error") as caught:
        lock_file(tmp_path, "a")
    assert (caught.value.errno, str(caught.value.filename)) == (code, f"{tmp_path}/a.lock")
    assert not is_held(tmp_path, "a")


def test_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.lock").symlink_to(tmp_path / "target")
    with pytest.raises(OSError, match="Too many levels of symbolic links"):
        lock_file(tmp_path, "a")


def test_asking_is_no_obstacle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that only asks has the lock for a moment, and then a new try gets it."""
    real, tries = fcntl.flock, []

    def asked(file: IO[str], operation: int) -> None:
        tries.append(operation)
        if len(tries) == 1:
            raise BlockingIOError
        real(file, operation)

    monkeypatch.setattr(fcntl, "flock", asked)
    file = lock_file(tmp_path, "a")
    assert file is not None
    file.close()
    assert len(tries) == 2


def test_a_pipe_or_a_link_in_a_shared_folder_does_not_hang_or_lead_away(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.lock")
    (tmp_path / "b.lock").symlink_to(tmp_path / "secret")
    (tmp_path / "secret").write_text('{"pid": 1, "user": "x", "since": "y", "command": "secret"}')
    for name in ("a", "b"):
        assert not is_held(tmp_path, name)
        assert holder(tmp_path, name) == "a run that is just starting"


def test_a_note_on_a_disk_that_takes_half_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, full = os.pwrite, False

    def half(descriptor: int, text: bytes, offset: int) -> int:
        if full and offset:
            raise OSError(28, "No space left on device")
        return real(descriptor, text[:40], offset)

    monkeypatch.setattr(os, "pwrite", half)
    file = lock_file(tmp_path, "a")
    assert file is not None
    sign(file, "pytest")
    assert holder(tmp_path, "a").endswith(": pytest")
    full = True
    with pytest.raises(OSError, match="No space left on device") as caught:
        sign(file, "pytest")
    assert caught.value.filename == str(tmp_path / "a.lock")
    assert not is_held(tmp_path, "a")


def test_a_user_without_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def nameless() -> str:
        raise KeyError("uid not found")

    monkeypatch.setattr("getpass.getuser", nameless)
    assert filelock.user() == str(os.getuid())
