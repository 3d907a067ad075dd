"""The step of Slurm in which an engine runs on several nodes: a rank for each GPU, the first on this node.

An engine that is several programs has a step for each, on nodes of its own (:class:`Place`).

Each option was tried with Slurm 22.05. srun also takes options from variables that sbatch sets, so the
words state what the ranks depend on: ``SLURM_NTASKS=1`` leaves one node of two (``--ntasks``),
``SLURM_DISTRIBUTION=cyclic`` puts rank 1 on the second node (``--distribution``), and
``SLURM_EXPORT_ENV=NONE`` takes the environment away (``--export``). A site's ``WaitTime`` would end the
other ranks after the first (``--wait``), and its ``TaskPluginParam`` may bind each to a core
(``--cpu-bind``). There is no ``--unbuffered``, which mixes the lines of ranks: 137 of 3,200 lines of a log
from 16 ranks. The price is that a progress bar, which ends no line, arrives by the kilobyte.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from pytest_dsr1.engines.protocol import Job
from pytest_dsr1.masking import masked_words
from pytest_dsr1.process.child import environment
from pytest_dsr1.process.slurm import outside_steps
from pytest_dsr1.text import expanding_word, shell_word

NAME = "dsr1-engine"
"""The name of the step, for ``squeue --steps``."""
_KEEP = "--container-env="
_HERE = "--container-workdir=${PWD}"
"""The folder of a job that is only planned."""
ORDERS = 3
"""The descriptor with our orders in a step. It is not standard input, which trtllm-llmapi-launch takes away:
its shell runs the command in the background."""
_KEEPS_INPUT = ("sh", "-c", f'exec "$@" {ORDERS}<&0', "sh")
_INTERFACE = "NCCL_SOCKET_IFNAME"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a program of an engine runs.

    Attributes:
        name: of its step.
        first: the first of its nodes, counted from 0 in the order of the allocation.
        nodes: how many.
        per_node: the ranks on each, one for each GPU.
    """

    name: str
    first: int
    nodes: int
    per_node: int


def step_words(
    job: Job,
    variables: Iterable[str],
    place: Place | None = None,
    without: str | None = None,
    *,
    ordered: bool = False,
) -> tuple[str, ...]:
    """Return what stands before the command of an engine; nothing on one node.

    Args:
        job: the job.
        variables: the names of those that the command is given, which must win over those of an image.
        place: of a program that does not run on all nodes of the scenario.
        without: a variable that the command must not see, even if a container has it.
        ordered: whether the first rank reads our orders, from descriptor ``ORDERS``.
    """
    hardware, slurm = job.scenario.hardware, job.site.slurm
    if hardware.nodes == 1:
        return ()
    at = place or Place(NAME, 0, hardware.nodes, job.scenario.gpus_by_node[0])
    return (
        *("srun", f"--mpi={slurm.mpi}", f"--nodes={at.nodes}", f"--ntasks={at.nodes * at.per_node}"),
        *(f"--ntasks-per-node={at.per_node}", "--distribution=block", "--export=ALL"),
        *("--wait=0", "--kill-on-bad-exit=1", "--cpu-bind=none", f"--job-name={at.name}"),
        f"--relative={at.first}",
        *(["--input=0"] if ordered else []),
        *_folder_words(job),
        *_site_words(job, variables),
        *(["env", "-u", without] if without else []),
        *(_KEEPS_INPUT if ordered else []),
        *slurm.launcher,
    )


def worker_command(
    job: Job, variables: Iterable[str], worker: Sequence[str], request: Path
) -> tuple[str, ...]:
    """Return the command of a worker of ours (:mod:`pytest_dsr1.process.worker`), for the folder of the job.

    Args:
        job: the job.
        variables: as in :func:`step_words`.
        worker: the command without arguments; a container has its own Python.
        request: the job file, in that folder; a path may have a space, where trtllm-llmapi-launch splits it.
    """
    words = step_words(job, variables, ordered=True)
    inside = ["python3" if word == sys.executable and in_container(job) else word for word in worker]
    return (*words, *inside, request.name, *([str(ORDERS)] if words else []))


def beside_words(job: Job, variables: Iterable[str], name: str) -> tuple[str, ...]:
    """Return what stands before a program that needs no GPU, next to pytest; nothing on one node.

    ``variables`` as in :func:`step_words`; ``name`` is that of the step.
    """
    if job.scenario.hardware.nodes == 1:
        return ()
    own = ("--wait=0", f"--job-name={name}", *_folder_words(job))
    return (*_one_task("--relative=0"), *own, *_site_words(job, variables))


def _one_task(*where: str) -> tuple[str, ...]:
    """Return the words of a step of one task, next to the engine's."""
    return (
        "srun",
        "--mpi=none",
        "--nodes=1",
        "--ntasks=1",
        *where,
        "--overlap",
        "--export=ALL",
        "--cpu-bind=none",
    )


def _folder_words(job: Job) -> list[str]:
    """Return the option for the folder of the job in a container, where pyxis starts in the image's own.

    The names of an engine's files are relative.
    """
    if not in_container(job):
        return []
    return [_HERE if job.artifacts == Path() else f"--container-workdir={job.artifacts.absolute()}"]


def _site_words(job: Job, variables: Iterable[str]) -> list[str]:
    """Return the site's options of ``srun``, which in a container name the variables of the command.

    The values of an image win over those of unnamed variables (`srun --help` with pyxis).
    """
    words = job.site.slurm.srun
    if not in_container(job):
        return words
    given = [word.removeprefix(_KEEP).split(",") for word in words if word.startswith(_KEEP)]
    kept = ",".join(dict.fromkeys(chain(variables, *given)))
    return [
        *([f"{_KEEP}{kept}"] if kept else []),
        *(word for word in words if not word.startswith(_KEEP)),
    ]


def asking_words(job: Job, variables: Iterable[str]) -> tuple[str, ...]:
    """Return what stands before a command that is only asked for its help: nothing outside of a container.

    One task without the launcher: all ranks of a help text would wait for a leader. ``variables`` as in
    :func:`step_words`.
    """
    if not in_container(job):
        return ()
    return (*_one_task(), *_site_words(job, variables))


def in_shell(step: Sequence[str]) -> Iterator[str]:
    """Yield the words of a step for a shell, which expands only that folder and the names of secrets.

    The site's words are for srun as they stand, and for the shells of the ranks.
    """
    for word, shown in zip(step, masked_words(step), strict=True):
        yield expanding_word(shown) if shown != word or word == _HERE else shell_word(word)


def in_container(job: Job) -> bool:
    """Return whether Slurm starts the engine in a container, so that its programs are not here."""
    return job.site.slurm.in_container(job.scenario.hardware.nodes)


def step_variables(job: Job) -> dict[str, str]:
    """Return the variables that choose the network between the nodes; none without `slurm.interface`.

    UCX is left to choose: it wants names of devices, such as ``mlx5_0:1``, and an interface would force the
    KV cache over TCP.
    """
    interface = job.site.slurm.interface
    return {} if interface is None or job.scenario.hardware.nodes == 1 else {_INTERFACE: interface}


def step_environment(job: Job, more: Mapping[str, str]) -> dict[str, str]:
    """Return our environment and ``more`` for a command; on several nodes without what a step has left."""
    if job.scenario.hardware.nodes == 1:
        return environment(more)
    return {**outside_steps(environment()), **step_variables(job), **more}
