# ruff: noqa: E501  (messages stand whole)
"""A sweep in pytest: the tests of its points and of its curve, in one run and from saved results."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.helpers.suites import Suites

ENGINE = """\
import os
from unittest import mock

import pytest
from tests.standins.scripted_engine import ScriptedEngine


class Crowded(ScriptedEngine):
    '''The latency grows with the square root of the concurrency: 8 tok/s with one user, 16 with 4.'''

    def run(self, job, observer):
        latency_s = 0.5 * job.scenario.load.at_once ** 0.5
        with mock.patch.dict(os.environ, {"SCRIPTED_LATENCY_S": str(latency_s)}):
            return super().run(job, observer)


@pytest.fixture(scope="session")
def dsr1_engine(dsr1_scenario):
    return Crowded()
"""
SWEEP = """\
sweep: {load.concurrency: [1, 4, 16]}
frontier:
- {metric: total_output_throughput, of: per_user_output_throughput, at: 6, value: 10}
- {metric: total_output_throughput, of: per_user_output_throughput, at: 4, value: 16, note: a paper}
"""
TARGETS = """\
targets:
  - metric: total_output_throughput
    value: 8
    at: {load.concurrency: 1}
  - metric: average_ttft
    value: 250
    at: {load.concurrency: 4}
  - metric: total_output_throughput
    value: 16
    at: {load.concurrency: 4}
