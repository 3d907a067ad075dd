"""What makes a measurement prove nothing."""

from dataclasses import replace
from typing import Any

import pytest

from pytest_dsr1.environment.values import Finding
from pytest_dsr1.measurement.metrics import MetricValue
from pytest_dsr1.verdict.validity import invalid_reasons
from tests.builders import measurement, records


def test_a_good_run_has_no_reason() -> None:
    assert invalid_reasons(measurement()) == ()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (
            {"findings": (Finding("mismatch", "GPU 5", "thermally throttled from 03:12 to 04:40"),)},
            "GPU 5: thermally throttled from 03:12 to 04:40",
        ),
        (
            {"records": (replace(records()[0], error="server said 500"), *records()[1:])},
            "1 of 4 requests failed, the first: server said 500",
        ),
        ({"records": records(3)}, "3 requests ended, 4 were asked for"),
        (
            {"metrics": {"average_ttft": MetricValue(float("nan"), "report")}},
            "not finite positive numbers: average_ttft",
        ),
        ({"metrics": {}}, "the engine reported no metric"),
    ],
)
def test_each_reason_is_said(changes: dict[str, Any], reason: str) -> None:
    assert invalid_reasons(measurement(**changes)) == (reason,)


def test_warnings_do_not_condemn_but_are_kept() -> None:
    run = measurement(findings=(Finding("warning", "GPU 0 persistence mode", "is off"),))
    assert invalid_reasons(run) == ()
    assert run.warnings == ("GPU 0 persistence mode: is off",)
