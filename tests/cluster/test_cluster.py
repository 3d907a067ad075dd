"""The cluster itself: several side by side, and nothing left of one."""

from __future__ import annotations

import shutil
from pathlib import Path

import psutil
import pytest

from tests.helpers.paths import ROOT
from tests.helpers.slurm_cluster import Cluster, slurm_cluster
from tests.helpers.slurm_settings import FREEZER
from tests.helpers.waiting import gone
from tests.standins.nvml.control import build


def test_each_node_has_a_name_gpus_and_processes_of_its_own(cluster: Cluster, tmp_path: Path) -> None:
    first, second = cluster.nodes
    job = cluster.sbatch(
        "srun -N2 sh -c 'nvidia-smi -i $SLURM_PROCID --vboost 3; hostname; sleep 600'",
        "--nodes=2",
        "--gpus-per-node=8",
        folder=tmp_path,
    )
    for node in cluster.nodes:
        cluster.until(lambda node=node: node.name in cluster.output(job), "both names", job)  # type: ignore[misc]
    assert cluster.steps() == [f"{job}.0", f"{job}.batch"]
    assert (first.machine.gpu(0, "vboost"), first.machine.gpu(1, "vboost")) == ("3", "0")
    assert (second.machine.gpu(0, "vboost"), second.machine.gpu(1, "vboost")) == ("0", "3")
    assert not {process.pid for process in first.processes()} & {one.pid for one in second.processes()}
    cluster.cancel(job)
    assert cluster.wait(job) == "CANCELLED"
    assert first.processes() == second.processes() == []


def test_nothing_is_left_of_a_cluster_beside_another(cluster: Cluster, tmp_path: Path) -> None:
    """Not even of one with a node that has died, and with a process that has left its parent and session."""
    with slurm_cluster(build(tmp_path / "driver"), nodes=1, gpus=2) as other:
        (node,) = other.nodes
        assert node.name not in {each.name for each in cluster.nodes}
        job = other.sbatch("setsid sleep 600 & exec sleep 600", "--gpus=2", folder=tmp_path)
        names = ["sleep", "sleep"]
        other.until(lambda: [one.name() for one in node.processes()][1:] == names, "two processes", job)
        left = node.processes()
        assert FREEZER.joinpath(f"slurm_{node.name}").exists()
        node.slurmd.kill()
        node.slurmd.wait()
    assert all(gone(process.pid) for process in left)
    assert not other.root.exists()
    assert not FREEZER.joinpath(f"slurm_{node.name}").exists()
    mentions = [one for one in psutil.process_iter() if any(str(other.root) in word for word in words(one))]
    assert mentions == []
    assert cluster.idle()


def words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


@pytest.fixture
def elsewhere(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A machine that lacks one of Slurm's programs."""
    for name in ("DSR1_REQUIRE_SLURM", "TOX_ENV_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("PATH", str(pytester.path))
    for name in ("munged", "slurmctld", "sbatch", "scancel", "scontrol", "sinfo", "squeue", "srun"):
        shutil.copy("/bin/true", pytester.path / name)
    pytester.makeconftest((ROOT / "tests" / "cluster" / "conftest.py").read_text(encoding="utf-8"))
    pytester.makeini("[pytest]\nmarkers =\n  slurm\n")
    pytester.makepyfile("def test(cluster): pass")
    return pytester


MISSING = (
    "the tests on a Slurm cluster need slurmd; on Debian, as root: apt-get install slurmctld slurmd "
    "slurm-client munge libpmix2 libopenmpi3"
)


def test_without_slurm_the_tests_are_skipped(elsewhere: pytest.Pytester) -> None:
    result = elsewhere.runpytest_subprocess("-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines([f"SKIPPED * {MISSING}"])


def test_the_readmes_command_leaves_them_to_another(
    elsewhere: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOX_ENV_NAME", "tests")
    result = elsewhere.runpytest_subprocess("-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["SKIPPED * needs a Slurm cluster: tox run -e slurm"])


def test_where_slurm_must_be_there_its_absence_is_an_error(
    elsewhere: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DSR1_REQUIRE_SLURM", "1")
    result = elsewhere.runpytest_subprocess()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"*{MISSING}"])
