"""Checks that fleets make: what one GPU differs in, what is not offered, and what is only shown."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_dsr1.findings import Finding
from pytest_dsr1.machine import dcgm, host
from pytest_dsr1.machine.gpu.inventory import read_machine
from pytest_dsr1.machine.preflight import fleet
from pytest_dsr1.machine.preflight.check import Preflight
from pytest_dsr1.machine.values import UNVERIFIED
from pytest_dsr1.scenario.schema.scenario import Scenario
from tests.standins.nvml.control import FakeMachine

Make = Callable[..., Scenario]


def look(scenario: Scenario, **more: Any) -> list[Finding]:
    """Return the findings of the checks of fleets alone."""
    seen = Preflight(
        scenario, read_machine(os.environ), environ=os.environ, writes_to=Path.cwd(), bytes_needed=1, **more
    )
    return [finding for each in fleet.pytest_dsr1_checks() for finding in each.run(seen)]


def told(findings: list[Finding], severity: str) -> list[str]:
    return [f"{one.subject}: {one.message}" for one in findings if one.severity == severity]


@pytest.fixture(autouse=True)
def _fast_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    dcgm._diagnosis.cache_clear()
    monkeypatch.setattr(host, "cpu_governors", lambda: {"performance": 8})


def test_a_healthy_machine_is_shown(h200: FakeMachine, machine_scenario: Make) -> None:
    h200.set_gpu(3, temperature=47)
    findings = look(machine_scenario())
    assert told(findings, "warning") == told(findings, "mismatch") == []
    assert told(findings, "ok") == [
        "GPU PCIe: generation 5, 16 lanes",
        "GPU NVLink speed: 26562 MB/s per link",
        "GPU power limit in force: 700 W",
        "GPU repaired errors: none",
        "GPU temperature: 40 to 47 C before the start",
        "GPU differences: none: all have the same firmware, limits and clocks",
        "CPU governor: performance",
    ]
    assert h200.commands() == []


WARNINGS: list[tuple[dict[str, object], str]] = [
    (
        {"pcie_width": 8},
        "GPU 3 PCIe: 8 of 16 lanes are in use, which slows copies from and to the host; power the machine "
        "off and reseat the GPU or its cable",
    ),
    (
        {"nvlink_mb_s": 20_000},
        "GPU 3 NVLink speed: expected 26,562 MB/s per link, found 20,000; see `nvidia-smi nvlink -s`, and "
        "reset the GPUs",
    ),
    (
        {"fabric_health": 0xA5},
        "GPU 3 NVLink fabric health: reports degraded bandwidth and route recovery; see, on the host: "
        "journalctl -u nvidia-fabricmanager",
    ),
    (
        {"power_enforced_mw": 650_000},
        "GPU 3 power limit in force: 650 W is enforced although the limit is 700 W: the machine's own "
        "management (BMC, chassis power cap) limits it; raise it there",
    ),
    (
        {"power_profiles": 2},
        "GPU 3 power profile: the profile max-Q is in force, which saves power at the cost of speed; see "
        "`nvidia-smi power-profiles -h`",
    ),
    ({"vbios": "96.00.A5.00.03"}, "GPU 3 VBIOS: 96.00.A5.00.03, but 7 others have 96.00.A5.00.1A"),
    ({"sm_clock_max": 1830}, "GPU 3 highest SM clock in MHz: 1830, but 7 others have 1980"),
    ({"application_clock": 1410}, "GPU 3 application clock in MHz: 1410, but 7 others have 1980"),
    (
        {"application_memory_clock": 2619},
        "GPU 3 application memory clock in MHz: 2619, but 7 others have 3201",
    ),
    ({"vboost": 4}, "GPU 3 vboost: 4, but 7 others have 0"),
    ({"pcie_generation_max": 4}, "GPU 3 highest PCIe generation: 4, but 7 others have 5"),
]


@pytest.mark.parametrize(
    ("facts", "message"), [pytest.param(*one, id=next(iter(one[0]))) for one in WARNINGS]
)
def test_one_gpu_that_is_not_like_the_others(
    h200: FakeMachine, machine_scenario: Make, facts: dict[str, object], message: str
) -> None:
    h200.set_gpu(3, **facts)
    findings = look(machine_scenario())
    assert f"{message} {UNVERIFIED}" in told(findings, "warning")
    assert told(findings, "mismatch") == [], "nobody has seen yet what it costs"


def test_power_limits_that_nvml_rounds_are_equal(h200: FakeMachine, machine_scenario: Make) -> None:
    h200.set_gpu(3, power_enforced_mw=699_600)
    assert told(look(machine_scenario()), "warning") == []


def test_settings_that_are_compared_with_the_published_ones_are_not_named_twice(
    h200: FakeMachine, machine_scenario: Make
) -> None:
    h200.set_gpu(3, power_limit_mw=600_000, power_enforced_mw=600_000, vboost=1)
    published = machine_scenario(gpu_setup={"vboost": 0})
    assert told(look(published), "warning") == []
    assert told(look(published, setup="off"), "warning") == [
        f"GPU 3 power limit in W: 600, but 7 others have 700 {UNVERIFIED}",
        f"GPU 3 vboost: 1, but 7 others have 0 {UNVERIFIED}",
    ]


def test_a_reading_that_one_gpu_lacks(two: FakeMachine, machine_scenario: Make) -> None:
    """What cannot be read is not different."""
    two.forget("gpus.vbios")
    two.set_gpu(0, vbios="96.00.A5.00.1A")
    findings = look(machine_scenario({"gpu": "NVIDIA H200", "count": 2}))
    assert told(findings, "warning") == []
    assert "GPU 1 VBIOS: not read" in told(findings, "ok")


def test_of_two_gpus_neither_is_the_usual_one(two: FakeMachine, machine_scenario: Make) -> None:
    two.set_gpu(1, vbios="another")
    (message,) = told(look(machine_scenario({"gpu": "NVIDIA H200", "count": 2})), "warning")
    assert message.startswith("GPU 1 VBIOS: another, but another has ")


def test_errors_that_cannot_be_counted_are_not_none(two: FakeMachine, machine_scenario: Make) -> None:
    for fact in ("ecc_corrected", "remap_pending", "pcie_replays", "nvlink_replays"):
        two.forget(f"gpus.{fact}")
    findings = look(machine_scenario({"gpu": "NVIDIA H200", "count": 2}))
    assert not [one for one in findings if one.subject == "GPU repaired errors"]


def test_one_gpu_is_compared_with_none_and_has_no_links(two: FakeMachine, machine_scenario: Make) -> None:
    for fact in ("nvlink_mb_s", "nvlink_replays"):
        two.forget(f"gpus.{fact}")
    two.set_gpu(1, vbios="another")
    findings = look(machine_scenario({"gpu": "NVIDIA H200", "count": 1}))
    assert told(findings, "warning") == []
    assert not [one for one in findings if "NVLink" in one.message or one.subject == "GPU differences"]


def test_what_the_driver_does_not_offer_is_said_once(h200: FakeMachine, machine_scenario: Make) -> None:
    for fact in (
        "vbios",
        "pcie_width",
        "pcie_replays",
        "nvlink_mb_s",
        "nvlink_crc_data",
        "power_enforced_mw",
        "ecc_corrected",
        "remap_pending",
        "temperature",
        "cpus",
    ):
        h200.forget(f"gpus.{fact}")
    findings = look(machine_scenario())
    assert told(findings, "warning") == []
    assert [line for line in told(findings, "ok") if line.startswith("GPU readings")] == [
        "GPU readings: not offered by the driver: VBIOS, PCIe link, PCIe replays, NVLink speed, "
        "NVLink errors, power limit in force, corrected memory errors, remapped rows, temperature, NUMA node"
    ]


def test_repaired_errors_before_the_run_are_shown(h200: FakeMachine, machine_scenario: Make) -> None:
    h200.set_gpu(2, ecc_corrected=1234, remapped_rows=2)
    h200.set_gpu(5, pcie_replays=7, nvlink_replays=1)
    h200.set_gpu(6, pcie_replays=7, nvlink_replays=1)
    findings = look(machine_scenario())
    assert told(findings, "warning") == []
    assert (
        "GPU repaired errors: GPU 2: 1,234 corrected memory errors, 2 remapped rows; GPUs 5-6: 7 PCIe "
        "replays, 1 NVLink errors"
    ) in told(findings, "ok")


def test_power_profiles_of_blackwell(b200: FakeMachine, machine_scenario: Make) -> None:
    eight = machine_scenario({"gpu": "NVIDIA B200", "count": 8})
    assert not [line for line in told(look(eight), "ok") if "power profile" in line]
    b200.set_all(power_profiles=1 << 6)
    assert "GPU power profile: LLM inference" in told(look(eight), "ok")


def test_cpus_of_another_numa_node(
    h200: FakeMachine, machine_scenario: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)))
    h200.set_all(cpus="0xffff")
    assert told(look(machine_scenario()), "warning") == []
    h200.set_gpu(6, cpus="0xff00ff0000")
    h200.set_gpu(7, cpus="0xff00ff0000")
    assert told(look(machine_scenario()), "warning") == [
        "GPUs 6-7 CPU affinity: it is attached to CPUs 16-23, 32-39, and this process may use only 0-15; "
        f"start pytest with CPUs of all NUMA nodes (taskset, numactl, cpuset) {UNVERIFIED}"
    ]


def test_slow_cpu_governors(
    two: FakeMachine, machine_scenario: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = machine_scenario({"gpu": "NVIDIA H200", "count": 1})
    monkeypatch.setattr(host, "cpu_governors", lambda: {"powersave": 6, "performance": 1, "schedutil": 1})
    assert told(look(one), "warning") == [
        "CPU governor: expected performance, found powersave on 6 of 8 CPUs, schedutil on 1 of 8 CPUs; as "
        f"root: cpupower frequency-set -g performance {UNVERIFIED}"
    ]
    monkeypatch.setattr(host, "cpu_governors", dict)
    assert "CPU governor: not offered by the system" in told(look(one), "ok")


def test_the_diagnosis_of_dcgm_is_shown_where_it_is_installed(
    two: FakeMachine, machine_scenario: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = machine_scenario({"gpu": "NVIDIA H200", "count": 1})
    assert not [line for line in told(look(one), "ok") if "DCGM" in line]
    program = tmp_path / "bin" / "dcgmi"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho '| Software | Pass |'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    assert "DCGM diagnosis: 1 tests passed" in told(look(one), "ok")
    dcgm._diagnosis.cache_clear()
    program.write_text("#!/bin/sh\necho '| Persistence Mode | Fail - GPU 0 |'\nexit 1\n")
    assert told(look(one), "warning") == [
        f"DCGM diagnosis: failed: Persistence Mode; see `dcgmi diag -r 1` {UNVERIFIED}"
    ]
