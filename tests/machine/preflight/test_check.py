from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import pytest

from pytest_dsr1 import extensions
from pytest_dsr1.findings import Finding
from pytest_dsr1.machine import host, lease
from pytest_dsr1.machine.gpu.inventory import MachineInventory, read_machine
from pytest_dsr1.machine.gpu.lock import gpu_lock
from pytest_dsr1.machine.gpu.processes import describe_process
from pytest_dsr1.machine.preflight.check import Check, Preflight, preflight
from pytest_dsr1.machine.setup.journal import Entry, Settings, write
from pytest_dsr1.scenario.schema.scenario import Scenario
from tests.helpers.plugins import plugged_in
from tests.standins.nvml.control import GIB, FakeMachine

Make = Callable[..., Scenario]


def look(scenario: Scenario, **more: Any) -> list[Finding]:
    return list(preflight(seen(scenario, read_machine(os.environ), **more)))


def seen(scenario: Scenario, machine: MachineInventory | None = None, **more: Any) -> Preflight:
    options = {"environ": os.environ, "writes_to": Path.cwd(), "bytes_needed": 1, **more}
    return Preflight(scenario, machine, **options)


def told(findings: list[Finding], severity: str) -> list[str]:
    return [f"{one.subject}: {one.message}" for one in findings if one.severity == severity]


def about(lines: list[str], expected: list[str]) -> list[str]:
    """Return the lines about the subjects of the expected ones, since a new check adds lines of its own."""
    subjects = {line.partition(": ")[0] for line in expected}
    return [line for line in lines if line.partition(": ")[0] in subjects]


def test_a_healthy_machine_is_shown(h200: FakeMachine, machine_scenario: Make) -> None:
    findings = look(machine_scenario(gpu_setup={"vboost": 0}))
    assert told(findings, "mismatch") == told(findings, "warning") == []
    torch, transformers = metadata.version("torch"), metadata.version("transformers")
    expected = [
        "GPU count: 8",
        "NVIDIA driver: 580.95.05 (CUDA 13.0)",
        "GPU name: NVIDIA H200",
        "GPU memory: 140.4 GiB",
        "GPU MIG mode: off",
        "GPU row remapping: none pending",
        "GPU ECC: no uncorrectable errors",
        "GPU sharing: no other compute process",
        "GPU NVLink: 18 active on each GPU",
        "GPU NVLink fabric: completed",
        "GPU persistence mode: on",
        "GPU power limit: 700 W",
        "GPU vboost: 0",
        "shared memory: 64.0 GiB",
        "locked memory: unlimited",
        f"software: torch {torch}, transformers {transformers}",
    ]
    assert about(told(findings, "ok"), expected) == expected
    assert h200.commands() == []


def test_the_driver_is_opened_once_for_all_checks(h200: FakeMachine, machine_scenario: Make) -> None:
    """Opening it costs more than all that is read; each value is read of each GPU in that one session."""
    look(machine_scenario())
    calls = [call for call in h200.calls() if call.startswith("nvml")]
    assert (calls[0], calls[-1]) == ("nvmlInitWithFlags -", "nvmlShutdown -")
    assert (calls.count(calls[0]), calls.count(calls[-1])) == (1, 1)
    assert {call.rpartition(" ")[2] for call in calls[1:-1]} == {"-", *map(str, range(8))}


