from __future__ import annotations

import os
import platform
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest

from pytest_dsr1.gate.comparability import role
from pytest_dsr1.machine import host
from pytest_dsr1.machine.fingerprint import LIBRARIES, VARIABLES, _name, fingerprint, slurm_facts
from pytest_dsr1.machine.gpu.inventory import MachineInventory, read_machine
from pytest_dsr1.machine.values import FactValue
from pytest_dsr1.scenario.schema.scenario import Scenario
from pytest_dsr1.scenario.schema.site import Site, Slurm
from tests.standins.nvml.control import FakeMachine

Make = Callable[..., Scenario]


def test_what_the_run_ran_on(two: FakeMachine, machine_scenario: Make) -> None:
    pair = machine_scenario({"gpu": "NVIDIA H200", "count": 2})
    setup: dict[str, FactValue] = {"setup.mode": "apply", "setup.not_set": ["vboost 4 on GPU 1"]}
    environ = {**os.environ, "CI_JOB_IMAGE": "release:1.2.0", "PYTHONPATH": "/opt/new/kernels"}
    environ = {name: value for name, value in environ.items() if not VARIABLES.fullmatch(name)}
    facts = fingerprint(pair, read_machine(os.environ), setup_facts=setup, environ=environ).facts
    libraries = {key: facts[key] for key in facts if key.startswith("library.")}
    assert libraries.items() >= {
        ("library.pytest-dsr1", metadata.version("pytest-dsr1")),
        ("library.torch", metadata.version("torch")),
        ("library.nvidia-ml-py", metadata.version("nvidia-ml-py")),
    }
    assert {key: value for key, value in facts.items() if key not in libraries} == {
        "driver": "580.95.05",
        "cuda.driver": "13.0",
        "gpu.count": 2,
        "gpu.uuids": [two.uuid(0), two.uuid(1)],
        "processes_visible": True,
        "gpu.name": "NVIDIA H200",
        "gpu.memory_gib": 140.4,
        "gpu.power_limit_w": 700.0,
        "gpu.power_default_w": 700.0,
        "gpu.power_enforced_w": 700.0,
        "gpu.vbios": "96.00.A5.00.1A",
        "gpu.pcie_generation": 5,
        "gpu.pcie_width": 16,
        "gpu.nvlink_mb_s": 26_562,
        "gpu.power_profiles": None,
        "gpu.max_sm_clock_mhz": 1980,
        "gpu.application_clock_mhz": 1980,
        "gpu.application_memory_clock_mhz": 3201,
        "gpu.persistence": True,
        "gpu.vboost": 0,
        "gpu.mig": False,
        "gpu.ecc": True,
        "cpu.model": host.cpu_model(),
        "cpu.cores": os.cpu_count(),
        "kernel": platform.release(),
        "hostname": platform.node(),
        "python.path": "/opt/new/kernels",
        "environment": [],
        "container": False,
        "container.image": "release:1.2.0",
        "python": platform.python_version(),
        "setup.mode": "apply",
        "setup.not_set": ["vboost 4 on GPU 1"],
    }


def test_it_is_the_same_again_whatever_the_gpus_are_doing(two: FakeMachine, machine_scenario: Make) -> None:
    def taken() -> object:
        return fingerprint(machine_scenario(), read_machine(os.environ), setup_facts={}, environ=os.environ)

    before = taken()
    two.set_all(temperature=88, sm_clock=345, power_mw=1, memory_used=1, utilization=100)
    assert taken() == before


def test_gpus_that_differ_are_listed(two: FakeMachine, machine_scenario: Make) -> None:
    two.set_gpu(1, power_limit_mw=650_000, memory_total=10 * 1024**3)
    two.forget("gpus.ecc")
    facts = fingerprint(machine_scenario(), read_machine(os.environ), setup_facts={}, environ={}).facts
    assert facts["gpu.power_limit_w"] == ["700.0", "650.0"]
    assert facts["gpu.memory_gib"] == ["140.4", "10.0"]
    assert facts["gpu.ecc"] is None


def test_application_clocks_that_were_set_are_facts(two: FakeMachine, machine_scenario: Make) -> None:
    """As `nvidia-smi -i 1 -ac 2619,1500` leaves it; what the driver no longer reports is not a fact."""
    two.set_gpu(1, application_clock=1500, application_memory_clock=2619)
    facts = fingerprint(machine_scenario(), read_machine(os.environ), setup_facts={}, environ={}).facts
    assert facts["gpu.application_clock_mhz"] == ["1980", "1500"]
    assert facts["gpu.application_memory_clock_mhz"] == ["3201", "2619"]
    two.set_all(**{"error.nvmlDeviceGetApplicationsClock": 26})
    facts = fingerprint(machine_scenario(), read_machine(os.environ), setup_facts={}, environ={}).facts
    assert facts["gpu.application_clock_mhz"] is None
    assert facts["gpu.application_memory_clock_mhz"] is None
    assert facts["gpu.max_sm_clock_mhz"] == 1980


def test_hidden_processes_are_a_fact(
    two: FakeMachine, machine_scenario: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "pids_are_the_hosts", lambda: False)
    facts = fingerprint(machine_scenario(), read_machine(os.environ), setup_facts={}, environ={}).facts
    assert facts["processes_visible"] is False


def test_the_cpu_has_no_gpu_facts(machine_scenario: Make) -> None:
    facts = fingerprint(machine_scenario({}), None, setup_facts={}, environ={}).facts
    assert not [key for key in facts if key.startswith("gpu") or key == "driver"]
    assert facts["cpu.cores"] == os.cpu_count()


