"""Small valid values of every room, for tests that need one and care about little of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pytest_dsr1.engines.base import EngineResult, RequestRecord
from pytest_dsr1.environment.values import Finding, Fingerprint, Telemetry
from pytest_dsr1.measurement.metrics import combine, from_records
from pytest_dsr1.measurement.values import Measurement
from pytest_dsr1.scenario.model import Scenario
from pytest_dsr1.verdict.targets import Noise
from pytest_dsr1.workload.values import Workload

NOISE = Noise(0.01, "presumed by gate.presumed_noise_percent")
"""So little that every figure is clear of its bound."""


def scenario(**changes: Any) -> Scenario:
    """A CPU scenario of four requests; top-level keys can be replaced."""
    return Scenario.model_validate(
        {
            "name": "small",
            "description": "Four requests on the CPU.",
            "hardware": {},
            "model": {"name": "deepseek-ai/DeepSeek-R1", "random_weights": {}},
            "dataset": {"input_tokens": 8, "output_tokens": 4},
            "load": {"concurrency": 2, "num_requests": 4},
            "engine": {"type": "transformers"},
            "targets": [{"metric": "total_output_throughput", "value": 8.0}],
            **changes,
        }
    )


def records(count: int = 4, *, latency_s: float = 1.0, streaming: bool = True) -> tuple[RequestRecord, ...]:
    """Requests two at a time, 8 tokens in, 4 out, the first token after a quarter of the latency."""
    return tuple(
        RequestRecord(
            id=i,
            submitted_s=100.0 + i // 2 * latency_s,
            first_token_s=100.0 + (i // 2 + 0.25) * latency_s if streaming else None,
            last_token_s=100.0 + (i // 2 + 1) * latency_s,
            input_tokens=8,
            output_tokens=4,
            decoding_iterations=4,
        )
        for i in range(count)
    )


def measurement(folder: Path = Path("results"), **changes: Any) -> Measurement:
    """A valid measurement of :func:`scenario`: 8 tok/s; fields, ``records``, ``report`` can be replaced."""
    rows = changes.pop("records", records())
    report = changes.pop("report", {})
    result = EngineResult(rows, report, 100.0, 102.0, 0, versions={"torch": "2.13.0"})
    values: dict[str, Any] = {
        "scenario": scenario(),
        "place": "suites/small.yaml",
        "started_utc": "2026-11-23T20:00:00+00:00",
        "unix_minus_monotonic_s": 1.7e9,
        "workload": Workload(Path("dataset.jsonl"), 4, "ab12", True, 8.0, 8, 4.0, 4),
        "fingerprint": Fingerprint({"gpu.count": 0, "library.torch": "2.13.0"}),
        "findings": (Finding("ok", "memory", "enough"),),
        "result": result,
        "telemetry": Telemetry(),
        "metrics": combine(report, from_records(rows, 0)),
        "folder": folder,
    }
    return Measurement(**{**values, **changes})
