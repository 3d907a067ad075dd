"""What a run on one node of a Slurm cluster promises, at its own end and at each other end of its job."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.slurm_cluster import Cluster
from tests.helpers.slurm_node import Node
from tests.helpers.slurm_runs import ALL_GPUS, PYTEST, Runs
from tests.helpers.waiting import ever_longer

SET_UP = [("1", "700000", "4", "none")] * 8
PUT_BACK = [("1", "700000", "0", "none")] * 8
"""Settings of GPUs: persistence mode, power limit, vboost, locked clocks."""


def words(text: str) -> str:
    """Return a text in one line, as it was before it was wrapped."""
    return " ".join(text.split())


def assert_put_back(node: Node) -> None:
    """Of a run that has set GPUs up, nothing is left on its node."""
    assert "boost-slider -i 7 --vboost 4" in node.machine.commands()
    assert node.machine.settings() == PUT_BACK
    assert (node.journals, node.locks, node.processes()) == ([], [], [])


def test_a_run_sets_the_gpus_of_its_node_up_and_puts_them_back(cluster: Cluster, runs: Runs) -> None:
    node, other = cluster.nodes
    job = runs.submit()
    assert cluster.wait(job) == "COMPLETED", cluster.output(job)
    output = cluster.output(job)
    assert "small  (8 x NVIDIA H200, engine trtllm-bench)" in output
    assert "  PASS    total output throughput " in output
    assert "Slurm" not in output, "no warning"
    assert_put_back(node)
    assert other.machine.calls() == []


def preempt(cluster: Cluster, job: int) -> None:
    """Let a job of another partition take the node."""
    node = f"--nodelist={cluster.node(1).name}"
    urgent = cluster.sbatch("true", *ALL_GPUS, "--partition=urgent", node, folder=cluster.root)
    assert cluster.wait(urgent) == "COMPLETED"


WHAT_NEXT = {
    "CANCELLED": "submit it again",
    "TIMEOUT": "ask for more time: --time",
    "PREEMPTED": "run it again",
}


@pytest.mark.parametrize(
    ("end", "state", "reason"),
    [
        (Cluster.cancel, "CANCELLED", ""),
        (Cluster.time_out, "TIMEOUT", " DUE TO TIME LIMIT"),
        (preempt, "PREEMPTED", ""),  # with a grace time Slurm does not say why
    ],
)
def test_each_end_of_a_job_puts_the_gpus_back(
    cluster: Cluster, runs: Runs, end: Callable[[Cluster, int], None], state: str, reason: str
) -> None:
    node = cluster.node(1)
    job = runs.submit_endless(f"exec {PYTEST}", f"--nodelist={node.name}")
    assert node.machine.settings() == SET_UP
    assert (len(node.journals), node.locks) == (8, list(range(8)))
    end(cluster, job)
    found = cluster.wait(job)
    assert found == state or end is preempt, cluster.output(job)
    if found == state:
        (said,) = (line for line in cluster.output(job).splitlines() if " CANCELLED AT " in line)
        assert f"*** JOB {job} ON {node.name} CANCELLED AT " in said
        assert f"{reason} ***" in said
        ours = words(cluster.output(job))
        does = "preempts" if end is preempt else "ends"
        assert f"SIGTERM ends pytest, and the run with it; GPUs are restored: Slurm {does} job {job}" in ours
        assert WHAT_NEXT[state] in ours
    else:  # pytest ended first, because its agent had been told to end
        assert (found, cluster.status(job)) == ("FAILED", 10)
        said = f"INVALID {node.name}: its agent has ended: Slurm preempts job {job} since "
        assert said in words(cluster.output(job))
    assert_put_back(node)


def test_without_exec_the_agent_puts_the_gpus_back(cluster: Cluster, runs: Runs) -> None:
    """Slurm kills pytest at once then, and the agent after it had time to end."""
    node = cluster.node(1)
    job = runs.submit_endless(PYTEST)
    cluster.cancel(job)
    assert cluster.wait(job) == "CANCELLED"
    cluster.until(lambda: not node.processes(), "the end of all processes")
    assert_put_back(node)


def test_a_cancelled_step_of_the_engine_is_an_error(cluster: Cluster, runs: Runs) -> None:
    node = cluster.node(1)
    runs.write(command=["srun", "trtllm-bench"])
    job = runs.submit_endless()
    _agent, step = sorted(step for step in cluster.steps() if not step.endswith(".batch"))
    cluster.cancel(step)
    assert cluster.wait(job) == "FAILED"
    assert cluster.status(job) == 10, "INVALID"
    output = words(cluster.output(job))
    assert "INVALID small: trtllm-bench was cancelled in Slurm: " in output
    assert f"*** STEP {step} ON {node.name} CANCELLED AT " in output
    assert (
        "; ask `scontrol show job` whether scancel, preemption or another task's end did it (in full above"
        in output
    )
    assert_put_back(node)


def test_the_time_in_the_queue_is_no_start(cluster: Cluster, runs: Runs, tmp_path: Path) -> None:
    """Outside a job, srun waits in the queue longer than the engine may take to start."""
    node, other = cluster.nodes
    command = ["srun", f"--nodelist={other.name}", *ALL_GPUS, "trtllm-bench"]
    environment = node.machine.environ({**cluster.environment, **runs.environment})
    pytest_run = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "small.yaml"]
    outcomes: list[int] = []
    for limit_s in ever_longer(5.0, lambda: outcomes[-1] == 0):
        runs.write(command=command, startup_timeout_s=limit_s)
        busy = cluster.sbatch("exec sleep 600", *ALL_GPUS, f"--nodelist={other.name}", folder=tmp_path)
        cluster.until(lambda busy=busy: cluster.state(busy) == "RUNNING", "a busy node")  # type: ignore[misc]
        with subprocess.Popen(pytest_run, cwd=runs.folder, env=environment, stdout=subprocess.PIPE) as run:
            cluster.until(lambda: len(cluster.jobs()) == 2, "a second job")
            (queued,) = (job for job in cluster.jobs() if job != busy)
            with pytest.raises(subprocess.TimeoutExpired):
                run.wait(limit_s + 1)
            cluster.cancel(busy)
            output = run.communicate()[0].decode()
        outcomes.append(run.returncode)
        (asked,) = runs.folder.glob(".dsr1/small/*/engine/help.txt")
        assert f"srun: job {queued} queued and waiting for resources\n" in asked.read_text(encoding="utf-8")
        shutil.rmtree(runs.folder / ".dsr1")
    assert outcomes[-1] == 0, output
    assert "  PASS    total output throughput " in output


def test_an_engine_that_would_wait_for_pytests_own_step_is_refused(cluster: Cluster, runs: Runs) -> None:
    runs.write(command=["srun", "trtllm-bench"])
    job = runs.submit(f"srun -n1 {PYTEST}")
    assert cluster.wait(job) == "FAILED"
    assert cluster.status(job) == 10, "INVALID"
    assert (
        f"INVALID this machine cannot run the scenario: Slurm: pytest runs inside step {job}.0 of srun, and "
        "engine.command starts another srun, which would wait until this one ends: start pytest without "
        "srun, in the batch script or in salloc's shell "
    ) in words(cluster.output(job))
    assert cluster.node(1).machine.commands() == []
    assert not (runs.folder / ".dsr1").exists()
