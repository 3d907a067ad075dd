"""A real Slurm cluster of two nodes, Debian's. Run by ``tox run -e slurm``; skipped where it cannot run."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_dsr1.machine.nodes.allocation import Allocation
from tests.helpers.slurm_cluster import PROGRAMS, Cluster, slurm_cluster
from tests.helpers.slurm_runs import ALL_GPUS, Runs
from tests.helpers.slurm_settings import has_freezer
from tests.standins.nvml.control import build


@functools.cache
def lacking() -> str | None:
    """Return why no cluster can run here; None if one can."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        return (
            f"the tests on a Slurm cluster need {', '.join(missing)}; on Debian, as root: apt-get install "
            "slurmctld slurmd slurm-client munge libpmix2 libopenmpi3"
        )
    namespaces = ["unshare", "--uts", "--time"]
    if subprocess.run([*namespaces, "true"], capture_output=True, check=False).returncode:
        return (
            "the tests on a Slurm cluster need root, Linux 5.6, and in a container the right to use "
            f"`{' '.join(namespaces)}`"
        )
    if not has_freezer():
        return "the tests on a Slurm cluster need cgroup v1's freezer in /sys/fs/cgroup/freezer, writable"
    return None


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip tests that need the cluster; here and not in the fixture, so that one line of `-rs` names all."""
    if "whole_cluster" not in getattr(item, "fixturenames", ()):
        return
    if os.environ.get("TOX_ENV_NAME") == "tests":
        pytest.skip("needs a Slurm cluster: tox run -e slurm")
    if reason := lacking():
        if os.environ.get("DSR1_REQUIRE_SLURM") == "1":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)


@pytest.fixture(scope="session")
def whole_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One for all tests of a worker."""
    with slurm_cluster(build(tmp_path_factory.mktemp("nvml") / "driver")) as cluster:
        yield cluster


@pytest.fixture
def cluster(whole_cluster: Cluster) -> Cluster:
    """Two idle nodes, each with eight healthy H200s, without jobs, locks or journals of other tests."""
    whole_cluster.clear()
    return whole_cluster


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark every test here."""
    item.add_marker(pytest.mark.slurm)


@pytest.fixture
def runs(cluster: Cluster, tmp_path: Path) -> Runs:
    """Jobs that run pytest with the stand-in of trtllm-bench on the cluster."""
    return Runs(cluster, tmp_path)


@pytest.fixture
def allocation(cluster: Cluster, tmp_path: Path) -> Iterator[Allocation]:
    """Both nodes; this process is outside, with the clock of the first one."""
    job = cluster.sbatch("exec sleep 600", *ALL_GPUS, "--nodes=2", folder=tmp_path)
    cluster.until(lambda: cluster.state(job) == "RUNNING", "an allocation", job)
    yield Allocation(str(job), tuple(node.name for node in cluster.nodes))
    cluster.cancel(job)
    cluster.wait(job)
