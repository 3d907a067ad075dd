"""Disaggregated serving on a real Slurm, with stand-ins of the servers of all roles."""

from __future__ import annotations

import json

import pytest

from tests.helpers.slurm_cluster import Cluster
from tests.helpers.slurm_node import assert_put_back
from tests.helpers.slurm_runs import PYTEST, Runs
from tests.helpers.waiting import written
from tests.standins.trtllm_disaggregated import ILLEGAL

TWO = "--nodes=2"


@pytest.fixture
def apart(runs: Runs) -> Runs:
    """Runs with a generation server on the first node and a context server on half of the second one."""
    runs.write_disaggregated()
    return runs


def assert_all_ended(cluster: Cluster) -> None:
    """Nothing is left of a run on either node."""
    cluster.until_empty()
    assert_put_back(*cluster.nodes, gpus=(8, 4))


def told(cluster: Cluster, job: int) -> str:
    return " ".join(cluster.output(job).split())


def test_servers_of_two_roles_answer_together(cluster: Cluster, apart: Runs) -> None:
    job = apart.submit(f"exec {PYTEST}", TWO)
    assert cluster.wait(job) == "COMPLETED", cluster.output(job)
    assert "small  (12 x NVIDIA H200 on 2 nodes, engine openai" in cluster.output(job)
    assert "1 generation server on 8 GPUs, 2 requests running, 3 waiting" in told(cluster, job)
    assert_all_ended(cluster)
    (path,) = apart.folder.glob(".dsr1/small/*/measurement.json")
    saved = json.loads(path.read_text(encoding="utf-8"))["measurement"]
    first, second = (node.name for node in cluster.nodes)
    assert saved["telemetry"]["gpus"] == [
        *(f"{first}:{gpu}" for gpu in range(8)),
        *(f"{second}:{gpu}" for gpu in range(4)),
    ]
    assert [(each["role"], each["nodes"]) for each in saved["result"]["facts"]["roles"]] == [
        ("generation", [first]),
        ("context", [second]),
    ]
    config = (path.parent / "engine" / "disaggregated.yaml").read_text(encoding="utf-8")
    assert "127.0.0.1:" in config


def test_an_answer_without_tokens_is_no_measurement(cluster: Cluster, apart: Runs) -> None:
    apart.write_disaggregated(front_end={"DSR1_STANDIN_NO_TOKENS": "1"})
    job = apart.submit(f"exec {PYTEST}", TWO)
    assert cluster.wait(job) == "FAILED", cluster.output(job)
    assert cluster.status(job) == 10
    assert "INVALID small: 2 of 2 warm-up requests failed, the first: " in told(cluster, job)
    assert_all_ended(cluster)


def test_a_server_that_ends_is_named_with_its_node(cluster: Cluster, apart: Runs) -> None:
    apart.write_disaggregated(context={"DSR1_STANDIN_DIES_AFTER": "3"})
    job = apart.submit(f"exec {PYTEST}", TWO)
    assert cluster.wait(job) == "FAILED", cluster.output(job)
    assert cluster.status(job) == 10
    assert f"small: context server 1 on {cluster.node(2).name} ended with exit status 1: " in told(
        cluster, job
    )
    assert ILLEGAL in told(cluster, job)
    assert_all_ended(cluster)


def test_a_server_whose_step_is_cancelled_is_named(cluster: Cluster, apart: Runs) -> None:
    apart.write_disaggregated(context={"DSR1_STANDIN_SICK": "0"})
    job = apart.submit(f"exec {PYTEST}", TWO)
    log = ".dsr1/small/*/engine/context-1.log"
    cluster.until(lambda: written(apart.folder, log, "serving"), "a context server", job)
    named = cluster.run("squeue", "--steps", "--noheader", f"--jobs={job}", "--format=%i %j").splitlines()
    (step,) = [line.split()[0] for line in named if line.split()[1] == "dsr1-context-1"]
    cluster.cancel(step)
    assert cluster.wait(job) == "FAILED", cluster.output(job)
    assert cluster.status(job) == 10
    assert f"small: context server 1 on {cluster.node(2).name} ended with exit status " in told(cluster, job)
    assert ": it was cancelled in Slurm: " in told(cluster, job)
    assert_all_ended(cluster)
