"""The table of results: its columns, and its forms."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import pytest

from pytest_dsr1.machine.values import Fingerprint
from pytest_dsr1.metrics.catalogue import MetricValue
from pytest_dsr1.results.result import Result
from pytest_dsr1.results.table import COLUMNS, rows, to_csv, to_jsonl
from tests.helpers.saved_results import save
from tests.helpers.values import scenario, verdict

SECRET = "hf_abcdefghijklmnopqrstuvwxyz"


@pytest.fixture
def result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Result:
    monkeypatch.chdir(tmp_path)
    figures = {
        "total_output_throughput": MetricValue(8.0, "records"),
        "average_tpot": MetricValue(2.5, "records"),
    }
    return Result.load(save(Path(".dsr1"), verdicts=[verdict()], metrics=figures))


def test_csv(result: Result) -> None:
    facts = "PASS,,0,,transformers,,deepseek-ai/DeepSeek-R1,none,8.0,4.0,2,,.dsr1/small/20261123T200512Z"
    assert to_csv([result]).splitlines() == [
        "profile,started_utc,metric,value,unit,target,verdict,run_verdict,gpu,gpu_count,driver,engine,"
        "engine_version,model,quantization,isl,osl,concurrency,request_rate,folder",
        f"small,2026-11-23T20:05:12+00:00,total_output_throughput,8.0,tok/s,8.0,PASS,{facts}",
        f"small,2026-11-23T20:05:12+00:00,average_tpot,2.5,ms,,,{facts}",
    ]


def test_json_lines_have_the_same_cells(result: Result) -> None:
    lines = [json.loads(line) for line in to_jsonl([result]).splitlines()]
    assert lines == list(rows([result]))
    assert [tuple(line) for line in lines] == [COLUMNS, COLUMNS]
    as_text = [["" if cell is None else str(cell) for cell in line.values()] for line in lines]
    assert list(csv.reader(to_csv([result]).splitlines()))[1:] == as_text


def test_no_result_is_a_table_without_rows() -> None:
    assert to_csv([]) == f"{','.join(COLUMNS)}\n"
    assert to_jsonl([]) == ""


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_number_that_json_does_not_have_is_left_out(result: Result, value: float) -> None:
    measurement = result._slim
    odd = {**measurement.metrics, "average_tpot": MetricValue(value, "records")}
    object.__setattr__(measurement, "metrics", odd)
    assert [row["value"] for row in rows([result])] == [8.0, None]


def test_text_that_no_file_can_hold_is_replaced(result: Result) -> None:
    facts = Fingerprint({"driver": "575\udc80"})
    object.__setattr__(result._slim, "fingerprint", facts)
    to_csv([result]).encode()
    to_jsonl([result]).encode()


def test_no_secret_is_in_it(tmp_path: Path) -> None:
    of = scenario(
        engine={
            "type": "openai",
            "url": f"http://user:{SECRET}@host:8000",
            "environment": {"HF_TOKEN": SECRET},
        }
    )
    result = Result.load(save(tmp_path, scenario=of, verdicts=()))
    assert "openai" in to_csv([result])
    assert SECRET not in to_csv([result]) + to_jsonl([result])
