"""The checks of a Slurm job, with stand-ins of squeue and srun."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_dsr1.findings import Finding
from pytest_dsr1.machine.nodes.allocation import Allocation
from pytest_dsr1.machine.nodes.job import SlurmJob
from pytest_dsr1.scenario.schema.scenario import Scenario
from pytest_dsr1.scenario.schema.site import Site, Slurm
from tests.helpers.nodes import program

HERE = socket.gethostname().partition(".")[0]
MPI = """
printf 'MPI plugin types are...\\n\\tpmix\\n\\tnone\\n\\tcray_shasta\\n'
printf 'specific pmix plugin versions available: pmix_v4,pmix_v5\\n'
"""
OLD_MPI = "printf 'srun: MPI types are...\\nsrun: none\\nsrun: pmi2\\n' >&2"
Look = Callable[..., list[Finding]]


@pytest.fixture
def bin_(tmp_path: Path) -> Path:
    """The folder of stand-ins: an exclusive job with an hour left."""
    program(tmp_path, "squeue", "echo '6|1:00|OK'; echo '7|1:00:00|NO'; echo x >>$(dirname $0)/asked")
    program(tmp_path, "srun", MPI)
    return tmp_path


@pytest.fixture
def look(bin_: Path, pair: Scenario, machine_scenario: Callable[..., Scenario]) -> Look:
    one = machine_scenario({"gpu": "NVIDIA H200", "count": 2})

    def looked(
        expected_s: float | None = 60.0,
        mpi: str = "pmix",
        nodes: tuple[str, ...] = (HERE, "n2"),
        alone: bool = False,
        **environ: str,
    ) -> list[Finding]:
        job = SlurmJob(Allocation("7", nodes), {"PATH": f"{bin_}:/usr/bin:/bin", **environ})
        return list(job.look(one if alone else pair, Site(slurm=Slurm(mpi=mpi)), expected_s))

    return looked


def test_a_job_that_fits(look: Look) -> None:
    assert look() == []
    assert look(None) == []
    assert look(alone=True) == []
    assert look(mpi="pmix_v5", SLURM_RESTART_COUNT="0") == []


def test_slurm_is_asked_once(bin_: Path, pair: Scenario) -> None:
    job = SlurmJob(Allocation("7", (HERE, "n2")), {"PATH": f"{bin_}:/usr/bin:/bin"})
    for _ in range(3):
        assert list(job.look(pair, Site(), 60.0)) == []
    assert (bin_ / "asked").read_text() == "x\n"


def test_pytest_in_a_step(look: Look) -> None:
    step = {"SLURM_JOB_ID": "7", "SLURM_STEP_ID": "3"}
    assert look(**step) == [
        Finding(
            "mismatch",
            "Slurm step",
            "pytest runs inside step 7.3 of srun, and a run on several nodes starts its own steps: start "
            "pytest without srun, in the batch script",
        )
    ]
    assert look(alone=True, **step) == []


@pytest.mark.parametrize(
    ("nodes", "where"),
    [(("n1", "n2"), "not a node"), (("n1", HERE), "another node")],
)
@pytest.mark.parametrize("alone", [True, False])
def test_pytest_on_another_host(
    look: Look, pair: Scenario, nodes: tuple[str, ...], where: str, alone: bool
) -> None:
    host = HERE if HERE in nodes else socket.gethostname()
    (found,) = look(nodes=nodes, alone=alone)
    assert (found.severity, found.subject) == ("mismatch", "Slurm node")
    assert found.message == (
        f"pytest runs on {host}, which is {where} of job 7; expected its first node, n1 (salloc may start "
        f"its shell on the login node); submit a batch script: pytest-dsr1 sbatch {pair.name}"
    )


def test_a_node_with_the_whole_name_of_its_host(look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "n1.cluster")
    assert look(nodes=("n1.cluster", "n2.cluster")) == []
    assert look(nodes=("n1", "n2")) == []


def test_a_node_whose_host_has_another_name(look: Look) -> None:
    assert look(nodes=("n1", "n2"), SLURMD_NODENAME="n1") == []


@pytest.mark.parametrize(
    ("script", "types"),
    [(MPI, "pmix, none, cray_shasta, pmix_v4, pmix_v5"), (OLD_MPI, "none, pmi2")],
)
def test_an_mpi_type_that_srun_lacks(look: Look, bin_: Path, script: str, types: str) -> None:
    program(bin_, "srun", script)
    assert look(mpi="pmi3", alone=True) == []
    assert look(mpi="pmi3") == [
        Finding(
            "mismatch",
            "Slurm MPI",
            f"this cluster's srun has no MPI type pmi3, only {types}; write one of them as slurm.mpi into "
            "the site file, and name that with --dsr1-site=FILE",
        )
    ]


def test_an_srun_that_lists_no_types(look: Look, bin_: Path) -> None:
    program(bin_, "srun", "exit 1")
    assert look(mpi="pmi3") == []


@pytest.mark.parametrize(
    ("left", "ends"),
    [("0:00", "0:00:00"), ("9:59", "0:09:59"), ("1:00:00", "1:00:00"), ("1-02:00:00", "26:00:00")],
)
def test_a_job_that_ends_too_early(look: Look, bin_: Path, left: str, ends: str) -> None:
    program(bin_, "squeue", f"echo '7|{left}|NO'")
    (found,) = look(100_000.0)
    assert (found.severity, found.subject) == ("mismatch", "Slurm time")
    assert found.message == (
        f"the job ends in {ends}, and measuring takes 27:46:40 if the targets are met; ask for more time, "
        "also for the start: --time=28:16:40"
    )


@pytest.mark.parametrize("left", ["UNLIMITED", "NOT_SET", "INVALID"])
def test_a_job_without_an_end(look: Look, bin_: Path, left: str) -> None:
    program(bin_, "squeue", f"echo '7|{left}|NO'")
    assert look(1e6) == []


@pytest.mark.parametrize("word", ["OK", "YES"])
def test_a_job_that_shares_its_nodes(look: Look, bin_: Path, word: str) -> None:
    program(bin_, "squeue", f"echo '7|1:00:00|{word}'")
    assert look() == [
        Finding(
            "warning",
            "Slurm job",
            "it is not exclusive, so other jobs may slow this one on its nodes; add: #SBATCH --exclusive",
        )
    ]


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("echo down >&2; exit 1", "squeue --noheader --jobs=7 --format=%A|%L|%h: down"),
        ("echo '6|1:00|OK'", "squeue does not list job 7"),
    ],
)
def test_a_slurm_that_does_not_say(look: Look, bin_: Path, script: str, why: str) -> None:
    program(bin_, "squeue", script)
    message = f"its end is unknown, and whether it is exclusive: {why}"
    assert look() == [Finding("warning", "Slurm job", message)]


def test_a_job_that_was_requeued(look: Look) -> None:
    assert look(SLURM_RESTART_COUNT="2") == [
        Finding(
            "warning",
            "Slurm requeue",
            "this job is back from the queue (SLURM_RESTART_COUNT=2): a node failed, or it was preempted; to "
            "run it once only, add: #SBATCH --no-requeue",
        )
    ]
