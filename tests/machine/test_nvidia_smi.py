from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from pytest_dsr1.machine import nvidia_smi
from tests.standins.nvml.control import FakeMachine


def test_each_change_is_one_command(two: FakeMachine) -> None:
    commands = [
        nvidia_smi.persistence(1, on=False),
        nvidia_smi.persistence(1, on=True),
        nvidia_smi.power_limit(1, 650.0),
        nvidia_smi.vboost(1, 4),
        nvidia_smi.lock_clocks(1, 1500),
    ]
    assert [nvidia_smi.run(command, os.environ) for command in commands] == [None] * 5
    assert two.commands() == [
        "-i 1 -pm 0",
        "-i 1 -pm 1",
        "-i 1 -pl 650",
        "boost-slider -i 1 --vboost 4",
        "-i 1 -lgc 1500,1500",
    ]
    assert two.settings() == [("1", "700000", "0", "none"), ("1", "650000", "4", "1500,1500")]
    assert nvidia_smi.read_vboost(os.environ) == {0: 0, 1: 4}
    assert nvidia_smi.run(nvidia_smi.reset_clocks(1), os.environ) is None
    assert two.gpu(1, "locked") == "none"


def test_a_denied_change(two: FakeMachine) -> None:
    two.set("smi.permission", 0)
    command = nvidia_smi.vboost(0, 4)
    assert nvidia_smi.run(command, os.environ) == nvidia_smi.Refusal(
        command, "no permission", permission=True
    )


def test_a_change_that_fails_otherwise(two: FakeMachine) -> None:
    two.set_gpu(0, **{"smi.fail": "vboost"})
    command = nvidia_smi.vboost(0, 9)
    assert nvidia_smi.run(command, os.environ) == nvidia_smi.Refusal(
        command, "Unable to set vboost slider for GPU 00000000:00:00.0: Invalid Argument", permission=False
    )


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (None, "nvidia-smi is not on PATH; it is part of NVIDIA's driver"),
        ("#!/bin/sh\nexit 9\n", "nvidia-smi exit status 9"),
        ("#!/bin/sh\necho 'Insufficient Permissions'; exit 255\n", "no permission"),
    ],
)
def test_an_nvidia_smi_that_does_not_serve(tmp_path: Path, script: str | None, reason: str) -> None:
    if script is not None:
        (tmp_path / "nvidia-smi").write_text(script)
        (tmp_path / "nvidia-smi").chmod(0o755)
    refusal = nvidia_smi.run(
        nvidia_smi.vboost(0, 4), {"PATH": f"{tmp_path}:/bin" if script else str(tmp_path)}
    )
    assert refusal is not None
    assert refusal.reason == reason


def test_an_nvidia_smi_that_may_not_be_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(subprocess, "run", denied)
    refusal = nvidia_smi.run(nvidia_smi.vboost(0, 4), {})
    assert refusal is not None
    assert refusal.reason == "nvidia-smi cannot be run: Permission denied"


def test_an_nvidia_smi_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hangs(command: list[str], **options: float) -> None:
        raise subprocess.TimeoutExpired(command, options["timeout"])

    monkeypatch.setattr(subprocess, "run", hangs)
    refusal = nvidia_smi.run(nvidia_smi.vboost(0, 4), {})
    assert refusal is not None
    assert refusal.reason == (
        "`nvidia-smi boost-slider -i 0 --vboost 4` did not return within 120 s; the driver may hang "
        "(see: dmesg)"
    )


def test_shell_lines_are_what_a_person_would_type() -> None:
    commands = [*(nvidia_smi.vboost(gpu, 4) for gpu in (0, 2)), nvidia_smi.persistence(1, on=True)]
    assert nvidia_smi.in_shell(commands) == (
        "for i in 0 2; do nvidia-smi boost-slider -i $i --vboost 4; done; nvidia-smi -i 1 -pm 1"
    )