MISMATCHES: list[tuple[dict[str, object], str]] = [
    ({"name": "NVIDIA H200 NVL"}, "GPU 3 name: expected NVIDIA H200, found NVIDIA H200 NVL"),
    ({"memory_total": 100 * GIB}, "GPU 3 memory: expected at least 140 GiB, found 100.0 GiB"),
    (
        {"mig": 1},
        "GPU 3 MIG mode: on: the GPU is divided; as root, turn MIG off with `nvidia-smi -mig 0` and "
        "reset the GPU",
    ),
    (
        {"remap_pending": 1},
        "GPU 3 row remapping: a row remap is pending: memory is faulty until the GPU is reset "
        "(`nvidia-smi -r`)",
    ),
    (
        {"remap_failure": 1},
        "GPU 3 row remapping: a row remap failed: the memory is faulty; replace the GPU",
    ),
    (
        {"memory_used": 70 * GIB},
        "GPU 3 sharing: 70.0 GiB of its memory is in use by processes not visible here; run "
        "nvidia-smi on the host to see them",
    ),
    ({"nvlinks_down": 2}, "GPU 3 NVLink: 16 of 18 links are active; see `nvidia-smi nvlink -s`"),
    ({"nvlinks": 12}, "GPU 3 NVLink: 12 of 18 links are active; see `nvidia-smi nvlink -s`"),
    ({"nvlinks": 0}, "GPU 3 NVLink: no NVLink was found; see `nvidia-smi nvlink -s`"),
    (
        {"fabric_state": 2},
        "GPU 3 NVLink fabric: in progress; start it on the host: systemctl start nvidia-fabricmanager",
    ),
    (
        {"fabric_status": 999},
        "GPU 3 NVLink fabric: completed, error 999; start it on the host: systemctl start "
        "nvidia-fabricmanager",
    ),
    ({"error": 15}, "GPU 3: cannot be read: nvmlDeviceGetHandleByIndex: GPU is lost; reset it or reboot"),
    (
        {"error": 999},
        "GPU 3: cannot be read: nvmlDeviceGetHandleByIndex: Unknown Error; see `nvidia-smi` and `dmesg | "
        "grep -i nvrm` on the host",
    ),
    (
        {"error": 4},
        "GPU count: expected 8 x NVIDIA H200, found 7 (this job or container may not use 1 more: ask for "
        "them with --gpus)",
    ),
]


@pytest.mark.parametrize(
    ("facts", "message"),
    [pytest.param(*one, id=next(iter(one[0]))) for one in MISMATCHES],
)
def test_one_gpu_that_is_not_as_it_must_be(
    h200: FakeMachine, machine_scenario: Make, facts: dict[str, object], message: str
) -> None:
    h200.set_gpu(3, **facts)
    needs = {"gpu": "NVIDIA H200", "count": 8, "min_memory_gib": 140}
    assert told(look(machine_scenario(needs)), "mismatch") == [message]


def test_an_nvlink_fabric_that_cannot_be_read_is_said_once(h200: FakeMachine, machine_scenario: Make) -> None:
    h200.forget("gpus.fabric_state")
    assert told(look(machine_scenario()), "warning") == [
        "GPUs 0-7 NVLink fabric: not looked at: driver 580.95.05 does not report it; see, on the host: "
        "systemctl status nvidia-fabricmanager"
    ]
    h200.set_gpu(3, fabric_state=2)
    assert told(look(machine_scenario()), "mismatch") == [
        "GPU 3 NVLink fabric: in progress; start it on the host: systemctl start nvidia-fabricmanager"
    ]


def test_a_gpu_has_the_memory_of_its_model(h200: FakeMachine, machine_scenario: Make) -> None:
    h200.set_gpu(3, memory_total=137 * GIB)
    assert told(look(machine_scenario()), "mismatch") == []
    h200.set_gpu(3, memory_total=136 * GIB)
    assert told(look(machine_scenario()), "mismatch") == [
        "GPU 3 memory: expected about 140.4 GiB, as an NVIDIA H200 has, found 136.0 GiB; is the GPU divided, "
        "or its memory faulty? See `nvidia-smi -q -d MEMORY,ROW_REMAPPER`"
    ]
    h200.set_all(name="NVIDIA X1", memory_total=1 * GIB)
    other = machine_scenario({"gpu": "NVIDIA X1", "count": 8})
    assert told(look(other), "mismatch") == [], "an unknown model may have any memory"


def test_a_gpu_may_have_just_the_memory_that_the_scenario_asks_for(
    two: FakeMachine, machine_scenario: Make
) -> None:
    two.set_all(memory_total=140 * GIB)
    pair = {"gpu": "NVIDIA H200", "count": 2, "min_memory_gib": 140}
    assert told(look(machine_scenario(pair)), "mismatch") == []


@pytest.mark.parametrize(("used_mib", "fine"), [(2048, True), (2049, False)])
def test_what_a_gpu_uses_by_itself_is_no_other_process(
    two: FakeMachine, machine_scenario: Make, used_mib: int, fine: bool
) -> None:
    two.set_gpu(1, memory_used=used_mib * 1024**2)
    pair = machine_scenario({"gpu": "NVIDIA H200", "count": 2})
    assert (told(look(pair), "mismatch") == []) == fine


