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


def test_a_run_that_was_stopped_on_purpose_is_valid() -> None:
    run = measurement(records=records(3))
    assert invalid_reasons(replace(run, result=replace(run.result, stopped=True))) == ()


def test_a_run_that_was_stopped_still_fails_by_its_requests() -> None:
    run = measurement(records=(replace(records()[0], error="server said 500"), records()[1]))
    stopped = replace(run, result=replace(run.result, stopped=True))
    assert invalid_reasons(stopped) == ("1 of 2 requests failed, the first: server said 500",)


def test_a_workload_that_was_cut_is_asked_for_no_more() -> None:
    run = measurement(records=records(2))
    cut = replace(run, workload=replace(run.workload, requests=2))
    assert invalid_reasons(cut) == ()
    lost = replace(cut, result=replace(run.result, records=records(1)))
    assert invalid_reasons(lost) == ("1 requests ended, 2 were asked for",)


def test_warnings_do_not_condemn_but_are_kept() -> None:
    run = measurement(findings=(Finding("warning", "GPU 0 persistence mode", "is off"),))
    assert invalid_reasons(run) == ()
    assert run.warnings == ("GPU 0 persistence mode: is off",)
