"""The installed stand-in of trtllm-bench, and jobs for it."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from pytest_dsr1.engines.protocol import EngineResult, Job
from pytest_dsr1.engines.tensorrt_llm.bench.engine import TrtllmBenchEngine
from pytest_dsr1.scenario.schema.scenario import Scenario
from pytest_dsr1.workload.workload import Workload
from tests.helpers import values
from tests.helpers.watcher import Watcher
from tests.standins.trtllm_bench.install import install


@dataclass
class Bench:
    """The installed stand-in, and jobs for it."""

    folder: Path
    monkeypatch: pytest.MonkeyPatch
    watcher: Watcher = field(default_factory=Watcher)

    def installed(self, version: str) -> Bench:
        """Put a version in PATH and in the metadata of this environment."""
        install(self.folder / version, version)
        self.monkeypatch.setenv("PATH", f"{self.folder / version / 'bin'}{os.pathsep}{os.environ['PATH']}")
        self.monkeypatch.syspath_prepend(str(self.folder / version / "site"))
        self.monkeypatch.setenv("DSR1_STANDIN_VERSION", version)
        return self

    def fails(self, how: str) -> Bench:
        self.monkeypatch.setenv("DSR1_STANDIN_FAIL", how)
        return self

    def job(self, *, run_timeout_s: float = 60.0, requests: int = 4, **engine: Any) -> Job:
        """Return a job of four requests, two at a time, 8 tokens in and 16 out."""
        artifacts = self.folder / "engine"
        artifacts.mkdir(exist_ok=True)
        return Job(
            bench_scenario(requests=requests, **engine), self.workload(requests), artifacts, run_timeout_s
        )

    def workload(self, requests: int) -> Workload:
        path = self.folder / "dataset.jsonl"
        rows = [{"task_id": i, "input_ids": list(range(8)), "output_tokens": 16} for i in range(4)]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return Workload(path, requests, "ab12", True, 8.0, 8, 16.0, 16)

    def run(self, **job: Any) -> EngineResult:
        return TrtllmBenchEngine().run(self.job(**job), self.watcher)

    def artifact(self, name: str) -> str:
        return (self.folder / "engine" / name).read_text()


def bench_scenario(*, requests: int = 4, name: str = "small", **engine: Any) -> Scenario:
    return values.scenario(
        name=name,
        hardware={"gpu": "NVIDIA H200", "count": 8},
        model={"name": "deepseek-ai/DeepSeek-R1", "path": "/models/DeepSeek-R1"},
        dataset={"input_tokens": 8, "output_tokens": 16},
        load={"concurrency": 2, "num_requests": requests, "warmup_requests": 2},
        engine={"type": "trtllm-bench", "tp": 8, **engine},
    )
