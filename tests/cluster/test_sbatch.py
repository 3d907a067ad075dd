"""The command `pytest-dsr1 sbatch` on a real Slurm cluster."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from pytest_dsr1.cli import job_states
from pytest_dsr1.cli.main import main
from tests.helpers.nodes import LEADER
from tests.helpers.slurm_cluster import Cluster
from tests.helpers.slurm_runs import Runs

SITE = {
    "slurm": {
        "sbatch": ["--partition=batch", "--time=10", "--comment=it's two words"],
        "mpi": "none",
        "launcher": list(LEADER),
    }
}
COMMAND = "import sys; from pytest_dsr1.cli.main import main; sys.exit(main())"


@pytest.fixture
def suites(runs: Runs) -> Path:
    """A folder with profiles for 8 GPUs, of which one misses its target, for 4, and for both nodes."""
    of_runs: dict[str, Any] = yaml.safe_load((runs.folder / "small.yaml").read_text(encoding="utf-8"))
    own = runs.folder / "own"
    own.mkdir()
    sizes = {"small": (8, 1), "slow": (8, 1), "half": (4, 1), "both": (16, 2)}
    for name, (gpus, nodes) in sizes.items():
        scenario = {
            **of_runs,
            "name": name,
            "hardware": {**of_runs["hardware"], "count": gpus, "nodes": nodes},
            "engine": {**of_runs["engine"], "tp": gpus},
            "targets": [{"metric": "total_output_throughput", "value": 10**9 if name == "slow" else 1}],
        }
        (own / f"{name}.yaml").write_text(yaml.safe_dump(scenario), encoding="utf-8")
    (runs.folder / "site.yaml").write_text(yaml.safe_dump(SITE), encoding="utf-8")
    return own


WORDS = ["small,slow,half", "--wait", "--dsr1-site=site.yaml", "--dsr1-suites=own", "-pno:cacheprovider"]


def test_arrays_side_by_side_and_one_of_two_nodes_make_one_page(
    runs: Runs,
    cluster: Cluster,
    suites: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert suites.is_dir()
    for name in set(os.environ).difference(cluster.environment):
        monkeypatch.delenv(name)
    for name, value in {**cluster.environment, **runs.environment}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(runs.folder)
    monkeypatch.setattr(job_states, "POLL_S", 0.2)
    status = main(["sbatch", f"{WORDS[0]},both", *WORDS[1:], "--dsr1-gpu-setup=apply"])
    told = capfd.readouterr()
    assert status == 1, told
    first, second, third, *_ = lines = told.out.splitlines()
    wide, narrow, double = (line.split()[1].rstrip(":") for line in (first, second, third))
    assert first == f"job {wide}: small, slow on 1 node with 8 GPUs"
    assert second == f"job {narrow}: half on 1 node with 4 GPUs"
    assert third == f"job {double}: both on 2 nodes with 8 GPUs each"
    for task in (
        f"{wide}_0 small: exit status 0",
        f"{wide}_1 slow: exit status 1",
        f"{narrow}_0 half: exit status 0",
        f"{double}_0 both: exit status 0",
    ):
        assert task in lines
    assert told.err.splitlines() == [f"{wide}_1 slow: exit status 1, log .dsr1/slurm-{wide}_1.log"]
    comments = cluster.run("squeue", "-h", "-t", "all", "-j", wide, "-O", "Comment:40").splitlines()
    assert {comment.strip() for comment in comments} == {"it's two words"}
    page = Path(f".dsr1/slurm-{wide}.html").read_text(encoding="utf-8")
    assert page.count("<article") == 4
    assert "16 x NVIDIA H200 on 2 nodes" in page
    assert [path.name for path in sorted(Path(f".dsr1/slurm-{narrow}").iterdir())] == ["half"]
    assert "PERFORMANCE OVERVIEW" in Path(f".dsr1/slurm-{wide}_1.log").read_text(encoding="utf-8")
    assert cluster.jobs() == []


def test_ctrl_c_cancels_the_jobs_and_they_restore_their_gpus(
    runs: Runs, cluster: Cluster, suites: Path
) -> None:
    assert suites.is_dir()
    environment = {**cluster.environment, **runs.environment, "DSR1_STANDIN_FAIL": "hang-run"}
    words = ["sbatch", *WORDS, "--dsr1-gpu-setup=apply"]
    with subprocess.Popen(
        [sys.executable, "-c", COMMAND, *words],
        cwd=runs.folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            cluster.until(lambda: measuring(runs.folder) == 2, "two runs that measure")
        finally:
            process.send_signal(signal.SIGINT)
            told, _ = process.communicate()
    assert process.returncode == 128 + signal.SIGINT
    assert "canceled jobs " in told
    cluster.until(lambda: cluster.idle() and not cluster.steps(), "idle nodes")
    for node in cluster.nodes:
        assert "boost-slider -i 0 --vboost 4" in node.machine.commands()
        assert {vboost for _, _, vboost, _ in node.machine.settings()} == {"0"}, told
        assert (node.journals, node.processes()) == ([], [])


def measuring(folder: Path) -> int:
    logs = folder.glob(".dsr1/slurm-*/*/*/engine/trtllm-bench.log")
    return sum("Starting benchmark" in log.read_text(encoding="utf-8") for log in logs)
