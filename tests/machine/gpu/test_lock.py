from __future__ import annotations

import errno
import fcntl
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_dsr1.errors import InvalidRunError
from pytest_dsr1.machine import host, state_dir
from pytest_dsr1.machine.gpu.inventory import GpuReading
from pytest_dsr1.machine.gpu.lock import gpu_lock
from pytest_dsr1.storage.filelock import is_held, lock_file

GPUS = [GpuReading(0, "GPU-a"), GpuReading(1, "GPU-b")]

HOLD = """
import os, sys
from pytest_dsr1.machine.gpu.lock import gpu_lock
from pytest_dsr1.machine.gpu.inventory import GpuReading
with gpu_lock([GpuReading(0, "GPU-a"), GpuReading(1, "GPU-b")], os.environ):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "DSR1_STATE_DIR": str(tmp_path)}


def test_another_runs_gpus_are_refused_and_the_holder_named(environ: dict[str, str], tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, "--dsr1-profile=mine"],
        env=environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(InvalidRunError) as caught, gpu_lock(GPUS, environ):
            pass
        lines = str(caught.value).splitlines()
        for line, uuid, index in zip(lines, ("GPU-a", "GPU-b"), (0, 1), strict=False):
            assert re.fullmatch(
                rf"GPU {index} \({uuid}\) is in use by pid {holder.pid} of user \S+ since 20\S+: "
                r"-c --dsr1-profile=mine",
                line,
            )
        assert lines[2] == "wait until that run ends, or choose other GPUs with CUDA_VISIBLE_DEVICES"
        assert is_held(tmp_path, "GPU-a")
        holder.send_signal(signal.SIGKILL)
    with gpu_lock(GPUS, environ):
        pass
    assert not is_held(tmp_path, "GPU-a")
    assert not is_held(tmp_path, "GPU-never-seen")


def test_other_gpus_are_free(environ: dict[str, str]) -> None:
    with (
        gpu_lock(GPUS[:1], environ),
        gpu_lock(GPUS[1:], environ),
        pytest.raises(InvalidRunError, match=r"GPU 0 \(GPU-a\) is in use by pid"),
        gpu_lock(GPUS[:1], environ),
    ):
        pass


def test_a_holder_that_has_not_written_yet(environ: dict[str, str], tmp_path: Path) -> None:
    file = lock_file(tmp_path, "GPU-a")
    assert file is not None
    with (
        file,
        pytest.raises(InvalidRunError, match="in use by a run that is just starting"),
        gpu_lock(GPUS, environ),
    ):
        pass


def test_a_lock_file_that_is_a_link_is_refused(environ: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "target").write_text("precious")
    (tmp_path / "GPU-a.lock").symlink_to(tmp_path / "target")
    with pytest.raises(InvalidRunError) as caught, gpu_lock(GPUS, environ):
        pass
    assert str(caught.value) == (
        f"{tmp_path}/GPU-a.lock: GPU 0 cannot be locked: Too many levels of symbolic links; another "
        "user's run created this lock file: end that run and delete the file, or choose a folder with "
        "DSR1_STATE_DIR"
    )
    assert (tmp_path / "target").read_text() == "precious"


@pytest.mark.parametrize("whose", ["of root", "of another user"])
def test_a_lock_in_another_users_folder_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whose: str
) -> None:
    """Both ways: root's run finds that of a user, and a user's run that of root."""
    home = tmp_path / "ada"
    folders = {"of root": tmp_path / "of root", "of another user": home / ".local" / "state" / "pytest-dsr1"}
    monkeypatch.setattr(state_dir, "MACHINE_FOLDER", folders["of root"])
    monkeypatch.setattr(host, "homes_in_use", lambda: iter([home]))
    mine, theirs = ({"DSR1_STATE_DIR": str(tmp_path / name)} for name in ("mine", "theirs"))
    theirs["DSR1_STATE_DIR"] = str(folders[whose])
    with (
        gpu_lock(GPUS[:1], theirs),
        pytest.raises(InvalidRunError, match=rf"^GPU 0 \(GPU-a\) is in use by pid {os.getpid()} of user "),
        gpu_lock(GPUS, mine),
    ):
        pass
    with gpu_lock(GPUS, mine):
        pass


FULL = "free space there, or choose another folder with DSR1_STATE_DIR"


def test_a_full_state_folder_is_a_sentence(
    environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as writing:
        writing.setattr(os, "pwrite", full)
        with pytest.raises(InvalidRunError) as caught, gpu_lock(GPUS, environ):
            pass
    message = f"{tmp_path}/GPU-a.lock: GPU 0 cannot be locked: No space left on device; {FULL}"
    assert str(caught.value) == message
    assert not is_held(tmp_path, "GPU-a")
    (tmp_path / "GPU-a.lock").unlink()
    real = os.open

    def no_inode(path: str, flags: int, mode: int = 0o777) -> int:
        if flags & os.O_CREAT:
            raise OSError(28, "No space left on device", str(path))
        return real(path, flags, mode)

    monkeypatch.setattr(os, "open", no_inode)
    with pytest.raises(InvalidRunError) as caught, gpu_lock(GPUS, environ):
        pass
    assert str(caught.value) == message


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_state_folder_without_locks_is_a_sentence(
    environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(InvalidRunError) as caught, gpu_lock(GPUS, environ):
        pass
    assert str(caught.value) == (
        f"{tmp_path}/GPU-a.lock: GPU 0 cannot be locked: this file system has no locks; choose a local "
        "folder with DSR1_STATE_DIR"
    )
