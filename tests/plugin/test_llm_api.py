"""The engine trtllm through the plugin, on stand-ins: 8 H200s, and a package `tensorrt_llm` 1.2.1."""

from __future__ import annotations

import json
import os

import pytest

from tests.helpers.paths import ROOT
from tests.standins.nvml.control import FakeMachine, build
from tests.standins.tensorrt_llm.install import install

SCENARIO = """\
name: llm-api
description: The LLM API on eight GPUs
hardware: {gpu: NVIDIA H200, count: 8}
model:
  name: deepseek-ai/DeepSeek-R1
  random_weights:  # the stand-in is faster than eight H200s could be with the whole model
    config: {num_hidden_layers: 1, first_k_dense_replace: 1}
dataset: {input_tokens: 16, output_tokens: 8}
load: {concurrency: 4, num_requests: 12, warmup_requests: 4}
engine:
  type: trtllm
  tp: 8
  max_batch_size: 4
  max_num_tokens: 64
  streaming: true
  request_timings: true
targets:
  - {metric: total_output_throughput, value: 1.0}
  - {metric: average_ttft, value: 60000.0}
"""


@pytest.fixture
def pytester(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    place = pytester.mkdir("node")
    site = install(place / "site", "1.2.1")
    environment = FakeMachine(build(place / "driver"), place).environ(dict(os.environ))
    environment |= {"PYTHONPATH": f"{site}:{ROOT}", "XDG_CACHE_HOME": str(place / "cache")}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("DSR1_STANDIN_FAIL", raising=False)
    (pytester.path / "llm-api.yaml").write_text(SCENARIO, encoding="utf-8")
    return pytester


def test_measured_judged_and_saved(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest_subprocess("llm-api.yaml")
    assert result.ret == 0, result.stdout.str()
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(
        ["llm-api  (8 x NVIDIA H200, engine trtllm)", "  PASS    average time to first token (TTFT) *"]
    )
    (saved,) = (pytester.path / ".dsr1" / "llm-api").iterdir()
    rows = [json.loads(line) for line in (saved / "requests.jsonl").read_text().splitlines()]
    assert len(rows) == 12
    assert all(row["submitted_s"] <= row["engine"]["arrival_s"] for row in rows)
    facts = json.loads((saved / "measurement.json").read_text())["measurement"]["fingerprint"]["facts"]
    assert facts["engine.tensorrt_llm"] == "1.2.1"


def test_a_failed_engine_is_an_error_in_one_sentence(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DSR1_STANDIN_FAIL", "load-memory")
    result = pytester.runpytest_subprocess("llm-api.yaml")
    assert result.ret == 10
    result.stdout.fnmatch_lines(["*llm-api: TensorRT-LLM ran out of GPU memory while loading the weights: *"])
    assert "Traceback (most recent" not in result.stdout.str().split("The last lines")[0]


def test_a_published_scenario_can_be_run_through_the_llm_api(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("--dsr1-profile=h200-max-throughput", "--dsr1-set", "engine.type=trtllm", "--dsr1-plan")
    result = pytester.runpytest_subprocess(*arguments)
    assert result.ret == 0, result.stdout.str()
    result.stdout.fnmatch_lines(
        [
            "# TensorRT-LLM 1.2.1 (installed), dialect 1.2 (read)",
            "# engine trtllm: tensorrt_llm.LLM with",
            "#   tensor_parallel_size: 8",
            "pytest --dsr1-profile=h200-max-throughput --dsr1-set=engine.type=trtllm",
        ]
    )
