"""The Slurm allocation, with a stand-in scontrol."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_dsr1.errors import InvalidRunError
from pytest_dsr1.machine.nodes.allocation import Allocation, allocation
from tests.helpers.nodes import program


def job(folder: Path, script: str) -> dict[str, str]:
    program(folder, "scontrol", script)
    return {"PATH": str(folder), "SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "n[1-2]"}


def test_the_nodes_of_a_job(tmp_path: Path) -> None:
    environ = job(tmp_path, '[ "$*" = "show hostnames n[1-2]" ] && echo n1 && echo n2')
    assert allocation(environ) == Allocation("7", ("n1", "n2"))


@pytest.mark.parametrize("missing", ["SLURM_JOB_ID", "SLURM_JOB_NODELIST"])
def test_outside_of_a_job(tmp_path: Path, missing: str) -> None:
    environ = job(tmp_path, "exit 1")
    del environ[missing]
    assert allocation(environ) is None


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo 'Unable to contact slurm controller' >&2; exit 1", "Unable to contact slurm controller"),
        ("exit 3", "exit status 3"),
        ("true", "exit status 0"),
    ],
)
def test_a_job_whose_nodes_are_unknown(tmp_path: Path, script: str, said: str) -> None:
    with pytest.raises(InvalidRunError) as caught:
        allocation(job(tmp_path, script))
    assert str(caught.value) == (
        f"the nodes of this Slurm job are unknown: scontrol show hostnames n[1-2]: {said}"
    )


def test_a_job_without_scontrol(tmp_path: Path) -> None:
    environ = {**job(tmp_path, "true"), "PATH": str(tmp_path / "nowhere")}
    with pytest.raises(InvalidRunError, match=r"^the nodes of this Slurm job are unknown: scontrol: "):
        allocation(environ)
