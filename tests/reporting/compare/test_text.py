"""A comparison as text: widths, blocks, colors, hostile files."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_dsr1.findings import Finding
from pytest_dsr1.machine.values import Fingerprint
from pytest_dsr1.measurement.measurement import Measurement
from pytest_dsr1.metrics.catalogue import MetricValue, combine
from pytest_dsr1.reporting.compare.comparison import compare
from pytest_dsr1.reporting.compare.text import to_text
from tests.helpers.compared import PRESUMED, at
from tests.helpers.runner_commands import commands
from tests.helpers.values import measurement, records, scenario


def text(*measurements: Measurement, width: int = 80, color: bool = False) -> str:
    return to_text(compare(measurements, lambda _: PRESUMED), width, color=color)


def of(throughput: float, ttft: float, minute: int = 5) -> Measurement:
    figures = {"total_output_throughput": throughput, "average_ttft": ttft, "average_concurrency": 2.0}
    run = at(f"2026-11-23T20:{minute:02}:12")
    return replace(run, metrics=combine({}, figures))


def test_two_results() -> None:
    first = at("2026-11-23T20:05:12", driver="575", option__load__concurrency=1, hostname="a")
    second = at("2026-11-23T20:06:12", driver="580", option__load__concurrency=2, hostname="b", gpu__vboost=4)
    figures = {"total_output_throughput": 8.0, "average_ttft": 250.0, "total_latency": 1_234_567.0}
    others = {"total_output_throughput": 8.125, "average_ttft": 300.0, "average_concurrency": 2.0}
    first = replace(first, metrics=combine({}, figures))
    second = replace(
        second, metrics=combine({}, others), findings=(Finding("mismatch", "GPU 0", "it was shared"),)
    )
    assert text(first, second) == (
        "not comparable: concurrency is not the same: 1 in 20:05; 2 in 20:06\n"
        "\n"
        "20:05: small, 2026-11-23 20:05:12 UTC, engine transformers\n"
        "  small/2026-11-23T20:05:12\n"
        "20:06: small, 2026-11-23 20:06:12 UTC, engine transformers\n"
        "  small/2026-11-23T20:06:12\n"
        "  INVALID: GPU 0: it was shared\n"
        "\n"
        "                                            20:05  20:06\n"
        "total output throughput          tok/s          8  8.125  +1.6%\n"
        "total latency                       ms  1,234,567      -\n"
        "average time to first token (TTFT)  ms        250    300 +20.0%\n"
        "average concurrent requests   requests          -      2\n"
        "\n"
        "no metric of 20:06 is called better or worse: 20:06 is INVALID\n"
        "\n"
        "the scenario's options     20:05  20:06\n"
        "  option.load.concurrency  1      2\n"
        "\n"
        "machine and workload, which must be equal for a gate  20:05         20:06\n"
        "  gpu.vboost                                          not recorded  4\n"
        "\n"
        "software, which gates test  20:05  20:06\n"
        "  driver                    575    580\n"
        "\n"
        "facts that gates ignore  20:05  20:06\n"
        "  hostname               a      b\n"
    )


def blocks(shown: str) -> list[str]:
    return [
        part for part in shown.split("\n\n") if "total output throughput" in part and "noise:" not in part
    ]


@pytest.mark.parametrize(
    ("width", "headings"),
    [
        (80, [["20:05", "20:06"], ["20:05", "20:07"]]),
        (200, [["20:05", "20:06", "20:07"]]),
    ],
)
def test_three_results_go_on_below_where_they_do_not_fit(width: int, headings: list[list[str]]) -> None:
    shown = text(
        *(
            replace(at(f"2026-11-23T20:0{minute}:12"), metrics=combine({}, dict(figures)))
            for minute, figures in enumerate(
                (
                    {"total_output_throughput": 10_000.0, "per_user_output_speed": 81.25},
                    {"total_output_throughput": 9_000.0, "per_user_output_speed": 91.25},
                    {"total_output_throughput": 11_000.0, "per_user_output_speed": 81.25},
                ),
                5,
            )
        ),
        width=width,
    )
    found = blocks(shown)
    assert [block.splitlines()[0].split() for block in found] == headings
    assert max(map(len, shown.splitlines())) <= width
    rows = [line.split()[5:] for block in found for line in block.splitlines()[1:]]
    figures = [["-10.0%", "worse"], ["+12.3%", "better"], ["+10.0%", "better"], ["+0.0%", "noise"]]
    assert [part for part in figures if not any(" ".join(part) in " ".join(row) for row in rows)] == []


def test_columns_align() -> None:
    shown = text(of(8.0, 250.0), of(8_000.0, 0.25, 6), of(8.0, 26.0, 7), width=200)
    (block,) = blocks(shown)
    heading, *lines = block.splitlines()
    assert heading == f"{'20:05':>43}  {'20:06':<20}  20:07"
    ends = {"unit": set[int](), "first": set[int](), "second": set[int](), "change": set[int]()}
    for line, first, second in zip(lines, ("8", "250", "2"), ("8,000", "0.25", "2"), strict=True):
        row = re.fullmatch(rf".* (tok/s|ms|requests) +({first}) +({second}) (.{{7}}) (better|     |).*", line)
        assert row is not None, line
        for name, group in zip(ends, (1, 2, 3, 4), strict=True):
            ends[name].add(row.end(group))
    assert {name: len(found) for name, found in ends.items()} == dict.fromkeys(ends, 1)


HOSTILE = "\x1b]0;owned\x07\x1b[2J\u202e\r\n" + "W" * 10_000


def test_names_are_not_broken_where_a_line_has_room_for_them() -> None:
    first = at("2026-11-23T20:05:12", "b200-max-throughput-0528-fp8kv", option__load__concurrency=1)
    second = at("2026-11-23T20:05:12", "h200-min-latency", option__load__concurrency=2)
    assert text(first, second).startswith(
        "not comparable: concurrency is not the same: 1 in\n"
        "  b200-max-throughput-0528-fp8kv; 2 in h200-min-latency\n"
    )
    ((heading, *_),) = map(str.splitlines, blocks(text(first, second)))
    assert heading.split() == ["b200-max-", "h200-min-latency"]


@pytest.mark.parametrize("width", [80, 81, 200])
def test_no_line_is_a_command_to_a_ci_server_wherever_it_is_broken(width: int) -> None:
    hostile = "::error file=a,line=1::b ##[error]c ::debug::d"

    def run(minute: int) -> Measurement:
        facts: dict[str, Any] = {
            "::error file=e": f"{minute}",
            "##[error]f": f"{'##[group]' * 30}{minute}",
            **{f"library.a{room}": f"{'x' * room}::error::{minute}{'y' * 90}" for room in range(width)},
        }
        made = at(
            f"2026-11-23T20:0{minute}:12", gpu__name=f"{hostile} {minute}", driver=hostile * minute, **facts
        )
        return replace(
            made,
            findings=(Finding("mismatch", hostile, f"{'y ' * 30}{hostile}"),),
            folder=Path("##[error]g\n::error ::h"),
        )

    runs = run(5), run(6)
    plain_text = text(*runs, width=width)
    assert commands(plain_text) == []
    assert max(map(len, plain_text.splitlines())) <= width
    assert "\n  : :error file=e" in plain_text
    assert re.sub(r"\x1b\[\d+m", "", text(*runs, width=width, color=True)) == plain_text


@pytest.mark.parametrize("width", [80, 200])
@pytest.mark.parametrize("count", [2, 3, 9])
def test_no_line_is_longer_and_no_saved_text_moves_the_cursor(width: int, count: int) -> None:
    runs = [
        replace(
            measurement(Path("results")),
            scenario=scenario(name=("x" * 90 + "-slice-h200")[-(100 - number // 2) :]),
            started_utc=HOSTILE,
            fingerprint=Fingerprint(
                {
                    f"library.{HOSTILE}": f"{number}",
                    "driver": HOSTILE + str(number),
                    "option.engine.command": [HOSTILE, str(number)],
                    "model.content": f"{number}{HOSTILE}",
                }
            ),
            findings=(Finding("mismatch", HOSTILE, HOSTILE),),
            metrics={
                "total_latency": MetricValue(10.0 ** (number * 30 - 8), "report"),
                "per_user_output_speed": MetricValue(-999_999_999.0, "report"),
                **measurement(records=records()).metrics,
                "average_ttft": MetricValue(10.0 ** (8 - number), "report"),
            },
        )
        for number in range(count)
    ]
    shown = text(*runs, width=width)
    assert max(map(len, shown.splitlines())) <= width
    assert all(character.isprintable() for character in shown.replace("\n", ""))
    assert "\\x1b]0;owned\\x07\\x1b[2J\\u202e\\x0d\\x0a" in shown


def test_facts_that_do_not_fit_beside_each_other_stand_below_each_other() -> None:
    long = "/opt/" + "very-long-folder/" * 3
    first = at("2026-11-23T20:05:12", option__engine__ca_file=f"{long}a", option__engine__tp=8)
    second = at("2026-11-23T20:06:12", option__engine__ca_file=f"{long}b", option__engine__tp=8)
    assert (
        f"the scenario's options\n  option.engine.ca_file\n    20:05  {long}a\n    20:06  {long}b\n"
    ) in text(first, second)
    assert (
        f"the scenario's options   20:05{' ' * 54}20:06\n  option.engine.ca_file  {long}a  {long}b\n"
    ) in text(first, second, width=200)


def test_color_is_beside_the_text_and_in_no_way_part_of_it() -> None:
    first, second = (
        of(8.0, 250.0),
        of(9.0, 260.0, 6),
    )
    invalid = replace(second, findings=(Finding("mismatch", "GPU 0", "lost"),))
    colored = text(first, second, invalid, color=True)
    assert "\x1b[32mtotal" not in colored
    assert re.search(r"\x1b\[32m +9 +\+12\.5% better\x1b\[0m\n", colored)
    assert re.search(r"\x1b\[31m260 +\+4\.0% worse\x1b\[0m\n", colored)
    assert "\x1b[33m  INVALID: GPU 0: lost\x1b[0m\n" in colored
    assert re.sub(r"\x1b\[\d+m", "", colored) == text(first, second, invalid)


def test_no_metric_in_any_result() -> None:
    empty = replace(at("2026-11-23T20:05:12"), metrics={})
    shown = text(empty, empty)
    assert shown.count("INVALID: the engine reported no metric") == 2
    assert "noise" not in shown
