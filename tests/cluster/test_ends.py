"""What keeps a run from starting in a Slurm job, and what ends it, each in words."""

from __future__ import annotations

import re
import shutil
import socket

import pytest

from tests.helpers.slurm_cluster import Cluster
from tests.helpers.slurm_node import assert_put_back
from tests.helpers.slurm_runs import ALL_GPUS, PYTEST, Runs

TWO = "--nodes=2"
SHARED = ("--oversubscribe", "--ntasks-per-node=8")
"""Options of a job that other jobs may share its nodes with; the processors must be asked for."""
PUT_BACK = [("1", "700000", "0", "none")] * 8


def words(text: str) -> str:
    """Return a text in one line, as it was before it was wrapped."""
    return " ".join(text.split())


@pytest.fixture
def wide(runs: Runs) -> Runs:
    """Runs of a scenario for the 16 GPUs of both nodes."""
    runs.write(nodes=2)
    return runs


def test_all_that_keeps_a_run_from_starting_is_said_at_once(cluster: Cluster, wide: Runs) -> None:
    """In a step, with too little time and too few GPUs, without the MPI type, with results of its own."""
    first = cluster.node(1)
    (wide.folder / "site.yaml").write_text("slurm: {mpi: pmi3}\n", encoding="utf-8")
    results = wide.folder / "results"
    results.mkdir()
    scenario = wide.folder / "small.yaml"
    slow = scenario.read_text(encoding="utf-8").replace("value: 1\n", "value: 0.001\n")
    scenario.write_text(slow, encoding="utf-8")
    run = f"{PYTEST} --dsr1-site=site.yaml --dsr1-results={results}"
    mounted = f"unshare --mount sh -c 'mount -t tmpfs none {results} && {run}'"
    step = f"srun -N1 -n1 -w {first.name} {mounted}"
    job = wide.submit(step, TWO, "--gpus-per-node=4", "--time=30")
    assert cluster.wait(job) == "FAILED", cluster.output(job)
    assert cluster.status(job) == 10
    output = words(cluster.output(job))
    assert f"Slurm step: pytest runs inside step {job}.0 of srun, and a run on several nodes" in output
    assert "Slurm MPI: this cluster's srun has no MPI type pmi3, only " in output
    assert re.search(r"Slurm time: the job ends in 0:\d\d:\d\d, and measuring takes \d+:\d\d:\d\d if", output)
    for node in cluster.nodes:
        assert f"results on {node.name}: {results} is another folder here than where pytest runs" in output
        assert f"GPU count on {node.name}: expected 8 x NVIDIA H200, found 4 (ask Slurm" in output
        assert node.machine.commands() == []


def test_a_run_on_the_login_node_is_refused(cluster: Cluster, wide: Runs) -> None:
    """``salloc`` runs its command where it was typed."""
    command = f"{PYTEST}; echo status $?"
    options = [*ALL_GPUS, TWO, f"--chdir={wide.folder}"]
    output = cluster.run("salloc", "--quiet", *options, "bash", "-c", command, **wide.environment)
    assert "status 10" in output
    said = f"Slurm node: pytest runs on {socket.gethostname()}, which is not a node of job "
    assert said in words(output)
    assert [node.machine.commands() for node in cluster.nodes] == [[], []]


def test_a_failing_node_ends_the_run_at_once(cluster: Cluster, wide: Runs) -> None:
    """As an administrator or a health check marks it; jobs on it go on."""
    second = cluster.node(2)
    update = f"scontrol update NodeName={second.name}"
    script = f"{update} State=FAIL Reason=fan; exec {PYTEST}"
    job = wide.submit(script, TWO, DSR1_STANDIN_FAIL="hang-run")
    try:
        cluster.until(lambda: not cluster.jobs(), "the end of the run", job)
    finally:
        cluster.run(*update.split(), "State=RESUME")
    assert cluster.status(job) == 10
    output = words(cluster.output(job))
    assert f"INVALID {second.name} is FAILING in Slurm: fan; look at it: scontrol show node " in output
    for node in cluster.nodes:
        assert "boost-slider -i 7 --vboost 4" in node.machine.commands()
        assert node.machine.settings() == PUT_BACK
        assert (node.journals, node.locks) == ([], [])


def test_a_job_from_the_queue_that_shares_a_draining_node(cluster: Cluster, wide: Runs) -> None:
    """A run that is put back into the queue leaves nothing; the second one goes on, with three warnings."""
    second = cluster.node(2)
    wide.write_disaggregated()
    job = wide.submit_held(f"exec {PYTEST}", TWO, "--requeue", *SHARED)
    cluster.until(wide.measures, "a measurement", job)
    cluster.run("scontrol", "requeue", str(job))
    cluster.until(lambda: cluster.state(job) == "PENDING", "a job in the queue", job)
    cluster.until_empty()
    assert_put_back(*cluster.nodes, gpus=(8, 4))
    shutil.rmtree(wide.folder / ".dsr1")
    cluster.run("scontrol", "update", f"JobId={job}", "StartTime=now")
    cluster.until(lambda: cluster.state(job) == "RUNNING", "a second run", job)
    update = ("scontrol", "update", f"NodeName={second.name}")
    try:
        cluster.run(*update, "State=DRAIN", "Reason=dust")
        draining = f"{second.name} is DRAINING in Slurm: dust; this job may end on it"
        cluster.until(lambda: draining in words(cluster.output(job)), "a warning", job)
        wide.held.unlink()
        assert cluster.wait(job) == "COMPLETED", cluster.output(job)
    finally:
        cluster.run(*update, "State=RESUME")
    output = words(cluster.output(job))
    assert "Slurm requeue: this job is back from the queue (SLURM_RESTART_COUNT=1): a node " in output
    assert "Slurm job: it is not exclusive, so other jobs may slow this one on its nodes; add: " in output
    assert output.count(draining) > 1, "at once, and with the result"
    cluster.until_empty()
    assert_put_back(*cluster.nodes, gpus=(8, 4))


def test_a_node_that_is_down_ends_the_run(cluster: Cluster, wide: Runs) -> None:
    """As an administrator sets it: Slurm ends the job itself, and nothing is left on either node."""
    second = cluster.node(2)
    job = wide.submit_endless(f"exec {PYTEST}", TWO, "--no-requeue")
    cluster.run("scontrol", "update", f"NodeName={second.name}", "State=DOWN", "Reason=smoke")
    assert cluster.wait(job) == "NODE_FAIL", cluster.output(job)
    cluster.until_empty()
    assert " DUE TO NODE FAILURE" in words(cluster.output(job)), cluster.output(job)
    assert_put_back(*cluster.nodes)


def test_a_node_that_dies_ends_the_run(cluster: Cluster, wide: Runs) -> None:
    """Slurm itself ends the job only after SlurmdTimeout."""
    first, second = cluster.nodes
    job = wide.submit_endless(f"exec {PYTEST}", TWO)
    second.slurmd.kill()
    second.slurmd.wait()
    for process in second.processes():
        process.kill()
    cluster.until(lambda: not first.processes(), "the end of the run", job)
    output = words(cluster.output(job))
    assert f"INVALID {second.name} answers neither Slurm nor pytest; look at it: " in output, output
    assert first.machine.settings() == PUT_BACK
    assert (first.journals, first.locks) == ([], [])
    second.start()
    cluster.cancel(job)
