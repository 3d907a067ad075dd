"""The site file: how to use the cluster at hand. It says where a scenario runs, never what it measures."""

from __future__ import annotations

from pydantic import Field

from pytest_dsr1.scenario.schema.base import Part


class Slurm(Part):
    """Slurm's options at this site."""

    sbatch: list[str] = Field(default_factory=list)
    """Options of `sbatch`, such as `--partition=batch` and `--account=team`."""
    srun: list[str] = Field(default_factory=list)
    """Options of the `srun` that starts an engine, such as `--container-image=...` and `--container-mounts=...`."""  # noqa: E501
    mpi: str = "pmix"
    """The MPI type with which an engine is started: `srun --mpi=list` shows those of the cluster."""
    launcher: list[str] = Field(default_factory=lambda: ["trtllm-llmapi-launch"])
    """The command that starts each rank of an engine."""
    interface: str | None = None
    """The network interface between the nodes, such as `ib0`, which NCCL and UCX are given; by default they choose."""  # noqa: E501


class Site(Part):
    """A cluster."""

    slurm: Slurm = Field(default_factory=Slurm)
    """Slurm's options."""
