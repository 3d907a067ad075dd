"""What a run on one node of a Slurm cluster promises, at its end and at each other end of its job."""

from __future__ import annotations

from tests.helpers.slurm_cluster import Cluster
from tests.helpers.slurm_node import Node
from tests.helpers.slurm_runs import Runs

PUT_BACK = [("1", "700000", "0", "none")] * 8
"""The settings of the GPUs before a run: persistence mode, power limit, vboost, locked clocks."""


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
    assert "Slurm" not in output
    assert_put_back(node)
    assert other.machine.calls() == []
