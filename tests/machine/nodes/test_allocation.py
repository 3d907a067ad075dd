"""The Slurm allocation, with a stand-in scontrol."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_dsr1.errors import InvalidRunError
from pytest_dsr1.machine.nodes.allocation import Allocation, addresses, allocation, ending
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


NODES = (
    "NodeName=n1 Arch=x86_64 NodeAddr=10.0.0.1 State=IDLE\\nNodeName=n2 NodeAddr=n2.cluster NodeHostName=x"
)


def test_the_addresses_of_nodes(tmp_path: Path) -> None:
    environ = job(tmp_path, f"[ \"$*\" = '--oneliner show node n1,n2' ] && printf '{NODES}\\n'")
    assert addresses(["n1", "n2"], environ) == ["10.0.0.1", "n2.cluster"]


def test_a_node_without_an_address(tmp_path: Path) -> None:
    environ = job(tmp_path, f"printf '{NODES}\\n'")
    with pytest.raises(InvalidRunError, match=r"^scontrol show node n3: no NodeAddr in its answer$"):
        addresses(["n1", "n3"], environ)


START = "StartTime=2026-11-30T12:00:00"
TIME_LIMIT = "Slurm ends job 7: TIMEOUT; ask for more time: --time"
CANCELED = "Slurm ends job 7: CANCELLED; someone or something canceled it (scancel); submit it again"


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ("JobState=RUNNING PreemptEligibleTime=2026-11-30T10:00:00 PreemptTime=None", None),
        ("JobState=COMPLETING PreemptTime=None", None),
        (
            "JobState=RUNNING PreemptTime=2026-11-30T12:00:00",
            "Slurm preempts job 7 since 2026-11-30T12:00:00; run it again where jobs are not preempted",
        ),
        ("JobState=TIMEOUT PreemptTime=None", TIME_LIMIT),
        (
            "JobState=NODE_FAIL",
            "Slurm ends job 7: NODE_FAIL; a node failed; submit it again, without this node (--exclude)",
        ),
        ("JobState=FAILED", "Slurm ends job 7: FAILED; look at it: scontrol show job, sacct"),
        (f"JobState=RUNNING TimeLimit=00:10:00 {START} EndTime=2999-01-01T00:00:00", None),
        (f"JobState=RUNNING TimeLimit=00:10:00 {START} EndTime=2026-11-30T12:10:00", TIME_LIMIT),
        (f"JobState=COMPLETING TimeLimit=00:00:00 {START} EndTime=2026-11-30T12:01:00", TIME_LIMIT),
        (f"JobState=COMPLETING TimeLimit=1-00:00:00 {START} EndTime=2026-11-30T12:10:00", CANCELED),
        (f"JobState=COMPLETING TimeLimit=UNLIMITED {START} EndTime=2026-11-30T12:10:00", CANCELED),
        ("JobState=COMPLETING EndTime=Unknown", None),
        ("something else", None),
    ],
)
def test_why_slurm_ends_a_job(tmp_path: Path, told: str, why: str | None) -> None:
    assert ending(job(tmp_path, f"[ \"$*\" = '--oneliner show job 7' ] && echo 'JobId=7 {told}'")) == why


def test_the_other_tasks_of_an_array_are_not_the_job(tmp_path: Path) -> None:
    """One task of an array has the id of the array, with which scontrol shows all of them."""
    others = "JobId=8 ArrayJobId=7 JobState=FAILED\\nJobId=7 ArrayJobId=7 JobState=%s\\n"
    assert ending(job(tmp_path, f"printf '{others}' RUNNING")) is None
    assert ending(job(tmp_path, f"printf '{others}' CANCELLED")) == CANCELED


def test_nothing_is_known_of_the_end_of_a_job(tmp_path: Path) -> None:
    assert ending(job(tmp_path, "exit 1")) is None
    assert ending({"PATH": str(tmp_path)}) is None
