from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_dsr1.machine.gpu import nvml
from pytest_dsr1.machine.gpu.fabric import Fabric
from pytest_dsr1.machine.gpu.nvml_calls import GpuLostError, NotPermittedError, NvmlError
from tests.standins.nvml import control
from tests.standins.nvml.control import FakeMachine


def test_a_machine_without_a_driver_is_said_to_have_none() -> None:
    """In a process of its own: this one has the stand-in loaded."""
    program = (
        "from pytest_dsr1.machine.gpu import nvml\n"
        "try:\n"
        "    nvml.opened().__enter__()\n"
        "except nvml.NvmlError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "this machine has no NVIDIA driver (libnvidia-ml.so.1 is not found)\n"


def test_the_real_binding_finds_the_stand_in_by_the_loaders_own_search(library: Path, tmp_path: Path) -> None:
    machine = FakeMachine(library, tmp_path, 1)
    program = (
        "import pynvml; pynvml.nvmlInit(); handle = pynvml.nvmlDeviceGetHandleByIndex(0); "
        "print(pynvml.nvmlDeviceGetName(handle)); pynvml.nvmlShutdown()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=machine.environ(os.environ),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "NVIDIA H200\n"
    assert machine.calls() == [
        "nvmlInitWithFlags -",
        "nvmlDeviceGetHandleByIndex_v2 0",
        "nvmlDeviceGetName 0",
        "nvmlShutdown -",
    ]


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (9, "the NVIDIA driver is installed but not loaded (see: dmesg | grep -i nvrm)"),
        (
            18,
            "the NVIDIA driver was updated while its old kernel module stayed loaded; reboot, or end every "
            "program that uses a GPU and reload the kernel modules; in a container: restart the container",
        ),
        (
            999,
            "the NVIDIA driver does not answer (Unknown Error); see `nvidia-smi` and `dmesg | grep -i nvrm` "
            "on the host",
        ),
    ],
)
def test_a_driver_that_does_not_answer(h200: FakeMachine, code: int, message: str) -> None:
    h200.set("error.nvmlInitWithFlags", code)
    with pytest.raises(NvmlError) as caught, nvml.opened():
        pass
    assert str(caught.value) == message


def test_every_reading_of_a_healthy_gpu(h200: FakeMachine) -> None:
    with nvml.opened() as library:
        assert (library.driver(), library.cuda(), library.count()) == ("580.95.05", "13.0", 8)
        gpu = library.gpu(3)
        assert (gpu.index, gpu.name, gpu.uuid) == (3, "NVIDIA H200", h200.uuid(3))
        assert gpu.memory_gib() == pytest.approx((143771 / 1024, 500 / 1024))
        assert (gpu.mig(), gpu.ecc(), gpu.ecc_uncorrected(), gpu.ecc_corrected()) == (False, True, 0, 0)
        assert gpu.remap() == nvml.Remap(0, pending=False, failed=False)
        assert (gpu.nvlinks(), gpu.fabric(), gpu.processes()) == ((18, 18), Fabric("completed"), ())
        assert (gpu.nvlink_mb_s(), gpu.nvlink_errors(), gpu.vbios()) == (26_562, 0, "96.00.A5.00.1A")
        assert (gpu.pcie_generation(), gpu.pcie_generation_max(), gpu.pcie_replays()) == (5, 5, 0)
        assert (gpu.pcie_width(), gpu.pcie_width_max(), gpu.cpus()) == (16, 16, frozenset(range(64)))
        assert (gpu.power_enforced_w(), gpu.power_profiles()) == (700.0, None)
        assert (gpu.persistence(), gpu.power_limit_w(), gpu.power_default_w()) == (True, 700.0, 700.0)
        assert (gpu.power_w(), gpu.energy_j(), gpu.temperature_c()) == (100.0, 5000.0, 40)
        assert (gpu.power_instant_w(), gpu.power_average_w()) == (101.0, 99.0)
        assert (gpu.sm_clock_mhz(), gpu.memory_clock_mhz(), gpu.max_sm_clock_mhz()) == (1980, 3201, 1980)
        assert (gpu.application_clock_mhz(), gpu.application_memory_clock_mhz()) == (1980, 3201)
        assert (gpu.utilization_percent(), gpu.throttle_reasons()) == (0, 0)


