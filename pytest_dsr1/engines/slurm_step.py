"""The step of Slurm in which an engine runs on several nodes: a rank for each GPU, the first on this node.

Each option was tried with Slurm 22.05. srun also takes options from variables that sbatch sets, so the words
state what the ranks depend on: ``SLURM_NTASKS=1`` leaves one node of two (``--ntasks``),
``SLURM_DISTRIBUTION=cyclic`` puts rank 1 on the second node (``--distribution``), and
``SLURM_EXPORT_ENV=NONE`` takes the environment away (``--export``). A site's ``WaitTime`` would end the other
ranks after the first (``--wait``). There is no ``--unbuffered``, which mixes the lines of ranks: 137 of 3,200
lines of a log from 16 ranks. The price is that a progress bar, which ends no line, arrives by the kilobyte.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pytest_dsr1.engines.protocol import Job
from pytest_dsr1.process.child import environment
from pytest_dsr1.process.slurm import outside_steps

NAME = "dsr1-engine"
"""The name of the step, for ``squeue --steps``."""
_BY_INTERFACE = ("NCCL_SOCKET_IFNAME", "UCX_NET_DEVICES")


def step_words(job: Job) -> tuple[str, ...]:
    """Return what stands before the command of an engine; nothing on one node."""
    hardware, slurm = job.scenario.hardware, job.site.slurm
    if hardware.nodes == 1:
        return ()
    # pyxis starts in the image's own folder, and the names of an engine's files are relative.
    folder = "${PWD}" if job.artifacts == Path() else str(job.artifacts.absolute())
    return (
        *("srun", f"--mpi={slurm.mpi}", f"--nodes={hardware.nodes}", f"--ntasks={hardware.count}"),
        *(f"--ntasks-per-node={hardware.per_node}", "--distribution=block", "--export=ALL"),
        *("--wait=0", "--kill-on-bad-exit=1", f"--job-name={NAME}"),
        *([f"--container-workdir={folder}"] if in_container(job) else []),
        *slurm.srun,
        *slurm.launcher,
    )


def asking_words(job: Job) -> tuple[str, ...]:
    """Return what stands before a command that is only asked for its help: nothing outside of a container.

    One task without the launcher: all ranks of a help text would wait for a leader.
    """
    if not in_container(job):
        return ()
    return (
        "srun",
        "--mpi=none",
        "--nodes=1",
        "--ntasks=1",
        "--overlap",
        "--export=ALL",
        *job.site.slurm.srun,
    )


def in_container(job: Job) -> bool:
    """Return whether Slurm starts the engine in a container, so that its programs are not here."""
    return job.site.slurm.in_container(job.scenario.hardware.nodes)


def step_variables(job: Job) -> dict[str, str]:
    """Return the variables that choose the network between the nodes; none without `slurm.interface`."""
    interface = job.site.slurm.interface
    if interface is None or job.scenario.hardware.nodes == 1:
        return {}
    return dict.fromkeys(_BY_INTERFACE, interface)


def step_environment(job: Job, more: Mapping[str, str]) -> dict[str, str]:
    """Return our environment and ``more`` for a command; on several nodes without what a step has left."""
    if job.scenario.hardware.nodes == 1:
        return environment(more)
    return {**outside_steps(environment()), **step_variables(job), **more}
