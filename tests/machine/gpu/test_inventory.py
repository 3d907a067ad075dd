from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_dsr1.findings import Finding
from pytest_dsr1.machine.gpu import nvml
from pytest_dsr1.machine.gpu.fabric import Fabric
from pytest_dsr1.machine.gpu.inventory import (
    GpuReading,
    gpu_finding,
    gpu_list,
    node_of,
    read_machine,
    readable,
    sentences,
    visible,
)
from pytest_dsr1.machine.values import gpu_name
from tests.standins.nvml.control import FakeMachine

GPUS = [GpuReading(index, f"GPU-{index:04x}-{index}") for index in range(4)]


@pytest.mark.parametrize(
    ("setting", "indices", "wrong"),
    [
        (None, [0, 1, 2, 3], None),
        ("2,0", [2, 0], None),
        ("GPU-0001,GPU-0003-3", [1, 3], None),
        (" 1 , 2", [1, 2], None),
        ("", [], "CUDA_VISIBLE_DEVICES=: an empty entry does not name exactly one whole GPU"),
        ("1,9,2", [1], "CUDA_VISIBLE_DEVICES=1,9,2: 9 does not name exactly one whole GPU"),
        ("-1", [], "CUDA_VISIBLE_DEVICES=-1: -1 does not name exactly one whole GPU"),
        ("GPU-0", [], "CUDA_VISIBLE_DEVICES=GPU-0: GPU-0 does not name exactly one whole GPU"),
        ("MIG-1", [], "CUDA_VISIBLE_DEVICES=MIG-1: MIG-1 does not name exactly one whole GPU"),
        ("1,1", [1], "CUDA_VISIBLE_DEVICES=1,1: 1 is named twice"),
    ],
)
def test_cuda_visible_devices(setting: str | None, indices: list[int], wrong: str | None) -> None:
    chosen, problem = visible(GPUS, setting)
    assert [gpu.index for gpu in chosen] == indices
    assert problem == wrong


@given(st.text(alphabet="0123456789,-GPU MIG¹", max_size=20))
def test_any_setting_chooses_distinct_gpus(setting: str) -> None:
    chosen, _ = visible(GPUS, setting)
    assert len({gpu.index for gpu in chosen}) == len(chosen)


@given(st.sets(st.integers(0, 70), min_size=1))
def test_a_list_of_gpus_names_each_once(indices: set[int]) -> None:
    named: list[int] = []
    for word in gpu_list(list(indices)).split(" ", 1)[1].split(", "):
        first, _, last = word.partition("-")
        named += range(int(first), int(last or first) + 1)
    assert named == sorted(indices)


def test_lists_of_gpus_read_well() -> None:
    assert [gpu_list(one) for one in ([3], [0, 1, 2], [0, 2, 3])] == ["GPU 3", "GPUs 0-2", "GPUs 0, 2-3"]


def test_the_whole_machine_in_one_reading(b200: FakeMachine) -> None:
    b200.set_gpu(5, vboost=4)
    machine = read_machine(os.environ)
    assert (machine.problem, machine.driver, machine.cuda, machine.installed) == (
        None,
        "580.95.05",
        "13.0",
        8,
    )
    assert [gpu.vboost for gpu in machine.gpus] == [0, 0, 0, 0, 0, 4, 0, 0]
    assert machine.gpus[7] == GpuReading(
        index=7,
        uuid=b200.uuid(7),
        name="NVIDIA B200",
        memory_gib=183359 / 1024,
        memory_used_gib=500 / 1024,
        mig=False,
        ecc=True,
        ecc_uncorrected=0,
        ecc_corrected=0,
        remap=nvml.Remap(0, pending=False, failed=False),
        nvlinks_active=18,
        nvlinks=18,
        nvlink_mb_s=53_125,
        nvlink_errors=0,
        fabric=Fabric("completed"),
        vbios="97.00.88.00.0F",
        pcie_generation_max=5,
        pcie_width=16,
        pcie_width_max=16,
        pcie_replays=0,
        cpus=frozenset(range(64)),
        processes=(),
        persistence=True,
        power_limit_w=1000.0,
        power_default_w=1000.0,
        power_enforced_w=1000.0,
        power_profiles=(),
        temperature_c=40,
        max_sm_clock_mhz=1965,
        application_clock_mhz=1965,
        application_memory_clock_mhz=3996,
        vboost=0,
    )
    assert b200.commands() == []
    assert b200.calls()[-1] == "nvmlShutdown -"


def test_one_lost_gpu_leaves_the_others_readable(h200: FakeMachine) -> None:
    h200.set_gpu(2, error=15)
    machine = read_machine(os.environ)
    assert machine.gpus[2].problem == ("nvmlDeviceGetHandleByIndex: GPU is lost; reset it or reboot")
    assert [gpu.problem for gpu in machine.gpus if gpu.index != 2] == [None] * 7


def test_a_gpu_lost_while_it_is_read(h200: FakeMachine) -> None:
    h200.set_gpu(2, **{"error.nvmlDeviceGetMigMode": 15})
    assert read_machine(os.environ).gpus[2].problem == (
        "nvmlDeviceGetMigMode: GPU is lost; reset it or reboot"
    )


@pytest.mark.parametrize("code", [2, 11, 14, 999], ids=["argument", "interrupt", "infoROM", "unknown"])
def test_a_gpu_that_is_not_known_to_be_broken_is_not_to_be_reset(h200: FakeMachine, code: int) -> None:
    h200.set_gpu(2, error=code)
    problem = read_machine(os.environ).gpus[2].problem
    assert problem is not None
    assert problem.endswith("; see `nvidia-smi` and `dmesg | grep -i nvrm` on the host")


