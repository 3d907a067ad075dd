from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_dsr1.engines.protocol import Job
from pytest_dsr1.engines.tensorrt_llm.bench.report import Report, differences
from pytest_dsr1.workload.workload import Workload
from tests.helpers.trtllm_bench import bench_scenario

WORKLOAD = Workload(Path("dataset.jsonl"), 4, "", True, 8.0, 8, 16.0, 16)
WORLD = {"tp": 8, "pp": 1, "ep": 4, "max_batch_size": 128, "max_num_tokens": 1151}
METRICS = {"average_input_length": 8.0, "average_output_length": 16.0, "request_throughput": 1.0}
ASKED: dict[str, Any] = {"ep": 4, "max_batch_size": 128, "max_num_tokens": 1151}


def found(report: Report, **engine: Any) -> list[str]:
    return list(differences(report, Job(bench_scenario(**{**ASKED, **engine}), WORKLOAD, Path(), 60.0)))


def test_what_was_asked_for() -> None:
    assert found(Report(METRICS, 4, WORLD)) == []


def test_what_a_report_does_not_state_is_not_held_against_it() -> None:
    assert found(Report({"request_throughput": 1.0})) == []


@pytest.mark.parametrize("name", list(WORLD))
def test_settings_that_took_no_effect(name: str) -> None:
    assert found(Report(METRICS, 4, {**WORLD, name: 3})) == [
        f"{name} 3 instead of {({'pp': 1, 'tp': 8} | ASKED)[name]}"
    ]


def test_all_differences_at_once() -> None:
    metrics = {"average_input_length": 7.9, "average_output_length": 15.0, "request_throughput": 0.0}
    assert found(Report(metrics, 3, {**WORLD, "tp": 1})) == [
        "3 requests instead of 4",
        "average input length (ISL) 7.9 instead of 8",
        "average output length (OSL) 15 instead of 16",
        "tp 1 instead of 8",
        "request throughput is 0",
    ]


def test_output_lengths_are_free_with_an_end_token() -> None:
    assert found(Report({**METRICS, "average_output_length": 3.0}, 4, WORLD), eos_id=1) == []
