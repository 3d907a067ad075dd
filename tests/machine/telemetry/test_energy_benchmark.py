"""The benchmark of energy on a stand-in GPU, without a load."""

from __future__ import annotations

import os
import re
from contextlib import nullcontext

import pytest

from benchmarks.energy import COUNTER, RECORDED, watch
from pytest_dsr1.machine.gpu.inventory import read_machine
from tests.standins.nvml.control import FakeMachine


def watched(capsys: pytest.CaptureFixture[str]) -> str:
    watch(read_machine(os.environ).gpus[0], nullcontext, seconds=0.4, idle_s=0.2, watched_s=0.02)
    return capsys.readouterr().out


def test_what_it_prints(two: FakeMachine, capsys: pytest.CaptureFixture[str]) -> None:
    """The counter grows by 10 J per reading; the powers stay at 101, 99 and 100 W."""
    before = two.settings()
    said = watched(capsys)
    assert re.search(r"^the load, 0\.\d s$", said, re.MULTILINE)
    assert re.search(rf"^  {COUNTER} +[\d.,]+ J +[\d.]+ W$", said, re.MULTILINE)
    assert re.search(rf"^  {RECORDED} +4\d\.\d J +-\d\d\.\d\d% of the counter$", said, re.MULTILINE)
    assert "power, instant: " in said
    assert re.search(
        r"^a run would report [\d.,]+ J \([+-][\d.]+% of the counter at 10 Hz\)$", said, re.MULTILINE
    )
    assert re.search(rf"^{COUNTER}: \d+ readings, changes every \d+\.\d ms$", said, re.MULTILINE)
    assert re.search(
        r"average: \d+ readings, changes every unknown, 99\.0 / 99\.0 / 99\.0 W$", said, re.MULTILINE
    )
    assert two.settings() == before
    assert two.commands() == []


def test_a_gpu_without_a_counter(two: FakeMachine, capsys: pytest.CaptureFixture[str]) -> None:
    two.set_gpu(0, **{"error.nvmlDeviceGetTotalEnergyConsumption": 3})
    assert watched(capsys) == "NVML reports no energy counter\n"