@pytest.mark.parametrize("function", ["HandleByIndex_v2", "UUID"])
def test_gpus_of_other_jobs_are_left_out_as_cuda_does(
    h200: FakeMachine, monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    for gpu in (0, 1, 4, 5, 6, 7):
        h200.set_gpu(gpu, **{f"error.nvmlDeviceGet{function}": 4})
    machine = read_machine(os.environ)
    assert [(gpu.index, gpu.problem) for gpu in machine.gpus] == [(2, None), (3, None)]
    assert (machine.problem, machine.installed, machine.refused) == (None, 2, 6)
    assert machine.uuids == (h200.uuid(2), h200.uuid(3))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,0")
    assert [gpu.index for gpu in read_machine(os.environ).gpus] == [3, 2]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    assert read_machine(os.environ).visibility == (
        "CUDA_VISIBLE_DEVICES=2,3: 2 does not name exactly one whole GPU"
    )


def test_no_gpu_is_permitted(h200: FakeMachine) -> None:
    h200.set_all(**{"error.nvmlDeviceGetHandleByIndex_v2": 4})
    machine = read_machine(os.environ)
    assert machine.problem == (
        "the NVIDIA driver 580.95.05 shows 8 GPUs, but this job or container may not use any of them; ask "
        "for them with --gpus"
    )
    assert (machine.gpus, machine.refused) == ((), 8)


def test_one_failing_reading_is_unknown(h200: FakeMachine) -> None:
    h200.set_gpu(2, **{"error.nvmlDeviceGetMigMode": 999})
    gpu = read_machine(os.environ).gpus[2]
    assert (gpu.problem, gpu.mig, gpu.ecc) == (None, None, True)


def test_a_driver_without_gpus(h200: FakeMachine) -> None:
    h200.set("count", 0)
    assert read_machine(os.environ).problem == (
        "the NVIDIA driver 580.95.05 shows no GPU (in a container: start it with --gpus all)"
    )


def test_a_machine_without_nvidia_smi_or_sliders_is_read(
    h200: FakeMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    assert {gpu.vboost for gpu in read_machine(os.environ).gpus} == {None}
    monkeypatch.setenv("PATH", f"{h200.library}:/usr/bin:/bin")
    h200.set("smi.vboost", 0)
    assert {gpu.vboost for gpu in read_machine(os.environ).gpus} == {None}


def test_no_links(h200: FakeMachine) -> None:
    h200.set_all(nvlinks=0)
    with nvml.opened() as library:
        assert library.gpu(0).nvlinks() is None


def test_what_differs_only_in_the_gpu_and_in_figures_is_one_sentence() -> None:
    def found(subject: str, message: str) -> Finding:
        return Finding("mismatch", subject, message)

    assert sentences(
        [
            found("GPU 0 throttled", "hot: 1.5 s of 20.0 s (7.5%); check cooling"),
            found("GPU 0 ECC", "errors grew from 0 to 1"),
            found("GPU 1 throttled", "hot: 12 s of 20.0 s (60%); check cooling"),
            found("GPU 2 throttled", "power: 1.5 s of 20.0 s (7.5%); check cooling"),
            found("GPU 3 lost", "see dmesg"),
            found("GPU 4 lost", "see dmesg"),
            found("GPU count", "expected 8, found 5"),
            found("GPUs 0, 1 power limit", "500 W"),
            found("disk space", "full"),
            found("disk space", "full"),
        ]
    ) == [
        "GPUs 0-1 throttled: hot: 1.5 s of 20.0 s (7.5%); check cooling (figures of GPU 0)",
        "GPU 0 ECC: errors grew from 0 to 1",
        "GPU 2 throttled: power: 1.5 s of 20.0 s (7.5%); check cooling",
        "GPUs 3-4 lost: see dmesg",
        "GPU count: expected 8, found 5",
        "GPUs 0, 1 power limit: 500 W",
        "disk space: full",
        "disk space: full",
    ]


def test_gpus_of_several_nodes() -> None:
    assert gpu_list(["node2:3"]) == "GPU 3 on node2"
    assert gpu_list(["n1:0", "n1:1", "n2:1", "n2:3"]) == "GPUs 0-1 on n1 and GPUs 1, 3 on n2"
    assert node_of(gpu_name("a-b.c", 10)) == ("a-b.c", 10)
    assert node_of(gpu_name("", 7)) == ("", 7)
    finding = gpu_finding("warning", "node2:3", "PCIe", "slow")
    assert finding == Finding("warning", "GPU 3 PCIe", "slow", "node2")
    assert gpu_finding("warning", 3, "PCIe", "slow").where == "GPU 3 PCIe"


def test_sentences_name_the_node() -> None:
    found = [
        *(Finding("mismatch", f"GPU {gpu} shared", "by 12", node) for node in ("n1", "n2") for gpu in (0, 1)),
        Finding("mismatch", "NVIDIA driver", "expected 575, found 570", "n2"),
    ]
    assert sentences(found) == [
        "GPUs 0-1 shared on n1: by 12",
        "GPUs 0-1 shared on n2: by 12",
        "NVIDIA driver on n2: expected 575, found 570",
    ]


def test_gpus_that_can_be_read() -> None:
    lost, fine = GpuReading(0, problem="lost"), GpuReading(1, "GPU-1")
    assert readable([lost, fine]) == (fine,)
