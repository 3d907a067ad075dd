"""References and facts for tests that need some."""

from __future__ import annotations

import math
from datetime import datetime, timedelta, timezone
from random import Random
from typing import Any

from pytest_dsr1.gate.references import Acceptance, ReferenceRun, References
from pytest_dsr1.machine.values import FactValue

NOW = datetime(2025, 3, 24, 12, tzinfo=timezone.utc)
NODE = "GPU-a,GPU-b"
OTHER_NODE = "GPU-c,GPU-d"

FACTS: dict[str, FactValue] = {
    "gpu.name": "NVIDIA H200",
    "gpu.count": 2,
    "gpu.uuids": ["GPU-b", "GPU-a"],
    "gpu.memory_gib": 140.4,
    "gpu.power_limit_w": 700.0,
    "gpu.vboost": 0,
    "gpu.ecc": True,
    "driver": "575.57.08",
    "hostname": "vm",
    "kernel": "6.8",
    "library.torch": "2.10.0",
    "library.pytest-dsr1": "0.1.0",
    "container.image": None,
    "model.content": "ab" * 32,
    "option.load.concurrency": 2,
    "option.load.num_requests": 4,
    "option.engine.tp": 2,
}
COMPARED = {
    key: FACTS[key] for key in FACTS.keys() - {"gpu.uuids", "hostname", "kernel", "option.load.num_requests"}
}


def run(number: int = 0, **changes: Any) -> ReferenceRun:
    """Return one run of a series with two runs per day, the first ten days ago."""
    values: dict[str, Any] = {
        "at": NOW - timedelta(days=10 - number // 2, hours=number % 2),
        "node": NODE,
        "value": 8.0 + number / 100,
        "se_percent": 0.12,
        "window_s": 590.1,
        "startup_s": 310.2,
        "recording": f"run-{number}",
        **changes,
    }
    return ReferenceRun(**values)


def references(count: int = 16, **changes: Any) -> References:
    """Return runs of ``tests.helpers.values.scenario`` on one node, accepted an hour ago."""
    values: dict[str, Any] = {
        "profile": "small",
        "metric": "total_output_throughput",
        "unit": "tok/s",
        "better": "higher",
        "requests": 4,
        "warmup_requests": 2,
        "accepted": Acceptance(NOW - timedelta(hours=1), "Ann", "TensorRT-LLM 1.2.1", "0123abc"),
        "under_test": {},
        "facts": COMPARED,
        "runs": tuple(run(number) for number in range(count)),
        **changes,
    }
    return References(**values)


def scattered(count: int, *, first: datetime | None = None, **changes: Any) -> tuple[ReferenceRun, ...]:
    """Return one run per day around 8 tok/s, with a noise of 0.6% and no trend."""
    random, first = Random(1), first or NOW - timedelta(days=count)
    return tuple(
        run(
            at=first + timedelta(days=number),
            value=8.0 * math.exp(random.gauss(0, 0.006)),
            recording=f"{changes.get('node', NODE)}-{number}",
            **changes,
        )
        for number in range(count)
    )
