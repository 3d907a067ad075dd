"""Slurm's steps, which wait for each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath

_FIRST_SPECIAL_STEP = 4294967290
"""SLURM_INTERACTIVE_STEP (slurm.h), the shell of salloc; the steps from here on do not hold a job's tasks."""


def step_in_a_step(command: Sequence[str], environ: Mapping[str, str]) -> str | None:
    """Return why a command would wait for us for ever: it is an srun inside a step of srun; else None.

    Args:
        command: the engine's command.
        environ: the environment of the run; Slurm sets SLURM_STEP_ID in each task of a step, and in no batch
            script.
    """
    step = environ.get("SLURM_STEP_ID", "")
    if not step.isdecimal() or int(step) >= _FIRST_SPECIAL_STEP:
        return None
    names = [PurePath(word).name for word in command]
    if "srun" not in names or "--overlap" in command or environ.get("SLURM_OVERLAP"):
        return None
    job = environ.get("SLURM_JOB_ID", "")
    return (
        f"pytest runs inside step {job}.{step} of srun, and engine.command starts another srun, which would "
        "wait until this one ends: start pytest without srun, in the batch script or in salloc's shell"
    )
