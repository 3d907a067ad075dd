"""Jobs for the engine `openai`, against a server that runs or one that the engine starts."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pytest_dsr1.engines.protocol import Job
from pytest_dsr1.scenario.schema.scenario import Scenario
from pytest_dsr1.workload.workload import Workload
from tests.helpers.values import scenario
from tests.standins import started_server


def make_job(folder: Path, of: Scenario, *, prompts: bool = False, output_tokens: int = 4) -> Job:
    """Return a job with requests of eight tokens; the first token is the number of the request."""
    artifacts = folder / "engine"
    artifacts.mkdir()
    path, count = folder / "dataset.jsonl", of.load.num_requests
    lines = []
    for i in range(count):
        source = {"prompt": f"{i} a b"} if prompts else {"input_ids": [i, *range(7)]}
        lines.append(json.dumps({"task_id": i, **source, "output_tokens": output_tokens}))
    path.write_text("\n".join(lines) + "\n")
    return Job(
        of, Workload(path, count, "ab", True, 8.0, 8, float(output_tokens), output_tokens), artifacts, 60.0
    )


def served(port: int, load: dict[str, Any] | None = None, **engine: Any) -> Scenario:
    """Return a scenario of four requests, two at a time, against the server at this port."""
    return scenario(
        model={"name": "deepseek-ai/DeepSeek-R1"},
        load={"concurrency": 2, "num_requests": 4, "tolerated_failures": 4, **(load or {})},
        engine={"type": "openai", "server": "vllm", "url": f"http://127.0.0.1:{port}", **engine},
    )


def remarks(warnings: Iterable[str]) -> tuple[str, ...]:
    """Return all warnings except the one of every short run, about a client that may be saturated."""
    return tuple(w for w in warnings if "it is unknown whether the client was saturated" not in w)


def started(name: str = "first", **changes: Any) -> Scenario:
    """Return a scenario that starts the stand-in; changes are of the engine, or ``load`` and ``hardware``."""
    load = {"concurrency": 2, "num_requests": 4, **changes.pop("load", {})}
    return scenario(
        name=name,
        hardware=changes.pop("hardware", {}),
        model={"name": "deepseek-ai/DeepSeek-R1"},
        load=load,
        engine={
            "type": "openai",
            "command": [sys.executable, "-S", started_server.__file__, "{port}"],
            "streaming": False,
            **changes,
        },
    )
