"""Slurm's steps, which wait for each other."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath

_FIRST_SPECIAL_STEP = 4294967290
"""SLURM_INTERACTIVE_STEP (slurm.h), the shell of salloc; the steps from here on do not hold a job's tasks."""

_IN_SHELL = re.compile(r"(?:^|[\s;&|({`/])srun\s(?!.*--overlap)", re.MULTILINE)
_OF_MPI = re.compile(r"(?:plm|bootstrap|launcher|rmk)[ =]slurm\b")
"""Options with which Open MPI's and MPICH's mpirun start their helpers through srun."""
_SCRIPT_BYTES = 1 << 16


def step_of(environ: Mapping[str, str]) -> str | None:
    """Return the step of srun that this process is a task of, such as ``7.0``; None in no such step.

    Slurm sets SLURM_STEP_ID in each task of a step, and in no batch script.
    """
    step = environ.get("SLURM_STEP_ID", "")
    if not step.isdecimal() or int(step) >= _FIRST_SPECIAL_STEP:
        return None
    return f"{environ.get('SLURM_JOB_ID', '')}.{step}"


def step_in_a_step(command: Sequence[str], environ: Mapping[str, str]) -> str | None:
    """Return why a command would wait for us for ever: it is an srun inside a step of srun; else None.

    Args:
        command: the engine's command.
        environ: the environment of the run.
    """
    step = step_of(environ)
    if step is None or environ.get("SLURM_OVERLAP") or not _starts_step(command):
        return None
    return (
        f"pytest runs inside step {step} of srun, and engine.command starts another srun, which would "
        "wait until this one ends: start pytest without srun, in the batch script or in salloc's shell"
    )


def _starts_step(command: Sequence[str]) -> bool:
    """Return whether a command, or the shell script that it runs, starts an srun that waits."""
    if "srun" in [PurePath(word).name for word in command]:
        return "--overlap" not in command
    if _OF_MPI.search(" ".join(command)):
        return True
    return any(_IN_SHELL.search(word if " " in word else _script(word)) for word in command)


def _script(word: str) -> str:
    """Return the text of a shell script without comments; empty if the word is not the path of one."""
    path = Path(word)
    try:
        if ("/" not in word and path.suffix != ".sh") or not path.is_file():
            return ""
        with path.open("rb") as file:
            text = file.read(_SCRIPT_BYTES)
    except (OSError, ValueError):
        return ""
    if path.suffix != ".sh" and not re.match(rb"#!.*\b(?:ba|da|k|z)?sh\b", text):
        return ""
    lines = text.decode("utf-8", "replace").replace("\\\n", " ").splitlines()
    return "\n".join(line for line in lines if not line.lstrip().startswith("#"))
