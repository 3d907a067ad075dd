"""Measurements to compare."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pytest_dsr1.machine.values import Fingerprint
from pytest_dsr1.measurement.measurement import Measurement
from pytest_dsr1.records import RequestRecord
from pytest_dsr1.verdict.targets import Noise
from tests.helpers.values import measurement, records, scenario

PRESUMED = Noise(1.0)


def at(
    started: str, profile: str = "small", *, ended: tuple[RequestRecord, ...] = records(), **facts: Any
) -> Measurement:
    """Return a measurement at this time, with these facts and those of a GPU (``__`` stands for a dot)."""
    named = {key.replace("__", "."): value for key, value in facts.items()}
    machine: dict[str, Any] = {"gpu.count": 1, "gpu.name": "NVIDIA H200"}
    return measurement(
        Path(profile) / started,
        started_utc=f"{started}.123+00:00",
        scenario=scenario(name=profile),
        fingerprint=Fingerprint({**machine, **named}),
        records=ended,
    )
