from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from pytest_dsr1.errors import InvalidRunError
from pytest_dsr1.machine import host
from pytest_dsr1.machine import state_dir as module
from pytest_dsr1.machine.state_dir import (
    lock_folders,
    lost_with_container,
    restore_folders,
    state_dir,
    state_dirs,
)


def test_the_variable_names_the_folder(tmp_path: Path) -> None:
    environ = {"DSR1_STATE_DIR": str(tmp_path / "state")}
    assert state_dirs(environ) == (tmp_path / "state",)
    assert state_dir(environ) == tmp_path / "state"
    assert (tmp_path / "state").is_dir()


def test_the_machines_folder_comes_before_the_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MACHINE_FOLDER", tmp_path / "machine")
    monkeypatch.setattr(module, "_user_folder", lambda: tmp_path / "user")
    assert state_dirs({}) == (tmp_path / "machine", tmp_path / "user")
    assert state_dir({}) == tmp_path / "machine"
    (tmp_path / "machine").rmdir()
    (tmp_path / "machine").write_text("in the way")
    assert state_dir({}) == tmp_path / "user"


def test_a_users_folder_follows_the_xdg_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert state_dirs({})[1] == tmp_path / "pytest-dsr1"


def test_no_folder_at_all(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidRunError) as caught:
        state_dir({"DSR1_STATE_DIR": str(tmp_path / "file" / "state")})
    assert str(caught.value) == (
        f"no folder for the GPU journal and locks is writable: tried {tmp_path}/file/state (Not a "
        "directory); choose one with DSR1_STATE_DIR"
    )


def test_a_folder_that_cannot_be_made_is_named_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "mkdir", full)
    with pytest.raises(InvalidRunError, match=r"tried .*/state \(No space left on device\); choose one with"):
        state_dir({"DSR1_STATE_DIR": str(tmp_path / "state")})


def test_the_locks_of_every_user_with_a_process_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MACHINE_FOLDER", tmp_path / "machine")
    monkeypatch.setattr(host, "homes_in_use", lambda: iter([Path("/root"), Path("/home/ada")]))
    assert lock_folders({"DSR1_STATE_DIR": "/state"}) == (
        Path("/state"),
        tmp_path / "machine",
        Path("/root/.local/state/pytest-dsr1"),
        Path("/home/ada/.local/state/pytest-dsr1"),
    )


def test_a_users_folder_that_links_to_another_users_is_not_restored_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, real = tmp_path / "ada", Path.stat
    (home / ".local" / "state").mkdir(parents=True)
    state = home / ".local" / "state" / "pytest-dsr1"
    (tmp_path / "etc").mkdir()
    state.symlink_to(tmp_path / "etc")
    monkeypatch.delenv("SLURM_JOB_USER", raising=False)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(host, "homes_in_use", lambda: iter([home]))

    def stat(path: Path, **options: bool) -> object:
        found = list(real(path, **options))
        found[4] = 1000 if path == home else 0
        return os.stat_result(found)

    assert state in restore_folders({})  # of one owner
    monkeypatch.setattr(Path, "stat", stat)
    assert state not in restore_folders({})

    def refuse(path: Path, **_: bool) -> object:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "stat", refuse)
    assert state in restore_folders({})  # it is said that it cannot be searched
    assert restore_folders({"DSR1_STATE_DIR": "/state"}) == (Path("/state"),)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert restore_folders({}) == state_dirs({})


@pytest.mark.parametrize(
    ("container", "mounted", "lost"),
    [(True, False, True), (True, True, False), (False, False, False)],
)
def test_what_a_container_loses(
    monkeypatch: pytest.MonkeyPatch, container: bool, mounted: bool, lost: bool
) -> None:
    monkeypatch.setattr(host, "in_container", lambda: container)
    monkeypatch.setattr(host, "is_mounted", lambda _: mounted)
    assert lost_with_container(Path("/state")) == lost
