"""The input of the metrics; tests/metrics/ has more of it."""

from __future__ import annotations

from pytest_dsr1.measurement.inputs import metric_inputs
from tests.helpers.values import measurement, scenario


def test_a_load_without_a_limit_has_no_steady_window() -> None:
    result = measurement().result
    inputs = metric_inputs(scenario(load={"concurrency": "all", "num_requests": 4}), result, None)
    assert inputs.concurrency is None
    assert metric_inputs(scenario(), result, None).concurrency == 2
