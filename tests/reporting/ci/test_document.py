"""The results of a session as JSON."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from pytest_dsr1.case.case import Case
from pytest_dsr1.gate.history import NO_HISTORY
from pytest_dsr1.metrics.catalogue import MetricValue
from pytest_dsr1.reporting.ci.document import to_json
from pytest_dsr1.reporting.formats import Report
from pytest_dsr1.results.table import COLUMNS
from pytest_dsr1.verdict.verdict import Status
from tests.helpers.paths import DOCS
from tests.helpers.values import answers, case, gate, measurement, missed, scenario

NOW = datetime(2026, 11, 24, 8, 0, 0, tzinfo=timezone.utc)


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def written(*cases: Case, not_run: tuple[str, ...] = (), status: int = 0) -> dict[str, Any]:
    text = to_json(Report(cases, not_run, status, Path(), NO_HISTORY, NOW))
    found: dict[str, Any] = json.loads(text, parse_constant=lambda name: pytest.fail(f"not JSON: {name}"))
    return found


def test_the_document() -> None:
    found = written(case("b"), missed("a"), not_run=("c",), status=1)
    assert [each["profile"] for each in found.pop("results")] == ["b", "a"]
    assert found == {
        "format": "pytest-dsr1 report",
        "version": 1,
        "created_utc": "2026-11-24T08:00:00+00:00",
        "exit_status": 1,
        "not_run": ["c"],
    }


def test_a_target_that_is_met() -> None:
    (found,) = written(case())["results"]
    metrics = found.pop("metrics")
    assert metrics["total_output_throughput"] == {
        "label": "total output throughput",
        "value": 8.0,
        "unit": "tok/s",
        "better": "higher",
        "target": 8.0,
        "bound": 7.6,
        "verdict": "PASS",
    }
    assert metrics["average_ttft"]["unit"] == "ms"
    (judged,) = found.pop("verdicts")
    assert judged.pop("message").startswith("total output throughput 8 tok/s is 0.0% above the target 8 ")
    assert judged == {
        "verdict": "PASS",
        "subject": "target[total_output_throughput]",
        "metric": "total_output_throughput",
        "measured": 8.0,
        "target": 8.0,
        "bound": 7.6,
        "where": "own/small.yaml:16",
    }
    assert found == {
        "profile": "small",
        "verdict": "PASS",
        "headline": "total output throughput 8 tok/s is 0.0% above the target 8",
        "run": {
            "started_utc": "2026-11-23T20:00:00+00:00",
            "gpu": None,
            "gpu_count": 0,
            "driver": None,
            "engine": "transformers",
            "engine_version": None,
            "model": "deepseek-ai/DeepSeek-R1",
            "quantization": "none",
            "isl": 8.0,
            "osl": 4.0,
            "concurrency": 2,
            "request_rate": None,
            "folder": ".dsr1/small/20261123T200512Z",
        },
        "problems": [],
        "cause": None,
        "warnings": [],
    }


def test_what_did_not_pass_is_a_problem_with_its_place() -> None:
    (found,) = written(missed(gate=gate(Status.FAIL), accuracy=(answers(),)))["results"]
    assert [(each["verdict"], each["subject"]) for each in found["verdicts"]] == [
        ("FAIL", "target[total_output_throughput]"),
        ("FAIL", "regression[total_output_throughput]"),
        ("FAIL", "accuracy[questions]"),
    ]
    assert [each["where"] for each in found["problems"]] == [
        "own/small.yaml:16",
        "own/small.yaml:18",
        "own/small.yaml:20",
    ]
    of_answers = found["verdicts"][2]
    assert (of_answers["metric"], of_answers["measured"]) == ("accuracy", 0.75)
    assert (of_answers["target"], of_answers["bound"]) == (0.95, 0.8181)


def test_a_run_that_does_not_count() -> None:
    invalid = case(status=Status.INVALID, problem="GPU 3: throttled", verdicts=())
    (found,) = written(invalid)["results"]
    assert found["verdict"] == "INVALID"
    assert found["metrics"]["total_output_throughput"]["verdict"] == "INVALID"
    assert found["metrics"]["total_output_throughput"]["value"] == 8.0
    (problem,) = found["problems"]
    assert problem == {
        "verdict": "INVALID",
        "subject": "scenario",
        "message": "GPU 3: throttled",
        "where": "own/small.yaml:1",
    }


def test_a_scenario_without_a_result() -> None:
    failed = case(status=Status.INVALID, problem="out of memory", verdicts=(), measurement=None)
    (found,) = written(failed)["results"]
    assert (found["run"], found["metrics"]) == (None, {})


def test_a_number_that_json_does_not_have_is_null() -> None:
    odd = {"average_tpot": MetricValue(math.nan, "records")}
    run = replace(measurement(scenario=scenario(targets=[])), metrics=odd)
    (found,) = written(case(measurement=run, verdicts=(), status=None))["results"]
    assert found["metrics"]["average_tpot"]["value"] is None
    assert found["verdict"] is None


def test_the_page_names_every_key() -> None:
    page = (DOCS / "reference" / "results.md").read_text(encoding="utf-8")
    section = page.split("## The results as JSON\n")[1].split("\n## ")[0]
    document = written(missed(accuracy=(answers(),)), not_run=("c",), status=1)
    (found,) = document["results"]
    nested = [*found["verdicts"], *found["problems"], *found["metrics"].values()]
    keys = {*document, *found, *(key for each in nested for key in each)}
    assert {key for key in keys if not re.search(rf'[`"]{key}[`"]', section)} == set()
    assert {*found["run"]} <= {*COLUMNS}
