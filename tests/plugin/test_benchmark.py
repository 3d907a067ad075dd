"""pytest-benchmark as storage and comparison."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.paths import ROOT
from tests.helpers.suites import CONFTEST, Suites


def saved(suites: Suites, pattern: str = "*.json") -> dict[str, Any]:
    files = sorted((suites.pytester.path / ".benchmarks").rglob(pattern))
    document: dict[str, Any] = json.loads(files[-1].read_text(encoding="utf-8"))
    return document


def test_a_measurement_is_one_benchmark_whatever_is_selected(suites: Suites) -> None:
    for selection in ([], ["-k", "average_ttft"]):
        suites.run("--dsr1-profile=alpha", "--benchmark-save=x", *selection)
        (bench,) = saved(suites)["benchmarks"]
        assert bench["fullname"] == "own/alpha.yaml::measurement"
        assert bench["stats"]["rounds"] == 8
        assert bench["stats"]["ops"] == pytest.approx(8.0)  # tok/s/user
        assert bench["extra_info"]["total_output_throughput"] == pytest.approx(16.0)
        assert bench["extra_info"]["per_user_output_throughput"] == pytest.approx(8.0)
        assert "library.pytest" in bench["extra_info"]["fingerprint"] or bench["extra_info"]["fingerprint"]


def test_a_missed_target_is_still_a_measurement(suites: Suites) -> None:
    suites.run("--dsr1-profile=alpha", "--dsr1-set=targets.0.value=99", "--benchmark-save=x")
    (bench,) = saved(suites)["benchmarks"]
    assert bench["extra_info"]["cause"] == "not known"
    assert bench["extra_info"]["cause_evidence"].startswith("not known: ")


TABLE = "*- benchmark: * tests -*"


def test_the_table_is_shown_only_where_an_option_asks_for_it(suites: Suites) -> None:
    suites.run("--dsr1-profile=alpha").stdout.no_fnmatch_line(TABLE)
    suites.run("--dsr1-profile=alpha", "--benchmark-columns=mean").stdout.fnmatch_lines([TABLE])
    suites.pytester.makepyfile(test_own="def test_own(benchmark):\n    benchmark(len, [])\n")
    both = suites.run("--dsr1-profile=alpha", "test_own.py")
    both.stdout.fnmatch_lines([TABLE])


def test_the_short_summary_begins_with_the_figures(suites: Suites, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    missed = suites.run("--dsr1-profile=alpha", "--dsr1-set=targets.0.value=99")
    missed.stdout.fnmatch_lines(
        ["FAILED own/alpha.yaml::target[[]*[]] - 16 < 94.05 tok/s: total output throughput 16 tok/s is *"]
    )
    monkeypatch.setenv("SCRIPTED_FAIL", "request")
    suites.run("--dsr1-profile=alpha").stdout.fnmatch_lines(
        ["ERROR own/alpha.yaml::target[[]*[]] - the run does not count: *"]
    )


def test_a_good_run_has_no_cause(suites: Suites) -> None:
    suites.run("--dsr1-profile=alpha", "--benchmark-save=x")
    assert not [key for key in saved(suites)["benchmarks"][0]["extra_info"] if key.startswith("cause")]


def test_an_invalid_run_is_no_baseline(suites: Suites, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRIPTED_FAIL", "request")
    result = suites.run("--dsr1-profile=alpha", "--benchmark-autosave")
    assert result.ret == 10
    files = list((suites.pytester.path / ".benchmarks").rglob("*.json"))
    assert all(not json.loads(f.read_text(encoding="utf-8"))["benchmarks"] for f in files)


def test_compare_and_compare_fail(suites: Suites, monkeypatch: pytest.MonkeyPatch) -> None:
    suites.run("--dsr1-profile=alpha", "--benchmark-autosave")
    same = suites.run("--dsr1-profile=alpha", "--benchmark-compare", "--benchmark-compare-fail=mean:5%")
    assert same.ret == 0
    monkeypatch.setenv("SCRIPTED_LATENCY_S", "0.6")
    slower = suites.run_apart(
        "--dsr1-profile=alpha",
        "--dsr1-set=targets.0.value=1",
        "--benchmark-compare",
        "--benchmark-compare-fail=mean:5%",
    )
    assert slower.ret == 1
    slower.stderr.fnmatch_lines(["*Performance has regressed*"])


def test_the_stand_alone_commands(suites: Suites) -> None:
    suites.run("--dsr1-profile=alpha", "--benchmark-save=one")
    suites.run("--dsr1-profile=alpha", "--benchmark-save=two", "--benchmark-json=out.json")
    result = suites.pytester.run("pytest-benchmark", "compare", "--columns=mean,ops")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["*alpha::measurement*"])
    assert json.loads((suites.pytester.path / "out.json").read_text(encoding="utf-8"))["benchmarks"]


def test_what_differs_from_the_compared_run_is_said(suites: Suites) -> None:
    suites.run("--dsr1-profile=alpha", "--benchmark-autosave")
    (path,) = (suites.pytester.path / ".benchmarks").rglob("*.json")
    document = json.loads(path.read_text(encoding="utf-8"))
    document["benchmarks"][0]["extra_info"]["fingerprint"]["driver"] = "575.1"
    document["benchmarks"][0]["extra_info"]["fingerprint"]["engine.version"] = "0.1"
    path.write_text(json.dumps(document), encoding="utf-8")
    result = suites.run("--dsr1-profile=alpha", "--benchmark-compare")
    said = result.stdout.str() + result.stderr.str()
    assert "dsr1: alpha was measured differently: driver was 575.1, is not recorded" in said


@pytest.mark.parametrize(
    ("option", "outcomes"),
    [("--benchmark-only", {"passed": 2, "skipped": 2}), ("--benchmark-skip", {"passed": 2, "errors": 2})],
)
def test_measurements_count_as_benchmarks(suites: Suites, option: str, outcomes: dict[str, int]) -> None:
    suites.pytester.makepyfile(test_other="def test_other(): pass")
    result = suites.run("--dsr1-profile=alpha", "test_other.py", option)
    result.assert_outcomes(**outcomes)
    assert "was not used at all" not in result.stdout.str()


@pytest.mark.parametrize("arguments", [["-p", "no:benchmark"], ["--benchmark-disable"]])
def test_without_pytest_benchmark(suites: Suites, arguments: list[str]) -> None:
    result = suites.run("--dsr1-profile=alpha", *arguments)
    assert result.ret == 0
    result.assert_outcomes(passed=3)


def test_a_test_with_a_benchmark_of_its_own(suites: Suites) -> None:
    suites.pytester.makepyfile(
        test_mine="""
        def test_mine(dsr1_measurement, benchmark):
            benchmark(lambda: None)
        """
    )
    result = suites.run("--dsr1-profile=alpha", "test_mine.py", "--benchmark-json=out.json")
    result.assert_outcomes(passed=4)
    document = json.loads((suites.pytester.path / "out.json").read_text(encoding="utf-8"))
    names = {bench["fullname"] for bench in document["benchmarks"]}
    assert names == {"own/alpha.yaml::measurement", "test_mine.py::test_mine[alpha]"}


@pytest.mark.parametrize("strict", [0, 1])
def test_a_benchmark_file_that_cannot_be_written_loses_no_overview(suites: Suites, strict: int) -> None:
    suites.pytester.makefile(".txt", place="")
    options = ("--benchmark-autosave", "--benchmark-storage=file://place.txt/x", "--junitxml=junit.xml")
    result = suites.run("--dsr1-profile=alpha", *options, *["--dsr1-set=targets.0.value=99"] * strict)
    assert result.ret == (1 if strict else 10)
    result.stdout.fnmatch_lines(
        [
            "*PERFORMANCE OVERVIEW*",
            "dsr1: *place.txt/x*: the benchmark file cannot be written: Not a directory; free space there, "
            "or choose another folder with --benchmark-storage",
        ]
    )
    assert (suites.pytester.path / "junit.xml").exists()


def test_a_summary_that_fails_loses_no_overview(suites: Suites) -> None:
    suites.run("--dsr1-profile=alpha", "--benchmark-autosave")
    options = ("--benchmark-compare", "--benchmark-compare-fail=max:1%", "--dsr1-set=targets.0.value=1")
    result = suites.run_apart("--dsr1-profile=alpha", *options)
    assert "PERFORMANCE OVERVIEW" in result.stdout.str()
    suites.pytester.makeconftest(CONFTEST + "def pytest_terminal_summary(): raise ValueError('no disk')\n")
    assert "PERFORMANCE OVERVIEW" in suites.run_apart("--dsr1-profile=alpha").stdout.str()


def test_the_first_comparison_in_a_clone_has_nothing_to_compare_with(suites: Suites) -> None:
    """A warning of another plugin is an error in our own tests only."""
    options = ("-c", str(ROOT / "pyproject.toml"), "--rootdir=.", "--dsr1-suites=own")
    result = suites.run_apart(
        *options,
        "--dsr1-profile=alpha",
        "--benchmark-autosave",
        "--benchmark-compare",
        "-p",
        "no:cacheprovider",
    )
    assert result.ret == 0
    assert "INTERNALERROR" not in result.stdout.str() + result.stderr.str()


@pytest.mark.needs("pygal")
def test_the_histogram(suites: Suites) -> None:
    # Apart: the picture's library changes how this process finds plugins.
    suites.run_apart("--dsr1-profile=alpha,beta", "--benchmark-histogram=picture")
    assert b"alpha::measurement" in (suites.pytester.path / "picture.svg").read_bytes()


def test_the_json_is_where_it_was_asked_for(suites: Suites) -> None:
    suites.run("--dsr1-profile=alpha", "--benchmark-json=out.json")
    assert Path(suites.pytester.path / "out.json").exists()
