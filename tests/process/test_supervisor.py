from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from pytest_dsr1.process import supervisor


def test_descendants_are_found_whatever_their_name(tmp_path: Path) -> None:
    strange = tmp_path / "a) R 1 (b"
    shutil.copy(shutil.which("sleep") or "", strange)
    with subprocess.Popen([strange, "600"]) as process:
        assert process.pid in supervisor.descendants(os.getpid())
        assert os.getpid() not in supervisor.descendants(os.getpid())
        assert supervisor.descendants(process.pid) == set()
        process.kill()


def test_descendants_are_found_without_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    with subprocess.Popen(["sleep", "600"]) as process:
        assert process.pid in supervisor.descendants(os.getpid())
        process.kill()


def test_grandchildren_are_descendants() -> None:
    with subprocess.Popen(
        ["sh", "-c", "sleep 600 & echo $!; wait"], stdout=subprocess.PIPE, text=True
    ) as shell:
        assert shell.stdout
        grandchild = int(shell.stdout.readline())
        assert supervisor.descendants(shell.pid) == {grandchild}
        os.kill(grandchild, 9)
