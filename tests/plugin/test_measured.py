"""A scenario without targets is measured, and there is nothing to judge."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from tests.helpers.suites import SCENARIO, Suites

PROFILE = "--dsr1-profile=free"
SENTENCE = "measured, nothing to judge"
FREE = SCENARIO.partition("targets:")[0].replace("num_requests: 8", "num_requests: 10").format(name="free")


@pytest.fixture
def free(suites: Suites) -> Suites:
    """A profile ``free`` without the key ``targets``."""
    (suites.folder / "free.yaml").write_text(FREE, encoding="utf-8")
    return suites


def test_a_valid_run_passes_one_test_and_every_report_says_measured(free: Suites) -> None:
    more = ("--junitxml=junit.xml", "--dsr1-report=r.md", "--dsr1-report=r.codequality.json")
    result = free.run(PROFILE, "-v", "--benchmark-save=x", *more)
    assert result.ret == 0
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(
        [
            "own/free.yaml::environment PASSED*",
            "own/free.yaml::measured PASSED*",
            "free  (CPU, engine transformers)",
            "  MEASURED nothing to judge",
            "  also    total output throughput 16 tok/s; *",
        ]
    )
    suite = ET.parse(free.pytester.path / "junit.xml").getroot()[0]
    case = next(one for one in suite.iter("testcase") if one.get("name") == "measured")
    found = {one.get("name"): one.get("value") for one in case.iter("property")}
    assert (found["dsr1_verdict"], found["dsr1_message"]) == ("MEASURED", SENTENCE)
    assert found["dsr1_where"] == "own/free.yaml:1"
    assert float(found["dsr1_total_output_throughput [tok/s]"] or "") == pytest.approx(16)
    summary = (free.pytester.path / "r.md").read_text(encoding="utf-8")
    assert "# DeepSeek-R1 performance: 1 MEASURED\n" in summary
    assert f"\n| MEASURED | free | {SENTENCE}: total output throughput 16 tok/s | | | |\n" in summary
    assert json.loads((free.pytester.path / "r.codequality.json").read_text(encoding="utf-8")) == []
    (verdicts,) = free.pytester.path.glob(".dsr1/free/*/verdicts.json")
    assert json.loads(verdicts.read_text(encoding="utf-8")) == []
    (saved,) = free.pytester.path.glob(".benchmarks/*/*.json")
    (benchmark,) = json.loads(saved.read_text(encoding="utf-8"))["benchmarks"]
    assert benchmark["fullname"] == "own/free.yaml::measurement"


def test_an_empty_list_of_targets_is_none(free: Suites) -> None:
    (free.folder / "free.yaml").write_text(FREE + "targets: []\n", encoding="utf-8")
    collected = free.run(PROFILE, "--collect-only", "-q").stdout.lines
    assert [line for line in collected if "::" in line] == [
        "own/free.yaml::environment",
        "own/free.yaml::measured",
    ]


def test_a_replay_says_measured_and_leaves_the_result_alone(free: Suites) -> None:
    free.run(PROFILE)
    (folder,) = (free.pytester.path / ".dsr1" / "free").iterdir()
    (folder / "verdicts.json").unlink()
    again = free.run(f"--dsr1-replay={folder}")
    assert again.ret == 0
    again.stdout.fnmatch_lines(["  MEASURED nothing to judge"])
    assert not (folder / "verdicts.json").exists()
    assert free.engine_runs == ["free"]


def test_a_run_that_does_not_count_is_invalid(free: Suites, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRIPTED_FAIL", "request")
    result = free.run(PROFILE)
    assert result.ret == 10
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["  INVALID*"])
    assert "MEASURED" not in result.stdout.str()


def test_the_test_must_not_be_skipped(free: Suites) -> None:
    with (free.pytester.path / "conftest.py").open("a", encoding="utf-8") as file:
        file.write(
            "\ndef pytest_collection_modifyitems(items):\n"
            "    for item in items:\n"
            "        if item.name == 'measured': item.add_marker(pytest.mark.skip(reason='later'))\n"
        )
    result = free.run(PROFILE)
    assert result.ret == 12
    result.stdout.fnmatch_lines(
        [
            "  INCONCLUSIVE not judged: free::measured: skipped: later; remove the cause,*",
        ]
    )


def test_a_gate_needs_a_metric(free: Suites) -> None:
    result = free.run(PROFILE, "--dsr1-gate", "-v")
    assert result.ret == 10
    result.assert_outcomes(passed=1, errors=2)  # no GPU time is spent
    assert free.engine_runs == []
    result.stdout.fnmatch_lines(
        [
            "own/free.yaml::regression ERROR*",
            "own/free.yaml:1: gate.metric: expected a metric, found none; a scenario without "
            "targets names the metric of its gate and references there, one of: *",
        ]
    )


def test_a_gate_with_a_metric_has_its_name(free: Suites, tmp_path: Path) -> None:
    result = free.run(
        PROFILE, "--dsr1-set=gate.metric=average_ttft", "--dsr1-gate", f"--dsr1-store={tmp_path}"
    )
    assert result.ret == 11
    result.stdout.fnmatch_lines(["*no reference*", "  MEASURED nothing to judge"])
