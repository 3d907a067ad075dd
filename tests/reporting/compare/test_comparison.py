"""Saved results compared: names, changes, noise, differences, warnings."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_dsr1.findings import Finding
from pytest_dsr1.machine.values import Fingerprint
from pytest_dsr1.measurement.measurement import Measurement
from pytest_dsr1.metrics.catalogue import MetricValue, combine
from pytest_dsr1.reporting.compare.comparison import Change, Comparison, Difference, Row, compare
from pytest_dsr1.verdict.targets import Noise
from tests.helpers.compared import PRESUMED, at
from tests.helpers.values import measurement, records, scenario

BAND_PERCENT = 2 * math.sqrt(2)


def compared(*measurements: Measurement, noise: Noise = PRESUMED) -> Comparison:
    return compare(measurements, lambda _: noise)


def row(comparison: Comparison, name: str) -> Row:
    (found,) = (row for row in comparison.rows if row.metric.name == name)
    return found


def of(value: float) -> Measurement:
    return measurement(metrics={"total_output_throughput": MetricValue(value, "records")})


@pytest.mark.parametrize(
    ("runs", "names"),
    [
        (
            [("2026-11-23T20:05:12", "a"), ("2026-11-23T20:05:12", "b")],
            ["a", "b"],
        ),
        (
            [("2026-11-23T20:05:12", "a"), ("2026-11-23T20:06:12", "a")],
            ["20:05", "20:06"],
        ),
        (
            [("2026-11-23T20:05:12", "a"), ("2026-11-23T20:05:13", "a"), ("2026-11-23T21:05:13", "a")],
            ["20:05:12", "20:05:13", "21:05:13"],
        ),
        (
            [("2026-11-23T20:05:12", "a"), ("2026-11-24T20:05:12", "a")],
            ["2026-11-23", "2026-11-24"],
        ),
        (
            [("2026-11-23T20:05:12", "a"), ("2026-11-24T20:05:12", "a"), ("2026-11-24T20:06:12", "a")],
            ["2026-11-23 20:05", "2026-11-24 20:05", "2026-11-24 20:06"],
        ),
        (
            [("2026-11-23T20:05:12", "a"), ("2026-11-24T20:05:12", "a"), ("2026-11-24T20:05:13", "a")],
            ["2026-11-23 20:05:12", "2026-11-24 20:05:12", "2026-11-24 20:05:13"],
        ),
        (
            [("2026-11-23T20:05:12", "a"), ("2026-11-23T20:05:12", "b"), ("2026-11-23T20:06:12", "b")],
            ["a 20:05", "b 20:05", "b 20:06"],
        ),
        (
            [("2026-11-23T20:05:12", "a"), ("2026-11-23T20:05:13", "a"), ("2026-11-23T20:05:12", "a")],
            ["20:05:12 (1)", "20:05:13", "20:05:12 (3)"],
        ),
    ],
)
def test_the_shortest_names_that_tell_them_apart(runs: list[tuple[str, str]], names: list[str]) -> None:
    assert [result.name for result in compared(*(at(*run) for run in runs)).results] == names


def test_what_is_told_of_a_result() -> None:
    broken = replace(at("2026-11-24T09:00:00"), findings=(Finding("mismatch", "GPU 0", "lost\x1b[2J"),))
    first, second = compared(at("2026-11-23T20:05:12"), broken).results
    assert (first.profile, first.started_utc, first.engine) == (
        "small",
        "2026-11-23 20:05:12",
        "transformers",
    )
    assert (first.folder, first.invalid) == (Path("small/2026-11-23T20:05:12"), "")
    assert second.invalid == "GPU 0: lost\\x1b[2J"


def test_values_and_changes_against_the_first() -> None:
    slow = measurement(metrics=combine({}, {"total_output_throughput": 6.0, "average_ttft": 500.0}))
    same = measurement(metrics=combine({}, {"total_output_throughput": 8.125, "average_concurrency": 4.0}))
    comparison = compared(measurement(), slow, same)
    throughput = row(comparison, "total_output_throughput")
    assert throughput.values == (8.0, 6.0, 8.125)
    assert throughput.changes == (None, Change(-25.0, "worse"), Change(1.5625, "noise?"))
    ttft = row(comparison, "average_ttft")
    assert ttft.values == (250.0, 500.0, None)
    assert ttft.changes == (None, Change(100.0, "worse"), None)
    assert row(comparison, "average_concurrency").changes == (None, None, Change(100.0, ""))
    first, second, *_ = compared(slow, measurement()).rows
    assert (first.metric.name, second.metric.name) == ("total_output_throughput", "total_token_throughput")
    assert row(compared(slow, measurement()), "average_ttft").changes[1] == Change(-50.0, "better")


def test_a_metric_that_no_result_has_is_left_out() -> None:
    streaming, not_streaming = measurement(), measurement(records=records(streaming=False))
    assert "average_ttft" in [row.metric.name for row in compared(not_streaming, streaming).rows]
    assert "average_ttft" not in [row.metric.name for row in compared(not_streaming, not_streaming).rows]


@pytest.mark.parametrize("bad", [0.0, -1.0, math.inf, math.nan])
def test_no_change_of_what_is_no_figure(bad: float) -> None:
    assert compared(of(bad), of(1.0)).rows[0].changes == (None, None)
    assert compared(of(1.0), of(bad)).rows[0].changes == (None, None)


@given(st.floats(-2 * BAND_PERCENT, 2 * BAND_PERCENT), st.floats(1e-6, 1e9))
def test_noise_is_so_both_ways(log_percent: float, value: float) -> None:
    other = value * math.exp(log_percent / 100)
    there, back = (
        compared(of(one), of(two)).rows[0].changes[1] for one, two in ((value, other), (other, value))
    )
    assert there is not None
    assert back is not None
    if math.isclose(abs(log_percent), BAND_PERCENT, rel_tol=1e-9):
        return
    if abs(log_percent) < BAND_PERCENT:
        assert there.sense == back.sense == "noise?"
    else:
        assert {there.sense, back.sense} == {"better", "worse"}
        assert (there.sense == "better") == (log_percent > 0)


def sense(comparison: Comparison, name: str, index: int = 1) -> str:
    change = row(comparison, name).changes[index]
    assert change is not None
    return change.sense


def senses(comparison: Comparison, index: int) -> set[str]:
    """Everything that changes of one result are called."""
    return {change.sense for row in comparison.rows if (change := row.changes[index])}


def test_nothing_is_better_or_worse_of_what_is_invalid_or_not_comparable() -> None:
    slow = records(latency_s=2.0)
    first = at("2026-11-23T20:05:12", option__load__concurrency=64)
    invalid = replace(
        at("2026-11-23T20:06:12", option__load__concurrency=64, ended=slow),
        findings=(Finding("mismatch", "GPU 0", "lost"),),
    )
    other = at("2026-11-23T20:07:12", option__load__concurrency=128, ended=slow)
    good = at("2026-11-23T20:08:12", option__load__concurrency=64, ended=slow)
    comparison = compared(first, invalid, other, good)
    assert [senses(comparison, index) for index in (1, 2, 3)] == [{""}, {""}, {"worse", "noise?", ""}]
    assert [row.changes[1] for row in comparison.rows] == [row.changes[2] for row in comparison.rows]
    assert comparison.notes == (
        "no metric of 20:06 is called better or worse: 20:06 is INVALID",
        "no metric of 20:07 is called better or worse: not comparable with 20:05",
        *compared(first, good).notes,
    )
    assert [row.changes[3] for row in comparison.rows] == [
        row.changes[1] for row in compared(first, good).rows
    ]
    assert compared(first, other).notes == (
        "no metric of 20:07 is called better or worse: not comparable with 20:05",
    )
    assert senses(compared(invalid, good), 1) == {""}
    assert compared(invalid, good, other).notes == (
        "no metric of 20:08, 20:07 is called better or worse: 20:06 is INVALID",
    )


def test_total_latency_is_better_or_worse_only_of_as_many_requests() -> None:
    def run(minute: int, count: int) -> Measurement:
        """That many of the same requests, later ones slower by a fifth."""
        ended = records(count, latency_s=1.0 if minute == 5 else 1.2)
        made = at(f"2026-11-23T20:0{minute}:12", ended=ended)
        return replace(made, workload=replace(made.workload, requests=count))

    few, as_few, many = run(5, 4), run(6, 4), run(7, 8)
    comparison = compared(few, as_few, many)
    assert sense(comparison, "total_latency") == "worse"
    assert sense(comparison, "total_latency", 2) == ""
    assert sense(comparison, "average_request_latency", 2) == "worse"
    assert comparison.notes[0] == (
        "total latency is not called better or worse: the number of requests differs: "
        "4 in 20:05, 20:06; 8 in 20:07"
    )
    assert compared(few, as_few).notes == compared(few, few).notes


@pytest.mark.parametrize(
    ("percent", "text"),
    [
        (-25.04, "-25.0%"),
        (0.0, "+0.0%"),
        (999.9, "+999.9%"),
        (1000.0, "x 11"),
        (402_700.0, "x 4,028"),
        (1e20, "x 1e+18"),
    ],
)
def test_a_change_as_text(percent: float, text: str) -> None:
    assert Change(percent, "").text == text


def test_whose_noise_it_is() -> None:
    assert compared(measurement(), measurement()).notes == (
        "changes within 2.8% may be noise: two runs could differ this much by chance (2 * sqrt(2) * 1%, "
        "presumed by gate.presumed_noise_percent)",
    )
    references = Noise(0.21, 16)
    comparison = compare(
        [measurement(), measurement()],
        lambda metric: references if metric == "total_output_throughput" else PRESUMED,
    )
    assert row(comparison, "total_output_throughput").noise == references
    assert comparison.notes[1:] == (
        "changes of total output throughput within 0.59% are noise: two runs differ this much by chance "
        "(2 * sqrt(2) * 0.21%, from 16 accepted references)",
    )


def test_what_differs_between_three() -> None:
    first = at("2026-11-23T20:05:12", driver="575", option__load__num_requests=10, hostname="a\x1b")
    gpus: dict[str, Any] = {
        "gpu__uuids": ["GPU-a", "GPU-b"],
        "container__image": None,
        "gpu__power_limit_w": ["700.0", "650.0"],
    }
    comparison = compared(
        first,
        at("2026-11-23T20:06:12", driver="575", option__load__num_requests=20, hostname="a\x1b", **gpus),
        at("2026-11-23T20:07:12", driver="ab" * 32, option__load__num_requests=10, hostname="x" * 10_000),
    )
    assert comparison.options == (Difference("option.load.num_requests", "shown", ("10", "20", "10")),)
    assert comparison.facts == (
        Difference("driver", "under test", ("575", "575", "abababababab...")),
        Difference("gpu.power_limit_w", "fixed", ("not recorded", "[700.0, 650.0]", "not recorded")),
        Difference("gpu.uuids", "fixed", ("not recorded", "gpu-95a932d6", "not recorded")),
        Difference("hostname", "shown", ("a\\x1b", "a\\x1b", "x" * 297 + "...")),
    )


def test_the_first_scenario_says_what_is_under_test() -> None:
    moved = scenario(gate={"under_test": {"driver": False}})
    first = replace(at("2026-11-23T20:05:12", driver="575"), scenario=moved)
    second = at("2026-11-23T20:06:12", driver="580")
    assert [one.role for one in compared(first, second).facts] == ["fixed"]
    assert [one.role for one in compared(second, first).facts] == ["under test"]


def test_nothing_differs() -> None:
    comparison = compared(at("2026-11-23T20:05:12"), at("2026-11-23T20:06:12"))
    assert (comparison.warnings, comparison.options, comparison.facts) == ((), (), ())


def test_forced_and_natural_acceptance_are_not_comparable() -> None:
    key = "option.speculation.acceptance_length"
    natural = measurement(scenario=scenario(name="natural"))
    facts = Fingerprint({**natural.fingerprint.facts, key: 2.4})
    speculation = {"acceptance_length": 2.4}
    forced = measurement(scenario=scenario(name="forced", speculation=speculation), fingerprint=facts)
    forced = replace(forced, metrics={**forced.metrics, "acceptance_length": MetricValue(2.4, "report")})
    comparison = compared(natural, forced)
    assert comparison.warnings == (
        "the forced acceptance length is not the same: not recorded in natural; 2.4 in forced",
    )
    assert [result.engine for result in comparison.results] == [
        "transformers",
        "transformers, acceptance length 2.4 forced",
    ]
    assert [(one.key, one.role) for one in comparison.options] == [(key, "fixed")]
