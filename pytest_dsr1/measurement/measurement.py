"""The measurement: everything that one run produced. It is immutable, and saved and loaded as files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field

from pytest_dsr1.engines.protocol import EngineResult
from pytest_dsr1.findings import Finding
from pytest_dsr1.machine.cpu_load import CpuLoad
from pytest_dsr1.machine.telemetry.health import GpuSummary
from pytest_dsr1.machine.values import Fingerprint, Telemetry
from pytest_dsr1.metrics.catalogue import METRICS, MetricValue
from pytest_dsr1.records import AskedQuestion
from pytest_dsr1.scenario.schema.scenario import Scenario
from pytest_dsr1.workload.workload import Workload

STOPPED_EARLY = "the measurement was stopped early"
"""The beginning of the warning about a run that sent fewer requests than it had."""
DEFINITIONS = 2
"""The version of the definitions of our metrics, saved with each result.

1, in results without the key: without streaming `steady_output_throughput` counted all tokens of a request at
its end. 2: it spreads them over the request, like the steady figure.
"""


@dataclass(frozen=True, slots=True)
class Measurement:
    """One run of one scenario.

    Attributes:
        scenario: as it ran: bases merged, overrides applied, variables expanded, except for secrets.
        test_id_prefix: the scenario file's path as test ids show it; ``place`` in the saved file.
        started_utc: when the run began, ISO 8601.
        unix_minus_monotonic_s: added to a monotonic time of the measurement, gives seconds since the epoch.
        workload: the requests.
        fingerprint: the machine, software and work of the run.
        findings: from the preflight, and from the telemetry over the measured time.
        result: what the engine measured; its answers are in ``asked``.
        telemetry: what the GPUs did over the run.
        metrics: by name, in the order of their declaration.
        folder: where it is saved.
        gpu_health: what the GPUs did over the measured time; None on the CPU.
        caches_filled: folders of compile caches to which this start added compiled code. Such a start is not
            like the starts after it.
        cpu_load: what the CPUs did over the measured time; None if the engine does not compute on them, and
            in results of earlier versions.
        definitions: the version of the metrics' definitions (:data:`DEFINITIONS`).
        asked: every question of the run with its answer, in order; empty without `accuracy`.
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
    cpu_load: CpuLoad | None = None
    definitions: int = 1
    asked: tuple[AskedQuestion, ...] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """Every warning that is shown next to the verdict."""
        return (
            *(f"{f.where}: {f.message}" for f in self.findings if f.severity == "warning"),
            *self.result.warnings,
        )

    @property
    def measured_s(self) -> float:
        """The measured time in seconds."""
        return self.result.measured_to_s - self.result.measured_from_s

    def why_not_measured(self, metric: str) -> str | None:
        """Return why a metric was not measured; None if it was, or if no reason is known."""
        why = self.result.facts.not_measured.get(metric)
        if why is not None or metric in self.metrics or self.gpu_health is None:
            return why
        if "energy" not in METRICS[metric].needs:
            return None
        return self.gpu_health.why_no_energy or "results of earlier versions do not have it"
