"""Nodes whose monotonic clocks differ by a day: the samples of both are on our own time axis."""

from __future__ import annotations

import time
from pathlib import Path

from pytest_dsr1.machine.nodes.allocation import Allocation
from pytest_dsr1.machine.nodes.clock import compared
from pytest_dsr1.machine.nodes.messages import Command
from pytest_dsr1.machine.nodes.nodes import Nodes
from pytest_dsr1.machine.nodes.remote import RemoteNode, srun_agent
from pytest_dsr1.scenario.loading import load
from tests.helpers.slurm_cluster import Cluster
from tests.helpers.slurm_runs import Runs
from tests.standins.nvml.control import GIB

CHANGES = 5
LOOK = "nvmlDeviceGetPowerUsage 7"


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
    """The memory and the power of a GPU change at known times; each sample must agree.

    A sample reads the memory before its own time, and the power after it.
    """
    runs.write(nodes=2)
    scenario = load(runs.folder / "small.yaml").scenario
    environ = {**cluster.environment, **runs.environment, "SLURM_JOB_ID": allocation.job}
    changes: dict[str, list[tuple[float, float]]] = {node.name: [] for node in cluster.nodes}
    with (
        Nodes(allocation.nodes, srun_agent(allocation), environ, print) as nodes,
        nodes.prepared(scenario, "off") as machine,
        machine.watched(tmp_path / "telemetry.jsonl") as recorder,
    ):
        for number in range(1, CHANGES + 1):
            for node in cluster.nodes:
                before_s = time.monotonic()
                node.machine.set_gpu(7, memory_used=number * GIB, power_mw=(100 + number) * 1000)
                changes[node.name].append((before_s, time.monotonic()))
            for node in cluster.nodes:
                looks = node.machine.calls().count(LOOK)
                cluster.until(lambda: node.machine.calls().count(LOOK) > looks + 1, "two looks")  # noqa: B023
    error_s = recorder.telemetry.clock_error_s
    assert 0 < error_s < 0.5
    for name, times in changes.items():
        seen = [one for one in recorder.telemetry.samples if one.gpu == f"{name}:7"]
        for number, (before_s, after_s) in enumerate(times, 1):
            new = min(one.time_s for one in seen if one.memory_used_gib == number)
            assert new >= before_s - error_s
            old = max(one.time_s for one in seen if one.power_w is not None and one.power_w < 100 + number)
            assert old <= after_s + error_s
