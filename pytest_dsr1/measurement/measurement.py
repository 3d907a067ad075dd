"""The measurement: everything one run produced, immutable, saved as files and loaded again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from pytest_dsr1.engines.protocol import EngineResult
from pytest_dsr1.machine.telemetry.health import GpuSummary
from pytest_dsr1.machine.values import Finding, Fingerprint, Telemetry
from pytest_dsr1.metrics.catalogue import MetricValue
from pytest_dsr1.scenario.schema.scenario import Scenario
from pytest_dsr1.workload.workload import Workload


@dataclass(frozen=True, slots=True)
class Measurement:
    """One run of one scenario.

    Attributes:
        scenario: as it ran: bases merged, overrides applied, variables expanded.
        test_id_prefix: the scenario file's path as test ids show it; ``place`` in the saved file.
        started_utc: when the run began, ISO 8601.
        unix_minus_monotonic_s: add to any monotonic time in the measurement for seconds since the epoch.
        workload: the requests.
        fingerprint: what it ran on.
        findings: of the preflight, and of the telemetry over the measured time.
        result: what the engine measured.
        telemetry: the GPUs over the run.
        metrics: by name, in the order of their declaration.
        folder: where it is saved.
        gpu_health: the GPUs over the measured time; None for the CPU.
        caches_filled: folders of compile caches in which this start put compiled code; it then is not like
            the starts after it.
    """

    scenario: Scenario
    test_id_prefix: Annotated[str, Field(alias="place")]
    started_utc: str
    unix_minus_monotonic_s: float
    workload: Workload
    fingerprint: Fingerprint
    findings: tuple[Finding, ...]
    result: EngineResult
    telemetry: Telemetry
    metrics: Mapping[str, MetricValue]
    folder: Path
    gpu_health: GpuSummary | None = None
    caches_filled: tuple[str, ...] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """Every sentence a person must see beside the verdict."""
        return (
            *(f"{f.subject}: {f.message}" for f in self.findings if f.severity == "warning"),
            *self.result.warnings,
        )

    @property
    def measured_s(self) -> float:
        """The measured time in seconds."""
        return self.result.measured_to_s - self.result.measured_from_s
