"""The points of a sweep on the terminal."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pytest_dsr1.findings import Finding
from pytest_dsr1.reporting.terminal.overview import overview
from pytest_dsr1.reporting.terminal.sweep_table import sweep_table
from pytest_dsr1.verdict.verdict import Status
from tests.helpers.values import case, missed, point, verdict

ONE, FOUR = point("concurrency-1", 160.0, 158.0), point("concurrency-4", 110.0, 440.5)


def test_a_line_for_each_point() -> None:
    bad = point("concurrency-16", 61.0, 975.0, status=Status.FAIL, verdicts=(verdict(10.0),))
    without = point("concurrency-32", 0.0, 0.0, status=None, measurement=None, verdicts=())
    assert [line for line, _ in sweep_table([ONE, bad, without], 80)] == [
        "  point           verdict      worst  tok/s  tok/s/user",
        "  concurrency-1   PASS         +0.0%    158         160",
        "  concurrency-16  FAIL        -20.0%    975          61",
        "  concurrency-32  not judged       -      -           -",
    ]
    assert [of for _, of in sweep_table([ONE, bad], 80)] == [None, ONE, bad]


@pytest.mark.parametrize(
    ("width", "heading"),
    [
        (50, "  point          verdict  worst  tok/s  tok/s/user"),
        (49, "  point          verdict  worst  tok/s"),
        (20, "  point          verdict  worst"),
    ],
)
def test_what_does_not_fit_is_left_out(width: int, heading: str) -> None:
    (first, _), *_ = sweep_table([ONE, FOUR], width)
    assert first == heading


def lines(*cases_: object, width: int = 100) -> list[str]:
    return [text for text, _ in overview(list(cases_), width, {})]  # type: ignore[arg-type]


def test_good_points_are_a_line_and_others_are_shown_in_full() -> None:
    run = FOUR.run.measurement
    assert run is not None
    warned = replace(run, findings=(Finding("warning", "GPU 3", "is warm"),))
    four = replace(FOUR, run=replace(FOUR.run, measurement=warned))
    bad = point("concurrency-16", 61.0, 975.0, status=Status.INVALID, problem="the engine died", verdicts=())
    shown = lines(ONE, four, bad, case("other"))
    assert shown[0] == "swept, 3 points  (CPU, engine transformers)"
    assert shown[5:10] == [
        "  warning concurrency-4: GPU 3: is warm",
        "  results .dsr1/swept.*",
        "",
        "swept.concurrency-16  (CPU, engine transformers)",
        "  INVALID the engine died",
    ]
    assert not any(line.startswith("swept.concurrency-1 ") for line in shown)
    assert shown.index("other  (CPU, engine transformers)") > shown.index("  results .dsr1/swept.*")


def test_points_of_two_sweeps_are_two_tables() -> None:
    shown = lines(ONE, point("concurrency-1", 1.0, 2.0, sweep="two"), FOUR)
    assert [line for line in shown if "point" in line] == [
        "swept, 2 points  (CPU, engine transformers)",
        "  point          verdict  worst  tok/s  tok/s/user",
        "two, 1 point  (CPU, engine transformers)",
        "  point          verdict  worst  tok/s  tok/s/user",
    ]


def test_the_verdict_on_a_curve_says_where() -> None:
    found = replace(verdict(), place="50 tok/s/user")
    curve = missed("swept", verdicts=(found,), measurement=None, status=Status.PASS)
    (row,) = (line for line in lines(curve) if "PASS" in line)
    assert "total output throughput at 50 tok/s/user " in row
