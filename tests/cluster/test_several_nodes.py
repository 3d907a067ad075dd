"""A run over two nodes of a Slurm cluster: its ranks, over real PMIx and MPI, and their ends."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.helpers.slurm_cluster import Cluster
from tests.helpers.slurm_node import assert_put_back
from tests.helpers.slurm_runs import PYTEST, Runs
from tests.standins import llmapi_launch
from tests.standins.tensorrt_llm.install import install

MISLEADING = "export SLURM_NTASKS=1 SLURM_DISTRIBUTION=cyclic SLURM_EXPORT_ENV=NONE PMIX_RANK=7"
"""What sbatch and another step may have set."""

IMPORTED = "import mpi4py; mpi4py.rc.initialize = False; from mpi4py import MPI"


@pytest.fixture(scope="module")
def mpi() -> None:
    """MPI for Python, and a library of MPI."""
    done = subprocess.run([sys.executable, "-c", IMPORTED], capture_output=True, text=True, check=False)
    if done.returncode:
        why = f"needs MPI: pip install mpi4py, and Debian's libopenmpi3\n{done.stderr}"
        (pytest.fail if os.environ.get("DSR1_REQUIRE_SLURM") == "1" else pytest.skip)(why)


@pytest.fixture
def spread(runs: Runs, mpi: None) -> Runs:
    """Runs on two nodes with two of their GPUs each."""
    llmapi_launch.install(runs.folder / "trtllm" / "bin")
    runs.write(gpus=2, nodes=2, mpi=True)
    return runs


def log_of(runs: Runs, name: str = "trtllm-bench.log") -> str:
    """Return the log of the engine."""
    (log,) = runs.folder.glob(f".dsr1/small/*/engine/{name}")
    return log.read_text(encoding="utf-8")


def test_each_gpu_of_two_nodes_has_a_rank(cluster: Cluster, spread: Runs) -> None:
    job = spread.submit(f"{MISLEADING}\nexec {PYTEST}", "--nodes=2")
    assert cluster.wait(job) == "COMPLETED", cluster.output(job)
    output = cluster.output(job)
    assert "small  (4 x NVIDIA H200 on 2 nodes, engine trtllm-bench" in output
    assert "  PASS    total output throughput " in output
    first, second = (node.name for node in cluster.nodes)
    assert f"Rank0 of 4 on {[first, first, second, second]}" in log_of(spread)


def test_the_llm_api_has_its_script_on_the_first_rank(cluster: Cluster, spread: Runs) -> None:
    site = install(spread.folder / "api", "1.2.1")
    spread.environment["PYTHONPATH"] = f"{site}{os.pathsep}{spread.environment['PYTHONPATH']}"
    spread.write(gpus=2, nodes=2, mpi=True, type="trtllm", tp=4, streaming=True)
    job = spread.submit(f"{MISLEADING}\nexec {PYTEST}", "--nodes=2", DSR1_STANDIN_STEP_S="0.005")
    assert cluster.wait(job) == "COMPLETED", cluster.output(job)
    assert "small  (4 x NVIDIA H200 on 2 nodes, engine trtllm" in cluster.output(job)
    assert "  PASS    total output throughput " in cluster.output(job)
    first, second = (node.name for node in cluster.nodes)
    assert f"Rank0 of 4 on {[first, first, second, second]}" in log_of(spread, "engine.log")


def test_a_rank_that_fails_ends_the_run(cluster: Cluster, spread: Runs) -> None:
    job = spread.submit(
        f"exec {PYTEST}", "--nodes=2", DSR1_STANDIN_FAIL="hang-run", DSR1_STANDIN_FAILING_RANK="3"
    )
    assert cluster.wait(job) == "FAILED", cluster.output(job)
    assert cluster.status(job) == 10
    told = " ".join(cluster.output(job).split())
    node = cluster.node(2).name
    assert (
        f"small: trtllm-bench lost a task: srun: error: {node}: task 3: Exited with exit code 3; look for "
        "that task's first error in the whole log"
    ) in told


def test_a_step_that_is_cancelled_ends_the_run(cluster: Cluster, spread: Runs) -> None:
    job = spread.submit_endless(f"exec {PYTEST}", "--nodes=2")
    *_agents, step = sorted(step for step in cluster.steps() if not step.endswith(".batch"))
    cluster.cancel(step)
    assert cluster.wait(job) == "FAILED", cluster.output(job)
    assert cluster.status(job) == 10
    told = " ".join(cluster.output(job).split())
    assert "small: trtllm-bench was cancelled in Slurm: " in told
    assert "ask `scontrol show job` whether scancel, preemption or another task's end did it" in told


def test_one_server_spans_both_nodes(cluster: Cluster, spread: Runs) -> None:
    """Its first rank answers, and the others wait for its end."""
    # With this option the stand-in writes as many tokens as are asked for.
    options = {"cache_transceiver_config": {"backend": "NIXL"}}
    spread.write(
        nodes=2, mpi=True, type="openai", server="trtllm-serve", tp=16, streaming=False, llm_api=options
    )
    job = spread.submit(f"exec {PYTEST}", "--nodes=2")
    assert cluster.wait(job) == "COMPLETED", cluster.output(job)
    output = cluster.output(job)
    assert "small  (16 x NVIDIA H200 on 2 nodes, engine openai" in output
    assert "  PASS    total output throughput " in output
    (log,) = spread.folder.glob(".dsr1/small/*/engine/server.log")
    served = log.read_text(encoding="utf-8")
    assert f"Rank0 of 16 on {[node.name for node in cluster.nodes for _ in range(8)]}" in served
    assert served.count("\nserving ") == 1
    cluster.until_empty()
    assert_put_back(*cluster.nodes)


def test_too_few_nodes_are_named(cluster: Cluster, spread: Runs) -> None:
    job = spread.submit(f"exec {PYTEST}", "--nodes=1")
    assert cluster.wait(job) == "FAILED", cluster.output(job)
    told = " ".join(cluster.output(job).split())
    assert "nodes: expected 2, and the Slurm job has 1; ask for more: --nodes=2" in told
