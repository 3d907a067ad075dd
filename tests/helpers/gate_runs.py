"""Runs for tests of gates."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from pytest_dsr1.machine.values import FactValue, Fingerprint
from pytest_dsr1.measurement.measurement import Measurement
from tests.helpers import reference_store, values

LONG: dict[str, Any] = {"load": {"concurrency": 2, "num_requests": 24}}


def started(tmp_path: Path, latency_s: float = 1.0, **facts: FactValue) -> Measurement:
    """Return a run on the references' node; a latency of 1 s gives 8 tok/s."""
    result = values.measurement(
        scenario=values.scenario(**LONG),
        records=values.records(24, latency_s=latency_s),
        fingerprint=Fingerprint({**reference_store.FACTS, **facts}),
        folder=tmp_path,
    )
    return replace(result, workload=replace(result.workload, requests=24))
