"""Nodes with stand-in GPUs, jobs for an engine on two of them, and stand-ins of Slurm's programs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from pytest_dsr1.engines.protocol import Job
from pytest_dsr1.scenario.schema.scenario import Hardware
from pytest_dsr1.scenario.schema.site import Site, Slurm

LEADER = ("sh", "-c", '[ "$SLURM_PROCID" != 0 ] || exec "$@"', "launcher")
"""A launcher that runs the command in the first rank, like trtllm-llmapi-launch."""
OF_A_STEP = {"SLURM_STEP_ID": "0", "SLURM_PROCID": "5", "PMIX_RANK": "5", "SLURM_NTASKS": "1"}


def on_two_nodes(job: Job, **slurm: Any) -> Job:
    """Return the job on two nodes with half of its GPUs each, at a site with these options of Slurm."""
    hardware = Hardware(gpu="NVIDIA H200", count=8, nodes=2)
    site = Site(slurm=Slurm(**{"launcher": list(LEADER), **slurm}))
    return replace(job, scenario=job.scenario.model_copy(update={"hardware": hardware}), site=site)


def program(folder: Path, name: str, script: str) -> None:
    """Write a program: a shell script."""
    path = folder / name
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)


def uuid(number: int, gpu: int) -> str:
    """Return the UUID of a GPU of node ``n1`` or ``n2``."""
    return f"GPU-{gpu:08x}-0000-4000-8000-{number:012x}"