def test_a_card_has_as_many_links_as_its_bridges(h200: FakeMachine, machine_scenario: Make) -> None:
    h200.set_all(name="NVIDIA H200 NVL", nvlinks=6)
    cards = machine_scenario({"gpu": "NVIDIA H200 NVL", "count": 8})
    assert told(look(cards), "mismatch") == []
    assert "GPU NVLink: 6 active on each GPU" in told(look(cards), "ok")
    h200.set_gpu(0, nvlinks=12)
    assert "GPU NVLink: 6 or 12 active on each GPU" in told(look(cards), "ok")


@pytest.mark.parametrize("facts", [{"nvlinks_down": 1}, {"nvlinks": 0}, {"fabric_state": 2}])
def test_two_gpus_need_nvlink_and_one_does_not(
    two: FakeMachine, machine_scenario: Make, facts: dict[str, object]
) -> None:
    two.set_gpu(1, **facts)
    (mismatch,) = told(look(machine_scenario({"gpu": "NVIDIA H200", "count": 2})), "mismatch")
    assert mismatch.startswith("GPU 1 NVLink")
    two.set_all(**facts)
    findings = look(machine_scenario({"gpu": "NVIDIA H200", "count": 1}))
    assert told(findings, "mismatch") == told(findings, "warning") == []
    assert not [one.subject for one in findings if "NVLink" in one.subject]


@pytest.mark.parametrize(("count", "warned"), [(1, False), (2, True)])
def test_only_several_gpus_need_nccls_memory(
    two: FakeMachine,
    machine_scenario: Make,
    monkeypatch: pytest.MonkeyPatch,
    count: int,
    warned: bool,
) -> None:
    monkeypatch.setattr(host, "shm_gib", lambda: 0.0625)
    monkeypatch.setattr(host, "memlock_bytes", lambda: 65536)
    warnings = told(look(machine_scenario({"gpu": "NVIDIA H200", "count": count})), "warning")
    assert bool(warnings) == warned
    assert len(warnings) == (2 if warned else 0)


def test_everything_wrong_is_said_at_once(h200: FakeMachine, machine_scenario: Make) -> None:
    h200.set("driver", "570.86.15")
    h200.set_all(name="NVIDIA H100 80GB HBM3", mig=1, persistence=0)
    needs = {"gpu": "NVIDIA H200", "count": 8, "min_driver": "575"}
    findings = look(machine_scenario(needs), bytes_needed=10**18)
    assert [line.split(":")[0] for line in told(findings, "mismatch")] == [
        "NVIDIA driver",
        "GPUs 0-7 name",
        "GPUs 0-7 MIG mode",
        "disk space",
    ]
    assert told(findings, "mismatch")[0] == (
        "NVIDIA driver: expected 575 or newer, found 570.86.15; update the NVIDIA driver on the host"
    )
    assert len(told(findings, "warning")) == 1


@pytest.mark.parametrize(
    ("found", "least", "fine"),
    [
        ("575", "575", True),
        ("580.95.05", "575", True),
        ("575.51", "575.57.08", False),
        ("1000.1", "575", True),
        ("unheard of", "575", False),
    ],
)
def test_drivers_are_compared_by_number(
    h200: FakeMachine, machine_scenario: Make, found: str, least: str, fine: bool
) -> None:
    h200.set("driver", found)
    findings = look(machine_scenario({"gpu": "NVIDIA H200", "count": 8, "min_driver": least}))
    assert (told(findings, "mismatch") == []) == fine


def test_no_driver_is_one_finding_that_says_what_is_needed(machine_scenario: Make) -> None:
    machine = MachineInventory(problem="this machine has no NVIDIA driver (libnvidia-ml.so.1 is not found)")
    needs = {"gpu": "NVIDIA H200", "count": 8, "min_memory_gib": 140, "min_driver": "575"}
    findings = preflight(seen(machine_scenario(needs), machine))
    assert told(list(findings), "mismatch") == [
        "GPUs: this machine has no NVIDIA driver (libnvidia-ml.so.1 is not found); the scenario needs "
        "8 x NVIDIA H200, at least 140 GiB each, driver 575 or newer"
    ]


