from __future__ import annotations

from pathlib import Path

import pytest

from pytest_dsr1.process.slurm import outside_steps, second_launcher, step_in_a_step

STEP = {"SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0"}


def test_srun_inside_a_step_is_refused() -> None:
    assert step_in_a_step(["/usr/bin/srun", "-N2", "trtllm-bench"], STEP) == (
        "pytest runs inside step 7.0 of srun, and engine.command starts another srun, which would wait "
        "until this "
        "one ends: start pytest without srun, in the batch script or in salloc's shell"
    )


@pytest.mark.parametrize(
    "command",
    [
        ["bash", "-c", "srun -n8 trtllm-bench"],
        ["bash", "-lc", "cd /work && exec /usr/bin/srun --mpi=pmix trtllm-bench"],
        ["env", "A=1", "mpirun", "-n", "8", "srun", "trtllm-bench"],
        ["mpirun", "--mca", "plm", "slurm", "trtllm-bench"],
        ["mpiexec", "-launcher", "slurm", "trtllm-bench"],
    ],
)
def test_srun_in_the_words_of_a_command_is_refused(command: list[str]) -> None:
    assert step_in_a_step(command, STEP)
    assert not step_in_a_step(command, {})


def test_srun_in_a_script_is_refused(tmp_path: Path) -> None:
    script = tmp_path / "run"
    script.write_text('#!/bin/bash\nexport A=1\nsrun --mpi=pmix \\\n  trtllm-bench "$@"\n', encoding="utf-8")
    assert step_in_a_step([str(script)], STEP)
    assert step_in_a_step(["bash", str(script)], STEP)
    script.write_text("#!/bin/bash\n# srun is not used\nsrun \\\n --overlap trtllm-bench\n", encoding="utf-8")
    assert step_in_a_step([str(script)], STEP) is None
    script.write_text("#!/usr/bin/python3\nsrun = 1\n srun \n", encoding="utf-8")
    assert step_in_a_step([str(script)], STEP) is None
    assert step_in_a_step([str(tmp_path), "a\0/b"], STEP) is None


@pytest.mark.parametrize(
    ("command", "environ"),
    [
        (["trtllm-bench"], STEP),
        (["srun", "trtllm-bench"], {"SLURM_JOB_ID": "7"}),
        (["srun", "trtllm-bench"], {**STEP, "SLURM_STEP_ID": "4294967290"}),  # salloc's own shell
        (["srun", "--overlap", "trtllm-bench"], STEP),
        (["srun", "trtllm-bench"], {**STEP, "SLURM_OVERLAP": "1"}),
        (["bash", "-c", "srun --overlap -n8 trtllm-bench"], STEP),
        (["bash", "-c", "echo not-srun; ./srun_notes.sh"], STEP),
        (["mpirun", "-n", "8", "trtllm-bench"], STEP),
    ],
)
def test_what_does_not_wait_for_itself_is_accepted(command: list[str], environ: dict[str, str]) -> None:
    assert step_in_a_step(command, environ) is None


def test_a_launcher_of_ones_own_is_named() -> None:
    assert second_launcher(["/usr/bin/srun", "-N2", "trtllm-bench"], 2) == (
        "expected the program alone, because pytest-dsr1 starts it on 2 nodes (hardware.nodes) with srun; "
        "found /usr/bin/srun: remove it, and put srun's options into slurm.srun of the site file"
    )
    assert second_launcher(["srun", "-n8", "trtllm-bench"], 1) is None
    assert second_launcher(["env", "A=1", "trtllm-bench"], 2) is None


@pytest.mark.parametrize("launcher", ["mpirun", "mpiexec", "trtllm-llmapi-launch"])
def test_other_launchers_are_known(launcher: str) -> None:
    assert f"found {launcher}: " in str(second_launcher([launcher, "trtllm-bench"], 4))


def test_the_variables_of_a_task_are_left_out() -> None:
    of_a_task = (
        "SLURM_STEP_ID SLURM_STEPID SLURM_STEP_NUM_TASKS SLURM_NTASKS SLURM_NTASKS_PER_NODE SLURM_NPROCS "
        "SLURM_PROCID SLURM_LOCALID SLURM_NODEID SLURM_PMIX_MAPPING_SERV PMI_RANK PMI2_X PMIX_RANK "
        "PMIX_NAMESPACE"
    )
    of_the_job = "SLURM_JOB_ID SLURM_JOB_NODELIST SLURM_GPUS_PER_NODE PMIX_MCA_gds NODEID HOME SLURM_CONF"
    both = f"{of_a_task} {of_the_job}".split()
    assert set(outside_steps(dict.fromkeys(both, "1"))) == set(of_the_job.split())
