"""Runs of pytest in jobs of a Slurm cluster, with the stand-in of trtllm-bench."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import yaml

from tests.helpers.checkpoint import small_checkpoint
from tests.helpers.nodes import LEADER
from tests.helpers.paths import ROOT
from tests.helpers.slurm_cluster import Cluster
from tests.helpers.waiting import written
from tests.standins.trtllm_bench.install import install

PYTEST = f"{sys.executable} -m pytest -p no:cacheprovider small.yaml --dsr1-gpu-setup=apply"
"""The command of a run that sets GPUs up."""
ALL_GPUS = ("--exclusive", "--gpus-per-node=8")
"""Options of sbatch for whole nodes."""
_VERSION = "1.2.1"


class Runs:
    """A folder with ``small.yaml``, a scenario for the 8 GPUs of a node, and jobs that run in it.

    Args:
        cluster: where the jobs run.
        folder: an empty one.
    """

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster = cluster
        self.folder = folder
        self._checkpoint = small_checkpoint(folder / "models" / "DeepSeek-R1")
        program = install(folder / "trtllm", _VERSION)
        self.environment = {
            "PATH": f"{program.parent}{os.pathsep}{cluster.environment['PATH']}",
            "PYTHONPATH": f"{program.parents[1] / 'site'}{os.pathsep}{ROOT}",
            "XDG_CACHE_HOME": str(folder / "cache"),
            "DSR1_STANDIN_VERSION": _VERSION,
            "COLUMNS": "120",
        }
        self.write()

    def write(self, *, nodes: int = 1, gpus: int = 8, mpi: bool = False, **engine: object) -> None:
        """Write the scenario, for GPUs on each of these nodes.

        The engine is trtllm-bench with these keys, or has all of its keys, if one is its type.

        Without ``mpi`` the first rank alone runs the engine, as trtllm-llmapi-launch does it.
        """
        if nodes > 1 and not mpi:
            site = self.folder / "site.yaml"
            slurm = {"mpi": "none", "launcher": list(LEADER)}
            site.write_text(yaml.safe_dump({"slurm": slurm}), encoding="utf-8")
            self.environment["DSR1_SITE"] = str(site)
        scenario = {
            "name": "small",
            "description": "A scenario of the tests",
            "hardware": {"gpu": "NVIDIA H200", "count": gpus * nodes, "nodes": nodes},
            "gpu_setup": {"persistence": True, "vboost": 4},
            "model": {
                "name": "deepseek-ai/DeepSeek-R1",
                "path": str(self._checkpoint),
                "quantization": "FP8_BLOCK_SCALES",
            },
            "dataset": {"input_tokens": 8, "output_tokens": 16, "vocab_size": 100},
            "load": {"concurrency": 2, "num_requests": 4, "warmup_requests": 2},
            "engine": engine if "type" in engine else {"type": "trtllm-bench", "tp": gpus * nodes, **engine},
            "targets": [{"metric": "total_output_throughput", "value": 1}],
        }
        text = yaml.safe_dump(scenario, sort_keys=False)
        (self.folder / "small.yaml").write_text(text, encoding="utf-8")

    def submit(self, script: str = f"exec {PYTEST}", *options: str, **variables: str) -> int:
        """Submit a script for one whole node, unless options say otherwise; return the job's id."""
        variables = {**self.environment, **variables}
        return self.cluster.sbatch(script, *ALL_GPUS, *options, folder=self.folder, **variables)

    def submit_endless(self, script: str = f"exec {PYTEST}", *options: str) -> int:
        """Submit a run that would never end, and wait until the engine measures; return the job's id."""
        job = self.submit(script, *options, DSR1_STANDIN_FAIL="hang-run")
        log = ".dsr1/small/*/engine/trtllm-bench.log"
        self.cluster.until(lambda: written(self.folder, log, "Starting benchmark"), "a measurement", job)
        return job
