from __future__ import annotations

import pytest

from pytest_dsr1.process.slurm import step_in_a_step

STEP = {"SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0"}


def test_srun_inside_a_step_is_refused() -> None:
    assert step_in_a_step(["/usr/bin/srun", "-N2", "trtllm-bench"], STEP) == (
        "pytest runs inside step 7.0 of srun, and engine.command starts another srun, which would wait "
        "until this "
        "one ends: start pytest without srun, in the batch script or in salloc's shell"
    )


@pytest.mark.parametrize(
    ("command", "environ"),
    [
        (["trtllm-bench"], STEP),
        (["srun", "trtllm-bench"], {"SLURM_JOB_ID": "7"}),
        (["srun", "trtllm-bench"], {**STEP, "SLURM_STEP_ID": "4294967290"}),  # salloc's own shell
        (["srun", "--overlap", "trtllm-bench"], STEP),
        (["srun", "trtllm-bench"], {**STEP, "SLURM_OVERLAP": "1"}),
    ],
)
def test_what_does_not_wait_for_itself_is_accepted(command: list[str], environ: dict[str, str]) -> None:
    assert step_in_a_step(command, environ) is None
