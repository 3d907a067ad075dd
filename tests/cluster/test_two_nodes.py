"""What a run over two nodes of a Slurm cluster promises: each is looked at, set up, watched and put back."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.probes import stand_in
from tests.helpers.slurm_cluster import Cluster
from tests.helpers.slurm_node import PUT_BACK, SET_UP, assert_put_back
from tests.helpers.slurm_runs import PYTEST, Runs

TWO = "--nodes=2"


@pytest.fixture
def wide(runs: Runs) -> Runs:
    """Runs of a scenario for the 16 GPUs of both nodes."""
    runs.write(nodes=2)
    return runs


def words(text: str) -> str:
    """Return a text in one line, as it was before it was wrapped."""
    return " ".join(text.split())


def measurement(folder: Path) -> dict[str, dict[str, object]]:
    (path,) = folder.glob(".dsr1/small/*/measurement.json")
    found: dict[str, dict[str, object]] = json.loads(path.read_text(encoding="utf-8"))["measurement"]
    return found


SECOND_IS_SLOW = """
import socket
second = socket.gethostname() == {second!r}
found(values=[4258.0] * 7 + [4000.0 if second else 4258.0], gpus=[[gpu] for gpu in range(8)])
found("all_reduce_256mib_gb_s", [140.0 if second else 280.0], [[*range(8)]])
"""


def test_both_nodes_are_set_up_probed_watched_and_put_back(cluster: Cluster, wide: Runs) -> None:
    first, second = (node.name for node in cluster.nodes)
    cluster.node(2).machine.set("driver", "590.44.01")
    probes = stand_in(wide.folder / "probes", SECOND_IS_SLOW.format(second=second))
    path = f"{probes}{os.pathsep}{wide.environment['PYTHONPATH']}"
    job = wide.submit(f"exec {PYTEST} --dsr1-probe", TWO, PYTHONPATH=path)
    assert cluster.wait(job) == "COMPLETED", cluster.output(job)
    assert "small  (16 x NVIDIA H200 on 2 nodes, engine trtllm-bench)" in cluster.output(job)
    assert_put_back(*cluster.nodes)
    saved = measurement(wide.folder)
    names = [f"{node.name}:{gpu}" for node in cluster.nodes for gpu in range(8)]
    assert saved["telemetry"]["gpus"] == names
    assert 0 < float(str(saved["telemetry"]["clock_error_s"])) < 0.5
    facts = saved["fingerprint"]["facts"]
    assert isinstance(facts, dict)
    assert (facts["gpu.count"], facts["nodes"]) == (16, [node.name for node in cluster.nodes])
    assert len(set(facts["gpu.uuids"])) == 16
    for when in ("before", "after"):
        probing = f"probing GPUs 0-7 on {first} and GPUs 0-7 on {second} {when} the run, about 68 s"
        assert probing in words(cluster.output(job))
    for when in ("", "after."):
        assert facts[f"probe.{when}memory_bandwidth_gb_s"] == ["4258"] * 15 + ["4000"]
        assert facts[f"probe.{when}all_reduce_256mib_gb_s"] == ["280", "140"]
    assert (
        f"GPU 7 on {second}: copies memory 6.1% slower than the other 15 (4,000 against 4,258 GB/s), "
        "measured before the run"
    ) in words(cluster.output(job))
    differ = f"they differ in driver: 580.95.05 on {first}, 590.44.01 on {second}; the slowest one decides"
    assert differ in words(cluster.output(job))
    assert facts["driver"] == ["580.95.05", "590.44.01"]
    logs = [path.name for path in sorted(wide.folder.glob(".dsr1/small/*/probe-before-*.log"))]
    assert logs == [f"probe-before-{name}.log" for name in (first, second)]


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"throttle_reasons": 0x40}, "GPU 3 throttled on {node}: hardware thermal slowdown: "),
        ({"name": "NVIDIA H100"}, "GPU 3 name on {node}: expected NVIDIA H200, found NVIDIA H100"),
        ({"mig": 1}, "GPU 3 MIG mode on {node}: on: the GPU is divided; "),
    ],
)
def test_a_wrong_gpu_anywhere_voids_the_run(
    cluster: Cluster, wide: Runs, wrong: dict[str, object], reason: str
) -> None:
    second = cluster.node(2)
    second.machine.set_gpu(3, **wrong)
    job = wide.submit(f"exec {PYTEST}", TWO)
    assert cluster.wait(job) == "FAILED", cluster.output(job)
    assert cluster.status(job) == 10
    assert reason.format(node=second.name) in words(cluster.output(job))
    for node in cluster.nodes:
        assert node.machine.settings() == PUT_BACK
        assert (node.journals, node.locks, node.processes()) == ([], [], [])


@pytest.mark.parametrize(
    ("end", "script", "apart"),
    [
        pytest.param(Cluster.cancel, f"exec {PYTEST}", True, id="scancel, two roles"),
        pytest.param(Cluster.cancel, PYTEST, False, id="scancel, in a shell"),
        pytest.param(Cluster.time_out, f"exec {PYTEST}", False, id="time limit"),
        pytest.param(Cluster.time_out, PYTEST, True, id="time limit, two roles, in a shell"),
    ],
)
def test_each_end_of_the_job_puts_both_nodes_back(
    cluster: Cluster, wide: Runs, end: Callable[[Cluster, int], None], script: str, *, apart: bool
) -> None:
    """Also with servers of two roles, each in a step of its own."""
    gpus = (8, 4) if apart else (8, 8)
    if apart:
        wide.write_disaggregated()
    job = wide.submit_endless(script, TWO)
    for node, count in zip(cluster.nodes, gpus, strict=True):
        assert node.machine.settings() == SET_UP[:count] + PUT_BACK[count:]
    end(cluster, job)
    cluster.wait(job)
    cluster.until_empty()
    assert_put_back(*cluster.nodes, gpus=gpus)


def test_a_job_with_one_node_is_too_small(cluster: Cluster, wide: Runs) -> None:
    job = wide.submit(f"exec {PYTEST}", "--nodes=1")
    assert cluster.wait(job) == "FAILED"
    assert cluster.status(job) == 10
    assert "nodes: expected 2, and the Slurm job has 1; ask for more: --nodes=2" in words(cluster.output(job))