def test_inherited_variables_of_engines_are_a_fact(machine_scenario: Make) -> None:
    """Not where things are, nor the contents of a container, nor which GPUs a run has; and no secret."""
    secret = "planted-secret"
    environ = {
        "VLLM_ATTENTION_BACKEND": "TRITON_MLA",
        "NCCL_P2P_DISABLE": "1",
        "CUDA_LAUNCH_BLOCKING": "1",
        "TRTLLM_ENABLE_PDL": "1",
        "SGLANG_X": "broken \udcff",
        "VLLM_API_KEY": secret,
        "NCCL_PROXY": f"https://ann:{secret}@example.com",
        "CUDA_VISIBLE_DEVICES": "0",
        "CUDA_HOME": "/usr/local/cuda",
        "NCCL_VERSION": "2.27",
        "TRITON_CACHE_DIR": "/tmp/cache",
        "HOME": "/root",
        "MY_NCCL_ALGO": "Ring",
    }

    def inherited(**engine: object) -> FactValue:
        scenario = machine_scenario({}, engine={"type": "openai", "server": "vllm", **engine})
        return fingerprint(scenario, None, setup_facts={}, environ=environ).facts.get("environment")

    assert inherited() == [
        "CUDA_LAUNCH_BLOCKING=1",
        "NCCL_P2P_DISABLE=1",
        "NCCL_PROXY=https://(not shown)@example.com",
        "SGLANG_X=broken ?",
        "TRTLLM_ENABLE_PDL=1",
        "VLLM_API_KEY=${VLLM_API_KEY}",
        "VLLM_ATTENTION_BACKEND=TRITON_MLA",
    ]
    own = {"VLLM_ATTENTION_BACKEND": "FLASHINFER", "NCCL_P2P_DISABLE": "0", "VLLM_API_KEY": "x"}
    assert inherited(environment=own) == [
        "CUDA_LAUNCH_BLOCKING=1",
        "NCCL_PROXY=https://(not shown)@example.com",
        "SGLANG_X=broken ?",
        "TRTLLM_ENABLE_PDL=1",
    ]
    roles = {"context": {"environment": own}, "generation": {"environment": {"NCCL_P2P_DISABLE": "0"}}}
    disaggregated = {"server": "trtllm-serve", "disaggregated": roles}
    assert "NCCL_P2P_DISABLE=1" in str(inherited(**disaggregated)), "the front end inherits it"
    of_all = str(inherited(**disaggregated, environment=own))
    assert "NCCL_P2P_DISABLE" not in of_all
    assert "VLLM_ATTENTION_BACKEND=TRITON_MLA" in of_all, "the generation servers inherit it"
    assert inherited(server="other", url="http://localhost:8000") is None, "the server has other variables"


def test_engines_and_their_kernels_are_among_the_libraries() -> None:
    wanted = ["vllm", "sglang", "tensorrt-llm", "torch", "triton", "deep-gemm", "sgl-kernel", "nvidia-nccl"]
    wanted += ["flashinfer-python", "flashinfer-jit-cache"]
    assert [name for name in wanted if not LIBRARIES.fullmatch(name)] == []
    assert not LIBRARIES.fullmatch("flashinfer-bench")
    assert not LIBRARIES.fullmatch("tritonclient")


def test_a_machine_without_a_driver(machine_scenario: Make) -> None:
    facts = fingerprint(
        machine_scenario(), MachineInventory(problem="none"), setup_facts={}, environ={}
    ).facts
    assert (facts["gpu.count"], facts["driver"]) == (0, None)


def test_the_name_of_a_distribution_is_read_from_its_head(tmp_path: Path) -> None:
    assert [_name(each) for each in metadata.distributions()] == [
        each.name for each in metadata.distributions()
    ]
    folder = tmp_path / "torch-9.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName:  Torch\nVersion: 9\n\nName: numpy\n")
    assert _name(metadata.Distribution.at(folder)) == "Torch"
    (folder / "METADATA").write_text("Name:\nVersion: 9\nname: torch thing \n\nName: numpy\n")
    assert _name(metadata.Distribution.at(folder)) == "torch thing"
    egg = tmp_path / "numpy-1.17.egg-info"
    egg.write_text("Name: numpy\nVersion: 1.17\n")
    assert _name(metadata.Distribution.at(egg)) == "numpy"


def test_how_slurm_starts_an_engine_is_shown_and_not_where_it_waits(machine_scenario: Make) -> None:
    site = Site(
        slurm=Slurm(
            sbatch=["--partition=batch", "--account=team"],
            srun=["--container-image=old", "--container-image=registry/engine:1.2", "--mpi-x"],
            interface="ib0",
        )
    )
    one = machine_scenario({"gpu": "NVIDIA H200", "count": 8})
    two = machine_scenario({"gpu": "NVIDIA H200", "count": 8, "nodes": 2})
    facts: dict[str, FactValue] = {
        "slurm.image": "registry/engine:1.2",
        "slurm.mpi": "pmix",
        "slurm.launcher": ["trtllm-llmapi-launch"],
        "slurm.interface": "ib0",
    }
    assert slurm_facts(two, site, {}) == facts
    assert slurm_facts(one, site, {"SLURM_JOB_ID": "7"}) == facts
    assert slurm_facts(one, site, {}) == {}
    assert slurm_facts(two, Site(), {})["slurm.image"] is None
    assert {role(key, {}) for key in facts} == {"shown"}
