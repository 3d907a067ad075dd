"""The main job, with nothing standing in: real inference on this machine's CPU."""

from __future__ import annotations

import json

import pytest

from pytest_dsr1.machine.cpu_load import LOST_LIMIT
from tests.helpers.real_run import RealRun

pytestmark = pytest.mark.cpu_engine


def test_real_inference_from_scenario_to_verdict(pytester: pytest.Pytester, real_run: RealRun) -> None:
    """One target is in reach of any machine and one of none; judged again with both in reach."""
    assert real_run.status == 1, "\n".join(real_run.lines)
    assert pytest.RunResult.parse_summary_nouns(real_run.lines) == {"passed": 2, "failed": 1}
    pytest.LineMatcher(real_run.lines).fnmatch_lines(
        [
            "*PERFORMANCE OVERVIEW*",
            "cpu-min-latency  (CPU, engine transformers)",
            "  FAIL    per-user output throughput *",
            "  PASS    total output throughput *",
            "  CPUs    other work kept * busy; the run waited for one *",
            "  results *.dsr1/cpu-min-latency/*",
        ]
    )
    folder = real_run.saved
    document = json.loads((folder / "measurement.json").read_text(encoding="utf-8"))
    metrics = {name: m["value"] for name, m in document["measurement"]["metrics"].items()}
    assert metrics["average_input_length"] == metrics["average_output_length"] == 64
    assert 0 < metrics["ttft_minimum"] < metrics["request_latency_minimum"]
    lines = (folder / "requests.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    assert [r["output_tokens"] for r in records] == [64] * 10
    assert document["measurement"]["cpu_load"]["waited_share"] <= LOST_LIMIT
    (bench,) = json.loads((real_run.place / "bench.json").read_text(encoding="utf-8"))["benchmarks"]
    assert bench["fullname"] == "suites/cpu/min-latency.yaml::measurement"
    assert bench["stats"]["rounds"] == 10
    again = pytester.runpytest_subprocess(
        f"--dsr1-replay={folder}", "--dsr1-set=targets.per_user_output_throughput.value=0.001"
    )
    assert again.ret == 0
    again.assert_outcomes(passed=3)