def test_a_power_that_the_gpu_or_the_driver_lacks(h200: FakeMachine) -> None:
    h200.forget("gpus.power_instant_mw")
    with nvml.opened() as library:
        gpu = library.gpu(0)
        assert (gpu.power_instant_w(), gpu.power_average_w()) == (None, 99.0)
        h200.set_gpu(0, **{"error.nvmlDeviceGetFieldValues": 13})
        assert gpu.power_average_w() is None


def test_processes_carry_their_memory(h200: FakeMachine) -> None:
    h200.set_gpu(0, processes=f"4242:{3 * control.GIB} 77:0")
    with nvml.opened() as library:
        assert library.gpu(0).processes() == (nvml.GpuProcess(4242, 3.0), nvml.GpuProcess(77, 0.0))


@pytest.mark.parametrize("code", [3, 4, 13, 999], ids=["unsupported", "permission", "no function", "unknown"])
@pytest.mark.parametrize("function", ["nvmlDeviceGetHandleByIndex_v2", "nvmlDeviceGetUUID"])
def test_a_gpu_without_a_handle_or_uuid_is_not_read_further(
    h200: FakeMachine, function: str, code: int
) -> None:
    h200.set_gpu(1, **{f"error.{function}": code})
    kind = NotPermittedError if code == 4 else NvmlError
    with nvml.opened() as library, pytest.raises(kind, match=r"^nvmlDeviceGet(HandleByIndex|UUID): "):
        library.gpu(1)
    assert h200.calls()[-2:] == [f"{function} 1", "nvmlShutdown -"]


def test_the_stand_in_refuses_a_handle_that_was_never_given(h200: FakeMachine) -> None:
    import pynvml

    with nvml.opened(), pytest.raises(pynvml.NVMLError, match="Invalid Argument"):
        pynvml.nvmlDeviceGetName(None)


def test_a_count_that_is_refused_is_not_zero(h200: FakeMachine) -> None:
    h200.set("error.nvmlDeviceGetCount_v2", 4)
    with nvml.opened() as library, pytest.raises(NvmlError) as caught:
        library.count()
    assert str(caught.value) == "nvmlDeviceGetCount: Insufficient Permissions"


