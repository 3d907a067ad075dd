"""Slurm's steps, which wait for each other, and whose variables mislead programs that they do not hold."""

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
_LAUNCHERS = {"srun", "mpirun", "mpiexec", "trtllm-llmapi-launch"}
_OF_A_STEP = re.compile(r"SLURM_(?:STEP|NTASKS|NPROCS$|PROCID$|LOCALID$|NODEID$|PMIX)|PMI\d?_|PMIX_(?!MCA_)")
"""The variables of a task; those of PMIX_MCA_ are a person's settings of PMIx."""


def outside_steps(environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment without what a task of a step has in it.

    A program would take itself for that task: trtllm-llmapi-launch reads its rank from SLURM_PROCID, and Open
    MPI looks for the PMIx server of the step. A batch script has some of them, too.
    """
    return {name: value for name, value in environ.items() if not _OF_A_STEP.match(name)}


def step_in_a_step(command: Sequence[str], environ: Mapping[str, str]) -> str | None:
    """Return why a command would wait for us for ever: it is an srun inside a step of srun; else None.

    Args:
        command: the engine's command.
        environ: the environment of the run.
    """
    step = own_step(environ)
    if step is None or environ.get("SLURM_OVERLAP") or not _starts_step(command):
        return None
    return (
        f"pytest runs inside step {step} of srun, and engine.command starts another srun, which would "
        "wait until this one ends: start pytest without srun, in the batch script or in salloc's shell"
    )


def own_step(environ: Mapping[str, str]) -> str | None:
    """Return the step of srun in which we run, such as ``7.0``; None in a batch script or salloc's shell."""
    step = environ.get("SLURM_STEP_ID", "")
    if not step.isdecimal() or int(step) >= _FIRST_SPECIAL_STEP:
        return None
    return f"{environ.get('SLURM_JOB_ID', '')}.{step}"


def second_launcher(command: Sequence[str], nodes: int) -> str | None:
    """Return what is wrong with a command that starts ranks itself where we start them; else None."""
    word = next((word for word in command if PurePath(word).name in _LAUNCHERS), None)
    if nodes == 1 or word is None:
        return None
    return (
        f"expected the program alone, because pytest-dsr1 starts it on {nodes} nodes (hardware.nodes) with "
        f"srun; found {word}: remove it, and put srun's options into slurm.srun of the site file"
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
