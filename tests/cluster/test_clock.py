"""Nodes whose monotonic clocks differ by a day: the samples of both are on our own time axis."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_dsr1.machine.nodes.allocation import Allocation
from pytest_dsr1.machine.nodes.clock import compared
from pytest_dsr1.machine.nodes.messages import Command
from pytest_dsr1.machine.nodes.nodes import Nodes
from pytest_dsr1.machine.nodes.remote import RemoteNode, srun_agent
from pytest_dsr1.scenario.yaml.load import load
from tests.helpers.slurm_cluster import Cluster
from tests.helpers.slurm_runs import ALL_GPUS, Runs

CHANGES = 10


@pytest.fixture
def allocation(cluster: Cluster, tmp_path: Path) -> Iterator[Allocation]:
    """Both nodes; this process is outside, with the clock of the first one."""
    job = cluster.sbatch("exec sleep 600", *ALL_GPUS, "--nodes=2", folder=tmp_path)
    cluster.until(lambda: cluster.state(job) == "RUNNING", "an allocation", job)
    yield Allocation(str(job), tuple(node.name for node in cluster.nodes))
    cluster.cancel(job)
    cluster.wait(job)


def test_the_clock_of_a_node_is_wrong_by_no_more_than_is_said(
    cluster: Cluster, runs: Runs, allocation: Allocation
) -> None:
    for node in cluster.nodes:
        said: list[str] = []
        environ = {**cluster.environment, **runs.environment}
        agent = RemoteNode(node.name, srun_agent(allocation)(node.name), environ, said.append)

        def ask(agent: RemoteNode = agent) -> float:
            agent.send(Command(do="clock"))
            return agent.answer().time_s

        found = compared(ask)
        agent.close()
        assert said == []
        assert abs(found.ahead_s - node.ahead_s) <= found.error_s
    assert node.ahead_s == 86_400


def test_samples_of_each_node_are_on_our_time_axis(
    cluster: Cluster, runs: Runs, allocation: Allocation, tmp_path: Path
) -> None:
    """The power of a GPU changes while we look at our clock: each sample must agree."""
    runs.write(nodes=2)
    (loaded,) = load(runs.folder / "small.yaml")
    environ = {**cluster.environment, **runs.environment, "SLURM_JOB_ID": allocation.job}
    changed: list[tuple[float, float]] = []
    with (
        Nodes(allocation.nodes, srun_agent(allocation), environ, print) as nodes,
        nodes.prepared(loaded.scenario, "off") as machine,
        machine.watched(tmp_path / "telemetry.jsonl") as recorder,
    ):
        for number in range(CHANGES):
            before_s = time.monotonic()
            for node in cluster.nodes:
                node.machine.set_gpu(7, power_mw=1000 * (number + 1))
            changed.append((before_s, time.monotonic()))
            time.sleep(0.25)
    telemetry = recorder.telemetry
    error_s = telemetry.clock_error_s
    assert 0 < error_s < 0.5
    for node in cluster.nodes:
        seen = [one for one in telemetry.samples if one.gpu == f"{node.name}:7"]
        for watts, (before_s, after_s) in enumerate(changed, 1):
            assert all(one.power_w != watts for one in seen if one.time_s < before_s - error_s)