@pytest.mark.parametrize(
    "missing", ["c_nvmlGpuFabricInfo_v2_t", "nvmlDeviceGetGpuFabricInfoV", "nvmlGpuFabricInfo_v2"]
)
def test_the_fabric_is_read_with_a_binding_that_does_not_declare_it(
    h200: FakeMachine, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    import pynvml

    monkeypatch.delattr(pynvml, missing, raising=False)
    h200.set_gpu(0, fabric_state=2)
    h200.set_gpu(1, fabric_state=9, fabric_status=999)
    with nvml.opened() as library:
        assert [library.gpu(gpu).fabric() for gpu in (0, 1, 2)] == [
            Fabric("in progress"),
            Fabric("state 9, error 999"),
            Fabric("completed"),
        ]


def test_what_the_health_mask_of_the_fabric_reports(h200: FakeMachine) -> None:
    """Two bits per subject: 1 is yes, 2 is no, and 0 is not supported."""
    for gpu, mask in enumerate((0xAA, 0x00, 0xA9, 0x55)):
        h200.set_gpu(gpu, fabric_health=mask)
    with nvml.opened() as library:
        found = [library.gpu(gpu).fabric() for gpu in range(4)]
    assert [fabric.problems for fabric in found if fabric] == [
        (),
        (),
        ("degraded bandwidth",),
        ("degraded bandwidth", "route recovery", "unhealthy route", "access timeout"),
    ]


def test_readings_of_many_bits(h200: FakeMachine) -> None:
    """Error counters wider than 32 bits are summed; masks name their bits."""
    h200.set_gpu(0, nvlink_crc_flit=2**32, nvlink_crc_data=1, nvlink_replays=2, nvlink_recoveries=3)
    h200.set_gpu(0, power_profiles=1 << 1 | 1 << 33, cpus=0x8000000000000005, remapped_rows=7)
    with nvml.opened() as library:
        gpu = library.gpu(0)
        assert gpu.nvlink_errors() == 2**32 + 6
        assert gpu.power_profiles() == ("max-Q", "profile 33")
        assert gpu.cpus() == frozenset({0, 2, 63})
        assert gpu.remap() == nvml.Remap(7, pending=False, failed=False)
        h200.forget("gpus.nvlink_replays")
        assert library.gpu(1).nvlink_errors() is None, "a sum without one of the counters would be too low"


READINGS = [name for name in vars(nvml.Gpu) if not name.startswith("_")]


@pytest.mark.parametrize(
    "code", [3, 4, 13, 25, 26], ids=["unsupported", "permission", "no function", "version", "deprecated"]
)
@pytest.mark.parametrize("reading", READINGS)
def test_what_the_driver_does_not_offer_is_none(h200: FakeMachine, reading: str, code: int) -> None:
    with nvml.opened() as library:
        gpu = library.gpu(1)
        h200.set_gpu(1, error=code)
        assert getattr(gpu, reading)() is None


@pytest.mark.parametrize("code", [15, 16], ids=["lost", "reset required"])
@pytest.mark.parametrize("reading", READINGS)
def test_a_lost_gpu_is_lost_for_every_reading(h200: FakeMachine, reading: str, code: int) -> None:
    with nvml.opened() as library:
        gpu = library.gpu(1)
        h200.set_gpu(1, error=code)
        with pytest.raises(GpuLostError, match=r"^nvmlDevice\w*Get\w+: "):
            getattr(gpu, reading)()


def test_another_error_is_reported_in_nvmls_words(h200: FakeMachine) -> None:
    with nvml.opened() as library:
        gpu = library.gpu(0)
        h200.set_gpu(0, **{"error.nvmlDeviceGetPowerUsage": 999})
        with pytest.raises(NvmlError) as caught:
            gpu.power_w()
        assert str(caught.value) == "nvmlDeviceGetPowerUsage: Unknown Error"


def test_an_older_driver_lacks_functions_and_is_read_all_the_same(tmp_path: Path) -> None:
    machine = FakeMachine(control.build(tmp_path / "old", old_driver=True), tmp_path, 1)
    machine.set("gpus.throttle_reasons", "0x40")
    program = (
        "from pytest_dsr1.machine.gpu import nvml\n"
        "with nvml.opened() as library:\n"
        "    gpu = library.gpu(0)\n"
        "    print(gpu.throttle_reasons(), gpu.fabric(), gpu.memory_gib()[0] > 140)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=machine.environ(os.environ),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "64 None True\n"


def test_nvml_is_let_go_of(h200: FakeMachine) -> None:
    with pytest.raises(KeyError), nvml.opened():
        raise KeyError
    assert h200.calls()[-1] == "nvmlShutdown -"


def test_a_call_half_written_is_not_yet_in_the_log(h200: FakeMachine) -> None:
    h200.log_file.write_text("7 nvmlInitWithFlags -\n7 nvmlDeviceGetName 0\n7 nvmlDeviceGetNa")
    assert h200.calls() == ["nvmlInitWithFlags -", "nvmlDeviceGetName 0"]
    h200.log_file.write_text("7")
    assert h200.calls() == []


def test_a_missing_compiler_is_an_error_not_a_skip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(
        RuntimeError, match=r"`cc` is not on PATH\. Install one, such as: apt-get install gcc"
    ):
        control.build(tmp_path / "new")