"""
USERS = (1, 4, 16)
CURVE = [
    "own/ladder.yaml::frontier[total_output_throughput-at-6]",
    "own/ladder.yaml::frontier[total_output_throughput-at-4]",
]


@pytest.fixture
def ladder(suites: Suites) -> Suites:
    """A profile ``ladder`` of three points; the first and the second have targets."""
    suites.pytester.makeconftest(ENGINE)
    write(suites, "ladder", SWEEP)
    return suites


def write(suites: Suites, name: str, sweep: str, targets: str = TARGETS) -> Path:
    path = suites.write(name)
    text = path.read_text(encoding="utf-8").replace("num_requests: 8", "num_requests: 8 x load.concurrency")
    text = text[: text.index("targets:")] + targets + sweep
    path.write_text(text, encoding="utf-8")
    return path


def ids(result: pytest.RunResult) -> list[str]:
    return [line for line in result.outlines if "::" in line and not line.startswith("dsr1:")]


def of_points(name: str = "ladder") -> list[str]:
    return [
        f"own/{name}.yaml::environment[concurrency-1]",
        f"own/{name}.yaml::target[concurrency-1-total_output_throughput]",
        f"own/{name}.yaml::environment[concurrency-4]",
        f"own/{name}.yaml::target[concurrency-4-total_output_throughput]",
        f"own/{name}.yaml::target[concurrency-4-average_ttft]",
        f"own/{name}.yaml::environment[concurrency-16]",
        f"own/{name}.yaml::measured[concurrency-16]",
    ]


def collected(suites: Suites, *arguments: str) -> list[str]:
    return ids(suites.run("--collect-only", "-q", *arguments))


def names(suites: Suites) -> list[str]:
    return sorted(path.name for path in (suites.pytester.path / ".dsr1").iterdir())


def result_of(suites: Suites, users: int) -> Path:
    (found,) = (suites.pytester.path / ".dsr1" / f"ladder.concurrency-{users}").iterdir()
    return found


def said(result: pytest.RunResult) -> str:
    return " ".join(result.stdout.str().split())


# Collection


def test_each_point_has_its_own_tests_and_the_curve_is_last(ladder: Suites) -> None:
    assert sorted(collected(ladder, "--dsr1-profile=ladder")) == sorted([*of_points(), *CURVE])
    found = collected(ladder, "--dsr1-profile=ladder")
    assert found[-2:] == CURVE
    points = [test.partition("concurrency-")[2].split("]")[0].split("-")[0] for test in found[:-2]]
    assert points == ["1", "1", "4", "4", "4", "16", "16"]
    assert [test for test in found if "environment" in test] == [t for t in of_points() if "environment" in t]
    assert ladder.engine_runs == []


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("concurrency-4 and ttft", of_points()[4:5]),
        ("concurrency-16", of_points()[5:]),
        ("frontier", CURVE),
        ("not frontier and not environment and not concurrency-1", of_points()[3:5]),
        ("ladder and measured", of_points()[6:]),
    ],
)
def test_points_are_chosen_by_keyword(ladder: Suites, words: str, expected: list[str]) -> None:
    assert sorted(collected(ladder, "--dsr1-profile=ladder", "-k", words)) == sorted(expected)


def test_a_test_of_a_point_is_chosen_by_its_id(ladder: Suites) -> None:
    assert collected(ladder, of_points()[1], CURVE[0]) == [of_points()[1], CURVE[0]]


def test_two_sweeps_run_one_after_the_other(ladder: Suites) -> None:
    write(ladder, "other", SWEEP)
    ladder.run("--dsr1-profile=ladder,other")
    assert ladder.engine_runs == [
        f"{name}.concurrency-{users}" for name in ("ladder", "other") for users in USERS
    ]
    found = collected(ladder, "--dsr1-profile=ladder,other")
    assert found[-4:] == [*CURVE, *(test.replace("ladder", "other") for test in CURVE)]


def test_two_figures_in_one_place_have_names_of_their_own(ladder: Suites) -> None:
    curve = [
        f"- {{metric: total_output_throughput, of: {of}, at: {at}, value: 5}}\n"
        for of, at in (
            ("per_user_output_throughput", 6),
            ("average_ttft", 6),
            ("average_ttft", 1000000),
            ("average_ttft", 1000000.5),
        )
    ]
    write(ladder, "ladder", f"sweep: {{load.concurrency: [1]}}\nfrontier:\n{''.join(curve)}", "")
    assert collected(ladder, "--dsr1-profile=ladder", "-k", "frontier") == [
        f"own/ladder.yaml::frontier[total_output_throughput-at-{place}]"
        for place in ("6-per_user_output_throughput", "6-average_ttft", "1000000", "1000000.5")
    ]


def test_a_gate_is_collected_for_each_point(ladder: Suites) -> None:
    found = collected(ladder, "--dsr1-profile=ladder", "--dsr1-gate", "-k", "regression")
    assert found == [
        "own/ladder.yaml::regression[concurrency-1-total_output_throughput]",
        "own/ladder.yaml::regression[concurrency-4-average_ttft]",
        "own/ladder.yaml::regression[concurrency-16]",
    ]


def test_a_sweep_from_the_command_line(suites: Suites) -> None:
    result = suites.run("--dsr1-profile=alpha", "--dsr1-sweep=load.concurrency=2, 4", "-v")
    assert result.ret == 0
    result.assert_outcomes(passed=6)
    assert suites.engine_runs == ["alpha.concurrency-2", "alpha.concurrency-4"]
    assert names(suites) == ["alpha", "alpha.concurrency-2", "alpha.concurrency-4"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--dsr1-sweep=load.concurrency=1,4",),
            "ERROR: --dsr1-sweep needs a scenario, but none is selected: add --dsr1-profile=NAME",
        ),
        (
            ("--dsr1-profile=ladder", "-o", "dsr1_max_points=2"),
            "*own/ladder.yaml:*: sweep: 3 points, expected at most 2: leave some out, or set the ini option "
            "dsr1_max_points = 3",
        ),
        (
            ("--dsr1-profile=ladder", "-o", "dsr1_max_points=0"),
            "ERROR: ini option dsr1_max_points: expected a whole number of at least 1, found '0'",
        ),
        (
            ("--dsr1-profile=ladder", "-o", "dsr1_max_points=many"),
            "ERROR: ini option dsr1_max_points: expected a whole number of at least 1, found 'many'",
        ),
        (
            ("--dsr1-profile=ladder", "--dsr1-sweep=load.concurrency=1,4"),
            "*--dsr1-sweep load.concurrency=1,4: load.concurrency: the scenario is a sweep already; add "
            "--dsr1-set sweep=null to sweep something else",
        ),
        (
            ("--dsr1-profile=ladder,ladder.concurrency-4",),
            "*own/ladder.concurrency-4.yaml: has the same name as *own/ladder.yaml, ladder.concurrency-4; *",
        ),
    ],
)
def test_usage_errors(ladder: Suites, arguments: Sequence[str], message: str) -> None:
    ladder.write("ladder.concurrency-4")
    result = ladder.run(*arguments)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([message])
    assert "Traceback" not in result.stderr.str()


def test_a_point_is_chosen_by_its_name(ladder: Suites) -> None:
    found = collected(ladder, "--dsr1-profile=ladder.concurrency-4")
    assert sorted(found) == sorted(of_points()[2:5])
    result = ladder.run("--dsr1-profile=ladder.concurrency-16,ladder.concurrency-4")
    assert result.ret == 0, "two points chosen by name are not the curve"
    result.assert_outcomes(passed=5)
    assert ladder.engine_runs == ["ladder.concurrency-4", "ladder.concurrency-16"]


def test_a_limit_of_points_can_be_raised(ladder: Suites) -> None:
    assert len(collected(ladder, "--dsr1-profile=ladder", "-o", "dsr1_max_points=3")) == 9


def test_a_sweep_of_all_scenarios_is_listed(suites: Suites) -> None:
    """Sweeps that ship are shown as they are: nobody chose them."""
    listed = suites.run("--dsr1-list", "--dsr1-sweep=load.concurrency=1,4")
    assert listed.ret == 0
    lines = [line.strip() for line in listed.outlines]
    assert lines[lines.index("alpha") + 3] == "2 points: concurrency-1, concurrency-4"
    assert lines[lines.index("b200-mtp-depth") + 3].startswith("8 points: ")
    assert "concurrency-1" not in lines[lines.index("b200-mtp-depth") + 3]
    chosen = suites.run("--dsr1-list", "--dsr1-profile=b200-mtp-depth", "--dsr1-sweep=load.concurrency=1,4")
    assert chosen.ret == 4
    wrong = suites.run("--dsr1-list", "--dsr1-sweep=load.concurency=1,4")
    assert wrong.ret == 4


def test_list_and_plan_show_each_point(ladder: Suites) -> None:
    listed = ladder.run("--dsr1-list", "--dsr1-profile=ladder")
    assert listed.ret == 0
    shown = [line.strip() for line in listed.outlines]
    assert shown[0] == "ladder"
    assert "3 points: concurrency-1, concurrency-4, concurrency-16" in shown
    planned = ladder.run("--dsr1-plan", "--dsr1-profile=ladder")
    assert planned.ret == 0
    text = planned.stdout.str()
    places = [text.index(f"ladder.concurrency-{users}") for users in USERS]
    assert places == sorted(places)
    broken = ladder.run("--dsr1-plan", "--dsr1-profile=ladder", "--dsr1-set=load.warmup_requests=x")
    assert broken.ret == pytest.ExitCode.USAGE_ERROR
    assert broken.stderr.str().count("expected a whole number") == 1


# Verdicts


def test_a_sweep_that_reaches_everything(ladder: Suites) -> None:
    """With one user 8 tok/s, with four 4 tok/s each; at 6 tok/s each it is 64 / 6 tok/s."""
    result = ladder.run("--dsr1-profile=ladder")
    assert result.ret == 0
    result.assert_outcomes(passed=9)
    assert ladder.engine_runs == [f"ladder.concurrency-{users}" for users in USERS]
    assert names(ladder) == ["ladder", *sorted(f"ladder.concurrency-{users}" for users in USERS)]
    documents = [
        json.loads((result_of(ladder, users) / "measurement.json").read_text(encoding="utf-8"))
        for users in USERS
    ]
    scenarios = [document["measurement"]["scenario"] for document in documents]
    assert [each["load"]["num_requests"] for each in scenarios] == [8, 32, 128]
    assert [each["dataset"]["seed"] for each in scenarios] == [52207893, 33700514, 76620044]
    assert [each["point"]["label"] for each in scenarios] == [f"concurrency-{users}" for users in USERS]


def test_a_curve_that_misses_its_figure_fails(ladder: Suites) -> None:
    result = ladder.run("--dsr1-profile=ladder", "--dsr1-set=frontier.0.value=20")
    assert result.ret == 1
    result.assert_outcomes(passed=8, failed=1)
    result.stdout.fnmatch_lines(
        [
            "total output throughput at 6 tok/s/user (between concurrency-4 and concurrency-1) 10.67 tok/s is "
            "46.7% below the target 20 (tolerance 5%: at least 19 tok/s)",
            "own/ladder.yaml:*",
        ]
    )
    assert "Traceback" not in result.stdout.str()


def test_a_figure_exactly_at_a_point(ladder: Suites) -> None:
    result = ladder.run(
        "--dsr1-profile=ladder", "--dsr1-set=frontier.1.value=32", "-k", "frontier or measured or target"
    )
    assert result.ret == 1
    assert "total output throughput at 4 tok/s/user (point concurrency-4) 16 tok/s is 50.0% below" in said(
        result
    )


def test_beyond_the_curve_nothing_is_judged(ladder: Suites) -> None:
    result = ladder.run("--dsr1-profile=ladder", "--dsr1-set=frontier.0.at=9")
    assert result.ret == 10
    result.assert_outcomes(passed=8, errors=1)
    result.stdout.fnmatch_lines(
        [
            "ladder: total output throughput at 9 tok/s/user was not measured: the curve runs from 2 "
            "(concurrency-16) to 8 tok/s/user (concurrency-1), and nothing is judged beyond it; add a point with "
            "a higher per-user output throughput",
            "own/ladder.yaml:*",
        ]
    )


def test_an_invalid_point_costs_no_other_point_and_the_curve_names_it(
    ladder: Suites, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCRIPTED_FAIL", "request")
    monkeypatch.setenv("SCRIPTED_FAIL_RUNS", "2")
    missed = ("--dsr1-set=frontier.1.value=64",)
    result = ladder.run("--dsr1-profile=ladder")
    assert result.ret == 10
    result.assert_outcomes(passed=7, errors=2)
    assert len(ladder.engine_runs) == 3
    (ladder.pytester.path / "engine-runs.txt").unlink()
    failed = ladder.run("--dsr1-profile=ladder", *missed)
    assert failed.ret == 1
    assert (
        "the target 64 (tolerance 5%: at least 60.8 tok/s); points without a result: concurrency-4 (is INVALID)"
    ) in said(failed)


def test_a_first_point_that_is_invalid_leaves_a_shorter_curve(
    ladder: Suites, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCRIPTED_FAIL", "engine")
    monkeypatch.setenv("SCRIPTED_FAIL_RUNS", "1")
    result = ladder.run("--dsr1-profile=ladder")
    assert result.ret == 10
    result.assert_outcomes(passed=7, errors=2)
    assert (
        "add a point with a higher per-user output throughput; points without a result: concurrency-1 (is INVALID)"
    ) in said(result)


def test_the_curve_alone_has_no_points(ladder: Suites) -> None:
    result = ladder.run("--dsr1-profile=ladder", "-k", "frontier")
    assert result.ret == 10
    result.assert_outcomes(errors=2, deselected=7)
    missing = ", ".join(f"concurrency-{users} (was not run)" for users in USERS)
    assert f"points without a result: {missing}" in said(result)
    assert (
        "no test that measures a point of the sweep is selected: add them, such as with -k 'frontier or target or "
        "measured'; with --dsr1-resume, finished points are not run again"
    ) in said(result)
    assert ladder.engine_runs == []


def test_a_curve_with_what_it_asks_for(ladder: Suites) -> None:
    """As its message says, also if a sweep has made the points before."""
    words = ("-k", "frontier or target or measured")
    first = ladder.run("--dsr1-profile=ladder", *words)
    runs = ladder.engine_runs
    assert len(runs) == len(USERS)
    assert "no test that measures a point" not in said(first)
    again = ladder.run("--dsr1-profile=ladder", "--dsr1-resume", *words)
    assert again.ret == first.ret
    assert ladder.engine_runs == runs


def test_a_point_without_the_metric_is_no_part_of_the_curve(
    ladder: Suites, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCRIPTED_FAIL", "streaming")
    monkeypatch.setenv("SCRIPTED_FAIL_RUNS", "3")
    ttft = ("--dsr1-set=frontier.0.of=average_ttft", "--dsr1-set=frontier.0.at=9000")
    result = ladder.run("--dsr1-profile=ladder", *ttft)
    assert result.ret == 10
    assert (
        "points without a result: concurrency-16 (average time to first token (TTFT) was not measured)"
        in said(result)
    )


def test_junit_names_the_sweep_and_its_points(ladder: Suites) -> None:
    ladder.run("--dsr1-profile=ladder", "--junitxml=junit.xml", "--dsr1-set=frontier.0.value=20")
    cases = {
        str(case.get("name")): {p.get("name"): p.get("value") for p in case.iter("property")}
        for case in ET.parse(ladder.pytester.path / "junit.xml").getroot().iter("testcase")
    }
    verdicts = {name: (each["dsr1_profile"], each["dsr1_verdict"]) for name, each in cases.items()}
    assert verdicts == {
        **{f"environment[concurrency-{users}]": (f"ladder.concurrency-{users}", "PASS") for users in USERS},
        "target[concurrency-1-total_output_throughput]": ("ladder.concurrency-1", "PASS"),
        "target[concurrency-4-total_output_throughput]": ("ladder.concurrency-4", "PASS"),
        "target[concurrency-4-average_ttft]": ("ladder.concurrency-4", "PASS"),
        "measured[concurrency-16]": ("ladder.concurrency-16", "MEASURED"),
        "frontier[total_output_throughput-at-6]": ("ladder", "FAIL"),
        "frontier[total_output_throughput-at-4]": ("ladder", "PASS"),
    }


# Replay


@pytest.mark.parametrize("given", [["ladder.*"], ["*"], [".dsr1/ladder*/*"], ["folders"]])
def test_a_sweep_is_judged_again(ladder: Suites, given: list[str]) -> None:
    ladder.run("--dsr1-profile=ladder")
    if given == ["folders"]:
        given = [str(result_of(ladder, users)) for users in USERS]
    options = [f"--dsr1-replay={name}" for name in given]
    again = ladder.run(*options, "-v")
    assert again.ret == 0
    again.assert_outcomes(passed=9)
    lines = [line.split()[0] for line in again.outlines if "PASSED" in line]
    assert lines[-2:] == CURVE
    points = [line for line in again.outlines if line.startswith("  concurrency-")]
    assert [line.split()[0] for line in points] == [f"concurrency-{users}" for users in USERS]
    strict = ladder.run(*options, "--dsr1-set=frontier.1.value=20")
    assert strict.ret == 1
    strict.assert_outcomes(passed=8, failed=1)
    assert len(ladder.engine_runs) == 3


def test_a_replay_of_one_point_has_a_curve_of_one_point(ladder: Suites) -> None:
    ladder.run("--dsr1-profile=ladder")
    again = ladder.run("--dsr1-replay=ladder.concurrency-4")
    assert again.ret == 10
    again.assert_outcomes(passed=4, errors=1)
    assert "the curve runs from 4 (concurrency-4) to 4 tok/s/user (concurrency-4)" in said(again)
    alone = ladder.run("--dsr1-replay=ladder.concurrency-4", "-k", "not frontier")
    assert alone.ret == 0


def test_the_name_of_a_sweep_means_no_result(ladder: Suites) -> None:
    ladder.run("--dsr1-profile=ladder")
    result = ladder.run("--dsr1-replay=ladder")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["ERROR: */.dsr1/ladder: contains no complete result; give the points of this sweep: 'ladder.[*]'"]
    )


def test_a_replay_with_the_profile_uses_todays_figures(ladder: Suites) -> None:
    ladder.run("--dsr1-profile=ladder")
    write(ladder, "ladder", SWEEP.replace("value: 10", "value: 20"))
    assert ladder.run("--dsr1-replay=ladder.*").ret == 0
    again = ladder.run("--dsr1-replay=ladder.*", "--dsr1-profile=ladder")
    assert again.ret == 1
    again.assert_outcomes(passed=8, failed=1)


# What must not go unjudged


def test_a_curve_counts_as_a_benchmark(ladder: Suites) -> None:
    only = ladder.run("--dsr1-profile=ladder", "--benchmark-only", "--benchmark-json=b.json")
    assert only.ret == 0
    only.assert_outcomes(passed=6, skipped=3)
    found = json.loads((ladder.pytester.path / "b.json").read_text(encoding="utf-8"))["benchmarks"]
    assert [(each["name"], each["fullname"]) for each in found] == [
        (f"ladder.concurrency-{users}::measurement", f"own/ladder.yaml::measurement[concurrency-{users}]")
        for users in USERS
    ]
    skipped = ladder.run("--dsr1-profile=ladder", "--benchmark-skip")
    assert skipped.ret == 12
    skipped.assert_outcomes(passed=3, errors=6)
    assert "not judged: ladder::frontier[total_output_throughput-at-6]: skipped:" in said(skipped)


SKIPPED = """
def pytest_collection_modifyitems(items):
    for item in items:
        if "{}" in item.name:
            item.add_marker(pytest.mark.{}(reason="no time"))
