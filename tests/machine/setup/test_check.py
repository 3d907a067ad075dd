"""Settings compared with the published ones: what is said of each setting, and how it is set."""

from __future__ import annotations

import os

from pytest_dsr1.findings import Finding
from pytest_dsr1.machine.gpu.inventory import read_machine
from pytest_dsr1.machine.setup.check import tuning
from pytest_dsr1.scenario.schema.scenario import GpuSetup
from tests.standins.nvml.control import FakeMachine


def found(vboost: int | None = None) -> list[Finding]:
    return list(tuning(GpuSetup(persistence=True, vboost=vboost), read_machine(os.environ).gpus))


def test_the_published_settings_are_shown(h200: FakeMachine) -> None:
    assert found(vboost=0) == [
        Finding("ok", "GPU persistence mode", "on"),
        Finding("ok", "GPU power limit", "700 W"),
        Finding("ok", "GPU vboost", "0"),
    ]
    h200.set_gpu(0, power_limit_mw=750_000)
    assert [one.message for one in found()] == ["on", "700 W, 750 W"], "more power costs no performance"


def test_a_difference_is_a_warning_with_the_command_to_run(h200: FakeMachine) -> None:
    h200.set_all(persistence=0)
    h200.set_gpu(2, power_limit_mw=500_000)
    h200.set_gpu(7, vboost=4)
    assert found(vboost=4) == [
        Finding(
            "warning",
            "GPUs 0-7 persistence mode",
            "expected on, found off; as root: for i in 0 1 2 3 4 5 6 7; do nvidia-smi -i $i -pm 1; done",
        ),
        Finding(
            "warning",
            "GPU 2 power limit",
            "expected the default of 700 W, found 500 W; as root: nvidia-smi -i 2 -pl 700",
        ),
        Finding(
            "warning",
            "GPUs 0-6 vboost",
            "the published value is 4, found 0; as root: for i in 0 1 2 3 4 5 6; do nvidia-smi boost-slider "
            "-i $i --vboost 4; done",
        ),
    ]


def test_what_cannot_be_read(two: FakeMachine) -> None:
    two.set("smi.vboost", 0)
    for name in ("power_limit_mw", "power_default_mw"):
        two.forget(f"gpus.{name}")
    assert found(vboost=4) == [
        Finding("ok", "GPU persistence mode", "on"),
        Finding("ok", "GPU power limit", "unknown"),
        Finding(
            "warning",
            "GPUs 0-1 vboost",
            "the published value is 4, but it cannot be read; as root: for i in 0 1; do nvidia-smi "
            "boost-slider -i $i --vboost 4; done",
        ),
    ]
    two.set_gpu(1, error=15)
    assert [one.subject for one in found(vboost=4)][-1] == "GPU 0 vboost"
    two.set_gpu(0, error=15)
    assert found(vboost=4) == [], "that they cannot be read is said by another check"
