"""The site file: how to use the cluster at hand. It says where a scenario runs, never what it measures."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from pytest_dsr1.scenario.schema.base import WORDS, Part

_IN_ONE_PIECE = "an option in one piece, such as `--partition=batch`"
_Option = Annotated[
    str,
    StringConstraints(pattern=r"^-[^\s=\x00-\x1f]+(=[^\x00-\x1f]*)?$"),
    Field(json_schema_extra={WORDS: _IN_ONE_PIECE}),
]
_Word = Annotated[str, StringConstraints(min_length=1)]


class Slurm(Part):
    """Slurm's options at this site."""

    sbatch: list[_Option] = Field(default_factory=list)
    """Options of `sbatch`, such as `--partition=batch` and `--account=team`."""
    srun: list[_Option] = Field(default_factory=list)
    """Options of the `srun` that starts an engine, such as `--container-image=...` and `--container-mounts=...`."""  # noqa: E501
    mpi: _Word = "pmix"
    """The MPI type with which an engine is started: `srun --mpi=list` shows those of the cluster."""
    launcher: list[_Word] = Field(default_factory=lambda: ["trtllm-llmapi-launch"])
    """The command that starts each rank of an engine, by default `trtllm-llmapi-launch`."""
    interface: _Word | None = None
    """The network interface between the nodes, such as `ib0`, which NCCL is given; by default it chooses."""

    def in_container(self, nodes: int) -> bool:
        """Return whether Slurm starts an engine over this number of nodes in a container."""
        return nodes > 1 and any(word.startswith("--container") for word in self.srun)


class Site(Part):
    """A cluster."""

    slurm: Slurm = Field(default_factory=Slurm)
    """Slurm's options."""
