from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_dsr1.engines.protocol import Job
from pytest_dsr1.engines.slurm_step import (
    asking_words,
    beside_words,
    in_container,
    in_shell,
    step_environment,
    step_variables,
    step_words,
    worker_command,
)
from pytest_dsr1.workload.workload import Workload
from tests.helpers.nodes import OF_A_STEP, on_two_nodes
from tests.helpers.trtllm_bench import bench_scenario

WORDS = (
    "srun --mpi=pmix --nodes=2 --ntasks=8 --ntasks-per-node=4 --distribution=block --export=ALL --wait=0 "
    "--kill-on-bad-exit=1 --cpu-bind=none --job-name=dsr1-engine --relative=0"
)
WORKLOAD = Workload(Path("dataset.jsonl"), 4, "ab12", True, 8.0, 8, 16.0, 16)
IMAGE = ["--container-image=trtllm.sqsh", "--container-mounts=/models"]


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(bench_scenario(), WORKLOAD, tmp_path, 60.0)


def test_ranks_are_stated_whatever_sbatch_has_set(job: Job) -> None:
    several = on_two_nodes(job, launcher=["trtllm-llmapi-launch"], srun=["--label"])
    assert " ".join(step_words(several, ())) == f"{WORDS} --label trtllm-llmapi-launch"
    assert step_words(on_two_nodes(job, mpi="pmi2", launcher=[]), ())[1] == "--mpi=pmi2"
    assert step_words(job, ()) == ()


def test_a_worker_gets_its_orders_past_the_launcher(job: Job, tmp_path: Path) -> None:
    worker = (sys.executable, "-m", "module")
    request = tmp_path / "with space" / "job.json"
    assert worker_command(job, (), worker, request) == (*worker, "job.json")
    several = on_two_nodes(job, launcher=["trtllm-llmapi-launch"], srun=["--label"])
    words = f"{WORDS} --input=0 --label".split()
    keeps = ("sh", "-c", 'exec "$@" 3<&0', "sh", "trtllm-llmapi-launch")
    assert worker_command(several, (), worker, request) == (*words, *keeps, *worker, "job.json", "3")
    contained = worker_command(on_two_nodes(job, srun=IMAGE), ("A",), worker, request)
    assert contained[-5:] == ("python3", "-m", "module", "job.json", "3")


def test_help_is_asked_without_srun_outside_of_a_container(job: Job) -> None:
    assert asking_words(job, ()) == asking_words(on_two_nodes(job, srun=["--label"]), ()) == ()
    assert not in_container(on_two_nodes(job, srun=["--label"]))


def test_a_container_works_in_the_folder_of_the_run(job: Job, tmp_path: Path) -> None:
    several = on_two_nodes(job, srun=IMAGE, launcher=[])
    assert in_container(several)
    assert " ".join(step_words(several, ())) == f"{WORDS} --container-workdir={tmp_path} {' '.join(IMAGE)}"
    planned = step_words(replace(several, artifacts=Path()), ())
    assert "--container-workdir=${PWD}" in planned
    assert " ".join(asking_words(several, ())) == (
        f"srun --mpi=none --nodes=1 --ntasks=1 --overlap --export=ALL --cpu-bind=none {' '.join(IMAGE)}"
    )
    assert not in_container(replace(job, site=several.site))


def test_a_shell_expands_only_what_the_run_does_not_take_as_it_stands() -> None:
    launcher = ("sh", "-c", 'exec numactl -N ${SLURM_LOCALID} "$@"', "sh")
    words = ("srun", "--container-workdir=${PWD}", "--export=ALL,HF_TOKEN=planted-secret", *launcher)
    assert list(in_shell(words)) == [
        "srun",
        '"--container-workdir=${PWD}"',
        '"--export=ALL,HF_TOKEN=${HF_TOKEN}"',
        "sh",
        "-c",
        "'exec numactl -N ${SLURM_LOCALID} \"$@\"'",
        "sh",
    ]


def test_an_image_keeps_no_value_of_its_own_for_a_variable_of_the_command(job: Job) -> None:
    several = on_two_nodes(job, srun=["--container-env=B,C", *IMAGE], launcher=[])
    kept = "--container-env=A,B,C"
    for words in (
        step_words(several, ("A", "B")),
        beside_words(several, ("A", "B"), "beside"),
        asking_words(several, ("A", "B")),
    ):
        assert [word for word in words if word.startswith("--container-env")] == [kept]
    outside = step_words(on_two_nodes(job, srun=["--label"]), ("A", "B"))
    assert not any(word.startswith("--container") for word in outside)


def test_the_network_between_nodes_is_chosen(job: Job) -> None:
    several = on_two_nodes(job, interface="ib0")
    assert step_variables(several) == {"NCCL_SOCKET_IFNAME": "ib0"}
    assert step_environment(several, {"NCCL_SOCKET_IFNAME": "eth2"})["NCCL_SOCKET_IFNAME"] == "eth2"
    assert step_variables(on_two_nodes(job)) == step_variables(replace(job, site=several.site)) == {}


def test_what_a_step_has_left_is_taken_away(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**OF_A_STEP, "PMIX_MCA_gds": "hash", "SLURM_JOB_ID": "7"}.items():
        monkeypatch.setenv(name, value)
    made = step_environment(on_two_nodes(job), {"PMI_RANK": "2"})
    assert made["SLURM_JOB_ID"] == "7"
    assert made["PMIX_MCA_gds"] == "hash"
    assert made["PMI_RANK"] == "2"  # the scenario's own value
    assert OF_A_STEP.keys() & made.keys() == set()
    assert OF_A_STEP.keys() <= step_environment(job, {}).keys()
