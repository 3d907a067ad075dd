"""The command `pytest-dsr1 probe`: a table, sentences, and JSON."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from pytest_dsr1.cli.main import main
from pytest_dsr1.machine import host
from pytest_dsr1.machine.gpu.inventory import read_machine
from pytest_dsr1.machine.gpu.lock import gpu_lock
from pytest_dsr1.machine.probe import run
from tests.helpers.probes import child
from tests.standins.nvml.control import FakeMachine, build, load

FOUND = """
found(values=(4258.0, 4000.0))
found("peer_gb_s", (400.0, 401.0), ((0, 1), (1, 0)))
found("all_reduce_64kib_us", (21.5,), ((0, 1),))
send(event="missing", names=["fp8_tflops"], why="no FP8")
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = build(tmp_path_factory.mktemp("nvml") / "driver")
    load(folder)
    return folder


@pytest.fixture
def two(library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeMachine:
    """Two healthy H200s; temporary files are in the folder of the test."""
    machine = FakeMachine(library, tmp_path, 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for name, value in machine.environ(os.environ).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(host, "pids_are_the_hosts", lambda: True)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    return machine


@pytest.fixture
def finds(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Runs this program instead of the child."""
    real = run.probe
    return lambda program: monkeypatch.setattr(run, "probe", partial(real, command=child(program)))


def test_the_table_and_the_sentences(
    two: FakeMachine, finds: Callable[[str], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    finds(FOUND)
    assert main(["probe"]) == 0
    shown = capsys.readouterr()
    assert shown.err == "probing GPUs 0-1, about 20 s\n"
    (kept,) = (tmp_path / "tmp").iterdir()
    assert shown.out.splitlines() == [
        "                      unit  GPU 0  GPU 1",
        "memory copy           GB/s  4,258  4,000",
        "GPU to GPU            GB/s    400    400",
        "all-reduce of 64 KiB  us     21.5",
        "GPU 1 copies memory 6.1% slower than the other (4,000 against 4,258 GB/s)",
        "all pairs of GPUs copy alike, to 0.3%",
        "memory copy reaches 83 to 89% of the peak of 4,800 GB/s",
        "not probed: memory read, host to GPU, GPU to host, ring of all GPUs, all-reduce of 256 MiB, "
        "BF16 product: the probes ended with exit status 0 and no result; see "
        f"{kept}/probe.log",
        "not probed: FP8 product: no FP8",
    ]
    assert two.commands() == []


def test_json(two: FakeMachine, finds: Callable[[str], None], capsys: pytest.CaptureFixture[str]) -> None:
    finds(FOUND)
    assert main(["probe", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["format"], document["version"]) == ("pytest-dsr1 probes", 1)
    assert (document["model"], document["gpus"]) == ("NVIDIA H200", [0, 1])
    assert document["probes"][0] == {
        "name": "memory_bandwidth_gb_s",
        "unit": "GB/s",
        "values": [4258.0, 4000.0],
        "gpus": [[0], [1]],
        "smallest_percent": 0.3,
        "seconds": 1.5,
    }
    assert document["missing"]["fp8_tflops"] == "no FP8"
    assert document["judged"][0] == {
        "verdict": "convicted",
        "against": "gpus",
        "probe": "memory_bandwidth_gb_s",
        "text": "GPU 1 copies memory 6.1% slower than the other (4,000 against 4,258 GB/s)",
    }


def test_nothing_is_kept_of_probes_that_succeed(
    two: FakeMachine, finds: Callable[[str], None], tmp_path: Path
) -> None:
    finds(
        "from pytest_dsr1.machine.probe.values import KINDS\n"
        "send(event='missing', names=list(KINDS), why='no torch')"
    )
    assert main(["probe"]) == 10
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_gpu_that_another_process_uses_is_named(
    two: FakeMachine, finds: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    two.set_gpu(1, processes="4242:1024")
    finds("found()")
    assert main(["probe"]) == 0
    assert "GPU 1: in use by other processes, so the values may be too low\n" in capsys.readouterr().out


def test_a_run_is_not_disturbed(
    two: FakeMachine, finds: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    finds("found()")
    with gpu_lock(read_machine(os.environ).gpus, os.environ):
        assert main(["probe"]) == 10
    assert capsys.readouterr().out.startswith(f"not probed: GPU 0 ({two.uuid(0)}) is in use by ")


def test_a_lost_gpu_is_left_out(
    two: FakeMachine, finds: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    two.set_gpu(0, error=15)
    finds("found(values=[4258.0], gpus=[[0]])")
    assert main(["probe"]) == 0
    assert capsys.readouterr().out.startswith("             unit  GPU 1\nmemory copy  GB/s  4,258\n")


def test_without_a_gpu_nothing_is_probed(
    two: FakeMachine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    assert main(["probe"]) == 10
    assert capsys.readouterr().out == (
        "not probed: CUDA_VISIBLE_DEVICES=7: 7 does not name exactly one whole GPU\n"
    )
    assert main(["probe", "--json"]) == 10
    assert json.loads(capsys.readouterr().out)["probes"] == []
