"""Runs of pytest in jobs of a Slurm cluster, with the stand-ins of trtllm-bench and trtllm-serve."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import yaml

from tests.helpers.checkpoint import small_checkpoint
from tests.helpers.nodes import LEADER
from tests.helpers.paths import ROOT
from tests.helpers.slurm_cluster import Cluster
from tests.helpers.waiting import written
from tests.standins import trtllm_serve
from tests.standins.trtllm_bench.install import install

PYTEST = f"{sys.executable} -m pytest -p no:cacheprovider small.yaml --dsr1-gpu-setup=apply"
"""The command of a run that sets GPUs up."""
ALL_GPUS = ("--exclusive", "--gpus-per-node=8")
"""Options of sbatch for whole nodes."""
_VERSION = "1.2.1"
_OF_SERVERS = "1.3.0rc27"
_MEASURES = {"trtllm-bench": "Starting benchmark", "generation-1": "held"}
"""What the log of an engine says when it measures, by the name of the log."""


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
        servers = trtllm_serve.install(folder / "serve", _OF_SERVERS)
        self.held = folder / "held"
        """While this file exists, a run that was submitted with its name goes on."""
        self.environment = {
            "PATH": os.pathsep.join([str(program.parent), str(servers), cluster.environment["PATH"]]),
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

    def write_disaggregated(self, **environment: dict[str, str]) -> None:
        """Write a scenario with a generation server on one node, and a context server on half of the other.

        Each role has its variables of ``environment``, and so has the server that passes requests on
        (``front_end``).
        """
        cache = {"cache_transceiver_config": {"backend": "NIXL"}}
        roles: dict[str, dict[str, Any]] = {
            role: {"tp": gpus, "llm_api": cache, "environment": environment.get(role, {})}
            for role, gpus in {"context": 4, "generation": 8}.items()
        }
        self.write(
            nodes=2,
            gpus=6,
            type="openai",
            server="trtllm-serve",
            streaming=False,
            disaggregated=roles,
            environment=environment.get("front_end", {}),
        )

    def submit(self, script: str = f"exec {PYTEST}", *options: str, **variables: str) -> int:
        """Submit a script for one whole node, unless options say otherwise; return the job's id."""
        variables = {**self.environment, **variables}
        return self.cluster.sbatch(script, *ALL_GPUS, *options, folder=self.folder, **variables)

    def submit_held(self, script: str = f"exec {PYTEST}", *options: str) -> int:
        """Submit a run that measures as long as ``held`` exists; return the job's id."""
        self.held.touch()
        return self.submit(script, *options, DSR1_STANDIN_HELD=str(self.held))

    def submit_endless(self, script: str = f"exec {PYTEST}", *options: str) -> int:
        """Submit a run that would never end, and wait until the engine measures; return the job's id."""
        job = self.submit_held(script, *options)
        self.cluster.until(self.measures, "a measurement", job)
        return job

    def measures(self) -> bool:
        """Return whether the engine of a run has begun to measure."""
        logs = ((f".dsr1/small/*/engine/{name}.log", said) for name, said in _MEASURES.items())
        return any(written(self.folder, log, said) for log, said in logs)
