"""Metrics of made-up requests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pytest_dsr1.engines.protocol import EngineResult
from pytest_dsr1.measurement.inputs import metric_inputs
from pytest_dsr1.metrics.catalogue import computed
from pytest_dsr1.metrics.inputs import MetricInputs
from pytest_dsr1.records import RequestRecord
from pytest_dsr1.scenario.schema.scenario import Scenario


def from_records(records: Sequence[RequestRecord], gpus: int = 0, **others: Any) -> dict[str, float]:
    """Return every metric that the records show; ``others`` are further fields of the inputs."""
    return computed(MetricInputs(records, gpus, **others), _fail)


def _fail(sentence: str) -> None:
    raise AssertionError(sentence)


def of_run(records: Sequence[RequestRecord], scenario: Scenario) -> dict[str, float]:
    """Return every metric of a run of the scenario on its GPUs that gave these records."""
    times_s = [time_s for r in records for time_s in (r.submitted_s, r.last_token_s)]
    result = EngineResult(tuple(records), {}, min(times_s), max(times_s), scenario.hardware.count)
    return computed(metric_inputs(scenario, result, None), _fail)