def test_too_few_gpus(two: FakeMachine, machine_scenario: Make) -> None:
    assert told(look(machine_scenario()), "mismatch") == ["GPU count: expected 8 x NVIDIA H200, found 2"]


def test_too_few_gpus_in_a_slurm_job(
    two: FakeMachine, machine_scenario: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert told(look(machine_scenario()), "mismatch") == [
        "GPU count: expected 8 x NVIDIA H200, found 1 (ask Slurm for them: --gpus-per-node=8)"
    ]


def test_hidden_gpus(h200: FakeMachine, machine_scenario: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,17")
    assert told(look(machine_scenario()), "mismatch") == [
        "CUDA_VISIBLE_DEVICES: CUDA_VISIBLE_DEVICES=0,1,17: 17 does not name exactly one whole GPU; "
        "list indices or UUIDs as `nvidia-smi -L` prints them, or unset it",
        "GPU count: expected 8 x NVIDIA H200, found 2 (6 more are hidden by CUDA_VISIBLE_DEVICES: unset it)",
    ]


def test_gpus_that_are_not_used_do_not_matter(
    h200: FakeMachine, machine_scenario: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    h200.set_gpu(0, error=15)
    h200.set_gpu(2, processes="77:0", mig=1, nvlinks_down=18)
    one = machine_scenario({"gpu": "NVIDIA H200", "count": 1})
    assert len(told(look(one), "mismatch")) == 1
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,2")
    assert told(look(one), "mismatch") == []
    assert "GPU count: 1; the first 1 of 2 are used" in told(look(one), "ok")


def test_next_to_our_own_server_only_others_count(
    h200: FakeMachine, machine_scenario: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    h200.set_all(memory_used=130 * GIB)
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as ours:
        h200.set_all(processes=f"{ours.pid}:{130 * GIB}")
        assert "GPU sharing: no compute process except those of the reused server" in told(
            look(machine_scenario(), reused=True), "ok"
        )
        h200.set_gpu(1, processes=f"{ours.pid}:0 {os.getppid()}:0")
        (mismatch,) = told(look(machine_scenario(), reused=True), "mismatch")
        assert mismatch.startswith("GPU 1 sharing: other compute processes are on this GPU: pid ")
        assert str(ours.pid) not in mismatch
        monkeypatch.setattr(host, "pids_are_the_hosts", lambda: False)
        (line,) = [
            line for line in told(look(machine_scenario(), reused=True), "ok") if "GPU sharing" in line
        ]
        assert line.endswith("unknown: the reused server is on the GPU, and process ids are not the host's")


def test_another_process_is_named(
    h200: FakeMachine, machine_scenario: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    h200.set_gpu(1, processes=f"{os.getppid()}:0 4194305:0")
    parent = describe_process(os.getppid(), named=True)
    assert told(look(machine_scenario()), "mismatch") == [
        f"GPU 1 sharing: other compute processes are on this GPU: {parent}, pid 4194305; end them or "
        "choose other GPUs"
    ]
    assert ", user " in parent
    monkeypatch.setattr(host, "pids_are_the_hosts", lambda: False)
    assert (
        f"pid {os.getppid()} on the host, pid 4194305 on the host;"
        in told(look(machine_scenario()), "mismatch")[0]
    )


def test_ecc_is_a_warning(h200: FakeMachine, machine_scenario: Make) -> None:
    h200.set_gpu(0, ecc=0)
    h200.set_gpu(1, ecc_uncorrected=3)
    findings = look(machine_scenario())
    assert told(findings, "mismatch") == []
    assert told(findings, "warning") == [
        "GPU 0 ECC: error correction is off, which changes memory speed; turn it on: `nvidia-smi -e 1`",
        "GPU 1 ECC: 3 uncorrectable memory errors since the driver loaded",
    ]


def test_limits_of_a_container(
    h200: FakeMachine, machine_scenario: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "shm_gib", lambda: 0.0625)
    monkeypatch.setattr(host, "memlock_bytes", lambda: 8 * 1024**2)
    assert told(look(machine_scenario()), "warning") == [
        "shared memory: NCCL needs 1 GiB of /dev/shm, found 0.06 GiB; in Docker: --shm-size=1g or --ipc=host",
        "locked memory: expected unlimited, found 8192 KiB; in Docker: --ulimit memlock=-1",
    ]
    monkeypatch.setattr(host, "shm_gib", lambda: None)
    assert "/dev/shm, found none;" in told(look(machine_scenario()), "warning")[0]
    monkeypatch.setattr(host, "shm_gib", lambda: 1.0)
    assert "shared memory: 1.0 GiB" in told(look(machine_scenario()), "ok")


def test_several_nodes_need_a_slurm_job(machine_scenario: Make) -> None:
    """Nothing is looked at on this machine alone."""
    pair = machine_scenario({"gpu": "NVIDIA H200", "count": 16, "nodes": 2})

    def look_run(scenario: Scenario, environ: dict[str, str]) -> list[Finding]:
        found = lease.look(scenario, "check", environ, Path.cwd(), 1)
        return [each for each in found if each.severity == "mismatch" and "software" not in each.subject]

    found = look_run(pair, {})
    assert [f"{each.subject}: {each.message}" for each in found] == [
        f"nodes: expected a Slurm job with 2, found none; submit one: pytest-dsr1 sbatch {pair.name}, or "
        "start pytest in one: salloc --nodes=2 --exclusive"
    ]
    assert look_run(pair, {"SLURM_JOB_ID": "1"}) == []


def test_settings_are_compared_where_this_run_does_not_set_them(
    h200: FakeMachine, machine_scenario: Make
) -> None:
    h200.set_gpu(2, power_limit_mw=500_000)
    h200.set_gpu(7, vboost=4)
    wanted = machine_scenario(gpu_setup={"vboost": 4, "persistence": True})
    findings = look(wanted)
    assert told(findings, "mismatch") == []
    assert [line.partition(":")[0] for line in told(findings, "warning")] == [
        "GPU 2 power limit",
        "GPUs 0-6 vboost",
    ]
    assert told(look(wanted, setup="apply"), "warning") == []
    differing = told(look(wanted, setup="off"), "warning")
    assert [line.partition(",")[0] for line in differing] == [
        "GPU 2 power limit in W: 500",
        "GPU 7 vboost: 4",
    ], "that GPUs differ from each other is a finding whoever sets them"


def test_without_root_a_slurm_job_gets_lines_for_its_site(
    h200: FakeMachine, machine_scenario: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    h200.set_all(persistence=1)
    wanted = machine_scenario(gpu_setup={"vboost": 4, "persistence": False})
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    loop = "for i in 0 1 2 3 4 5 6 7; do nvidia-smi boost-slider -i $i --vboost"
    *_, last = told(look(wanted), "warning")
    assert last == (
        "Slurm Prolog: without root, a Slurm job cannot set GPUs up; ask for these lines, in the site's "
        f"Prolog: {loop} 4; done; and in its Epilog: {loop} 0; done; pytest-dsr1 restore"
    )
    fine = machine_scenario(gpu_setup={"vboost": 0})
    assert not [line for line in told(look(fine), "warning") if line.startswith("Slurm Prolog")]
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert not [line for line in told(look(wanted), "warning") if line.startswith("Slurm Prolog")]


def test_what_an_earlier_run_left_is_reported(h200: FakeMachine, machine_scenario: Make) -> None:
    h200.state_dir.mkdir()
    uuid = h200.uuid(5)
    entry = Entry(uuid, host.boot_id(), 1, "2025-01-01", Settings(True, 700.0, 0), False)
    write(h200.state_dir, entry)
    assert told(look(machine_scenario()), "warning") == [
        f"GPU settings: an earlier run ended without restoring {uuid}; `pytest-dsr1 restore` restores it now"
    ]
    with gpu_lock(read_machine(os.environ).gpus, os.environ):
        assert told(look(machine_scenario()), "warning") == []


def test_a_scenario_on_the_cpu_does_not_touch_nvml(h200: FakeMachine, machine_scenario: Make) -> None:
    findings = preflight(seen(machine_scenario({})))
    subjects = {one.subject for one in findings}
    assert {"software", "disk space"} <= subjects
    assert not {subject for subject in subjects if "GPU" in subject or "NVIDIA" in subject}
    assert h200.calls() == []


def test_disk_space_is_that_of_the_nearest_folder(
    machine_scenario: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "not" / "yet"
    assert host.free_bytes(place) is not None
    monkeypatch.setattr(host, "free_bytes", lambda _: 3 * GIB)
    findings = preflight(seen(machine_scenario({}), writes_to=place, bytes_needed=5 * GIB))
    assert told(list(findings), "mismatch") == [
        f"disk space: 5.0 GiB will be written to {place}, but only 3.0 GiB is free; free some space "
        "or choose another folder"
    ]
    findings = preflight(seen(machine_scenario({}), bytes_needed=3 * GIB))
    assert "disk space: 3.0 GiB free" in told(list(findings), "ok")
    monkeypatch.setattr(host, "free_bytes", lambda _: None)
    assert "disk space: unknown" in told(list(preflight(seen(machine_scenario({})))), "ok")


BENCH = {"type": "trtllm-bench"}
SERVED = {"type": "openai"}


@pytest.mark.parametrize(
    ("engine", "versions", "expected"),
    [
        (
            {**BENCH, "command": ["no-such-program"]},
            {},
            "mismatch TensorRT-LLM: `no-such-program` is not on PATH; run in NVIDIA's TensorRT-LLM "
            "container, or set `engine.command`",
        ),
        ({**BENCH, "command": ["sh"]}, {"tensorrt-llm": "1.2.0"}, "ok TensorRT-LLM: 1.2.0"),
        (
            {**BENCH, "command": ["sh"]},
            {},
            "warning TensorRT-LLM: its version is unknown, so the newest option names are used; set "
            "`engine.dialect` to use the names of an older version",
        ),
        ({**BENCH, "command": ["sh"], "dialect": "1.0"}, {}, None),
        ({"type": "trtllm"}, {"tensorrt-llm": "1.2.0"}, "ok TensorRT-LLM: 1.2.0"),
        (
            {"type": "trtllm"},
            {},
            f"mismatch TensorRT-LLM: tensorrt_llm is not installed in {sys.executable}; run pytest in "
            "NVIDIA's TensorRT-LLM container",
        ),
        (
            {"type": "transformers"},
            {},
            "mismatch software: torch and transformers not installed; "
            "pip install 'pytest-dsr1[transformers]'",
        ),
        (
            {"type": "transformers", "device": "cuda"},
            {"torch": "2.13.0+cpu", "transformers": "5"},
            "mismatch software: torch 2.13.0+cpu is built for the CPU only; install a CUDA build of torch",
        ),
        (
            {"type": "transformers", "device": "cuda"},
            {"torch": "2.13.0", "transformers": "5"},
            "ok software: torch 2.13.0, transformers 5",
        ),
        (
            {**SERVED, "url": "http://host"},
            {},
            "mismatch software: the engine openai needs httptools, which is not installed in "
            f"{sys.executable}: pip install httptools uvloop",
        ),
        ({**SERVED, "url": "http://host"}, {"httptools": "0.6.4"}, None),
        ({**SERVED, "command": ["sh", "{port}"]}, {"httptools": "0.6.4"}, None),
        (
            {**SERVED, "command": ["no-such-server", "{port}"]},
            {"httptools": "0.6.4"},
            "mismatch software: `no-such-server`, which starts the server, is not on PATH; install it, or "
            "set engine.command",
        ),
        (
            {**SERVED, "server": "trtllm-serve"},
            {"httptools": "0.6.4"},
            "mismatch software: `trtllm-serve`, which starts the server, is not on PATH; install it, or set "
            "engine.command",
        ),
        (
            {**SERVED, "server": "sglang"},
            {"httptools": "0.6.4"},
            f"mismatch software: sglang is not installed in {sys.executable}; install it, or set "
            "engine.command",
        ),
        ({**SERVED, "server": "sglang"}, {"httptools": "0.6.4", "sglang": "0.5"}, None),
        (
            {**SERVED, "url": "http://host", "api_key_env": "NO_SUCH_KEY_HERE"},
            {"httptools": "0.6.4"},
            "mismatch software: engine.api_key_env: the variable NO_SUCH_KEY_HERE is not set; export it with "
            "the server's API key",
        ),
    ],
)
def test_software(
    machine_scenario: Make,
    monkeypatch: pytest.MonkeyPatch,
    engine: dict[str, object],
    versions: dict[str, str],
    expected: str | None,
) -> None:
    monkeypatch.setattr(host, "installed_version", versions.get)
    made = machine_scenario({}).model_copy(update={"engine": _engine(engine)})
    findings = preflight(seen(made))
    lines = [
        f"{one.severity} {one.subject}: {one.message}"
        for one in findings
        if one.subject in {"software", "TensorRT-LLM"}
    ]
    assert lines == ([] if expected is None else [expected])


def _engine(raw: dict[str, object]) -> object:
    from pydantic import TypeAdapter

    from pytest_dsr1.scenario.schema.engine import Engine

    return TypeAdapter[object](Engine).validate_python(raw)


def test_preflight_imports_nothing_heavy() -> None:
    heavy = {"torch", "transformers", "tensorrt_llm", "pynvml", "psutil", "numpy"}
    program = f"import sys, pytest_dsr1.machine.lease; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


PLUGIN = """
import sys

from pytest_dsr1.machine.preflight.check import check
from pytest_dsr1.findings import Finding

@check(needs="gpus")
def cool(look):
    \"\"\"The GPUs are few.\"\"\"
    yield Finding("warning", "GPU number", f"{len(look.gpus)} is a lot")

@check()
def broken(look):
    \"\"\"Always fails.\"\"\"
    raise RuntimeError("no license")

@check()
def leaving(look):
    \"\"\"Always exits.\"\"\"
    sys.exit(3)

@check()
def half(look):
    \"\"\"Finds something of an unknown severity.\"\"\"
    yield Finding("bad", "moon", "full")

def pytest_dsr1_checks():
    return cool, broken, leaving, half
"""


def test_a_check_of_a_plugin_is_one_file(h200: FakeMachine, machine_scenario: Make, tmp_path: Path) -> None:
    assert told(look(machine_scenario()), "warning") == told(look(machine_scenario()), "mismatch") == []
    with plugged_in(tmp_path, "acme", PLUGIN):
        found, on_cpu = look(machine_scenario()), preflight(seen(machine_scenario({})))
    failed = [
        "check broken: the pytest-dsr1 plugin acme is broken: its check broken failed: "
        "RuntimeError('no license')",
        "check leaving: the pytest-dsr1 plugin acme is broken: its check leaving failed: SystemExit(3)",
        "check half: the pytest-dsr1 plugin acme is broken: a finding of its check half has the severity "
        "'bad', expected 'mismatch' or 'warning' or 'ok'",
    ]
    assert told(found, "warning") == ["GPU number: 8 is a lot"]
    assert told(found, "mismatch") == told(list(on_cpu), "mismatch") == failed
    assert "GPU number" not in {one.subject for one in on_cpu}


def test_an_error_in_a_check_of_our_own_is_not_hidden(
    machine_scenario: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: Path) -> int:
        raise RuntimeError("ours")

    monkeypatch.setattr(host, "free_bytes", fails)
    with pytest.raises(RuntimeError, match="ours"):
        preflight(seen(machine_scenario({})))


def test_every_declared_check_is_listed_and_says_what_it_looks_at() -> None:
    names = extensions.HOOKS["pytest_dsr1_checks"].ours
    declared = [one for name in names for one in vars(import_module(name)).values() if isinstance(one, Check)]
    checks = extensions.declared("pytest_dsr1_checks", Check).values()
    listed = [check for plugin, check in checks if plugin in names]
    assert {one.name for one in declared} == {one.name for one in listed}
    assert all(one.rule.endswith(".") for one in listed)


def test_an_inherited_variable_that_forces_the_acceptance_length(
    h200: FakeMachine, machine_scenario: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TLLM_SPEC_DECODE_FORCE_NUM_ACCEPTED_TOKENS", "1.4")
    engine = {"type": "trtllm-bench", "tp": 8, "command": ["true"]}
    natural = machine_scenario(engine=engine)
    assert told(look(natural), "mismatch") == [
        "speculation: TLLM_SPEC_DECODE_FORCE_NUM_ACCEPTED_TOKENS in the environment forces the acceptance "
        "length; unset it, or set speculation.acceptance_length: 2.4 in the scenario"
    ]
    forced = machine_scenario(engine=engine, speculation={"acceptance_length": 2.4})
    assert told(look(forced), "mismatch") == []