"""


@pytest.mark.parametrize(("mark", "why"), [("skip", "skipped: no time"), ("xfail", "marked xfail: no time")])
def test_a_curve_that_is_skipped_is_not_judged(ladder: Suites, mark: str, why: str) -> None:
    ladder.pytester.makeconftest(ENGINE + SKIPPED.format("frontier", mark))
    result = ladder.run("--dsr1-profile=ladder")
    assert result.ret == 12
    result.assert_outcomes(passed=7, errors=2)
    assert f"not judged: ladder::frontier[total_output_throughput-at-6]: {why}; remove the cause" in said(
        result
    )


def test_a_point_that_is_skipped_is_not_judged(ladder: Suites) -> None:
    ladder.pytester.makeconftest(ENGINE + SKIPPED.format("measured[concurrency-16]", "skip"))
    result = ladder.run("--dsr1-profile=ladder")
    assert result.ret == 12
    assert "not judged: ladder.concurrency-16::measured: skipped: no time" in said(result)


def test_what_may_go_unjudged_is_named_by_sweep_and_point(ladder: Suites) -> None:
    ladder.pytester.makeconftest(ENGINE + SKIPPED.format("o", "skip"))
    allowed = "dsr1_unjudged=ladder::frontier*\nladder.concurrency-*::*"
    assert ladder.run("--dsr1-profile=ladder", "-o", allowed, "-k", "frontier or target").ret == 0
    fewer = ladder.run("--dsr1-profile=ladder", "-o", "dsr1_unjudged=ladder.concurrency-*::*")
    assert fewer.ret == 12


# Other tests


def test_a_users_own_test_shares_the_measurement_of_each_point(ladder: Suites) -> None:
    ladder.pytester.makepyfile(
        test_mine="""
        def test_mine(dsr1_measurement, dsr1_scenario):
            users = dsr1_scenario.load.concurrency
            assert dsr1_scenario.point.values == {"load.concurrency": users}
            found = dsr1_measurement.metrics["total_output_throughput"].value
            assert abs(found - 8 * users**0.5) < 1e-6
        """
    )
    write(ladder, "other", SWEEP)
    result = ladder.run("--dsr1-profile=ladder,other", "test_mine.py")
    assert result.ret == 0
    result.assert_outcomes(passed=2 * (9 + 3))
    points = [f"{name}.concurrency-{users}" for name in ("ladder", "other") for users in USERS]
    assert ladder.engine_runs == points
    # Its test of a point runs next to the point's own.
    order = collected(ladder, "--dsr1-profile=ladder,other", "test_mine.py")
    mine = [place for place, test in enumerate(order) if test.startswith("test_mine")]
    assert [order[place] for place in mine] == [f"test_mine.py::test_mine[{point}]" for point in points]
    for place, point in zip(mine, points, strict=True):
        name, _, label = point.partition(".")
        assert order[place + 1] == f"own/{name}.yaml::environment[{label}]"
