"""What the settings of TensorRT-LLM's engines answer."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_dsr1.engines.tensorrt_llm.settings import Trtllm, TrtllmBench
from tests.helpers.scenario_files import load_text

PIPELINED = """\
name: pipelined
description: Two pipeline stages, each rank with requests of its own
hardware: {gpu: NVIDIA H200, count: 8}
model: {name: deepseek-ai/DeepSeek-R1, path: /models/r1, quantization: FP8_BLOCK_SCALES}
dataset: {input_tokens: 1024, output_tokens: 1024}
load: {concurrency: 512, num_requests: 5120}
engine:
  type: trtllm-bench
  tp: 4
  pp: 2
  ep: 4
  max_batch_size: 64
  llm_api: {enable_attention_dp: true}
targets:
  - metric: per_user_output_throughput
    value: 10.0
"""


def test_every_slot_of_every_stage_is_counted_once(tmp_path: Path) -> None:
    loaded = load_text(tmp_path, PIPELINED)
    assert loaded.scenario.engine.slots == 512
    assert loaded.warnings == ()


def test_more_requests_than_slots_wait(tmp_path: Path) -> None:
    warnings = load_text(tmp_path, PIPELINED.replace("concurrency: 512", "concurrency: 1024")).warnings
    assert [warning.removeprefix(f"{tmp_path}/") for warning in warnings] == [
        "s.yaml:15: targets.0.metric: per_user_output_throughput says little here: it includes waiting, and "
        "the engine serves 512 of 1024 requests at once",
        "s.yaml:6: load.concurrency: expected 512, because with attention data parallelism each of 4 ranks "
        "takes 64 requests (engine.max_batch_size) in each of 2 pipeline stages; found 1024",
    ]


@pytest.mark.parametrize(
    ("values", "slots", "reason"),
    [
        ({}, None, None),
        ({"max_batch_size": 8, "tp": 4}, 8, "engine.max_batch_size 8"),
        (
            {"max_batch_size": 8, "tp": 4, "llm_api": {"enable_attention_dp": True}},
            32,
            "engine.max_batch_size 8 on each of 4 ranks",
        ),
        (
            {"max_batch_size": 8, "tp": 4, "pp": 2},
            16,
            "engine.max_batch_size 8 in each of 2 pipeline stages",
        ),
    ],
)
def test_slots(values: dict[str, object], slots: int | None, reason: str | None) -> None:
    engine = Trtllm.model_validate({"type": "trtllm", **values})
    assert engine.slots == slots
    assert reason is None or engine.slots_reason == reason


@pytest.mark.parametrize(
    ("asked", "tokens", "why"),
    [
        (None, 20_000_000, None),
        (None, 20_000_001, "by default runs of over 20,000,000 output tokens have none"),
        (True, 20_000_001, None),
        (False, 1, "engine.request_records is false"),
    ],
)
def test_request_records(asked: bool | None, tokens: int, why: str | None) -> None:
    engine = TrtllmBench.model_validate({"type": "trtllm-bench", "request_records": asked})
    expected = None if why is None else f"{why}; set engine.request_records: true"
    assert engine.without_records(lambda: tokens) == expected


def test_the_length_of_the_run_is_not_asked_for_where_it_does_not_matter() -> None:
    def refuse() -> float:
        raise AssertionError

    engine = TrtllmBench.model_validate({"type": "trtllm-bench", "request_records": True})
    assert engine.without_records(refuse) is None
    assert Trtllm.model_validate({"type": "trtllm"}).without_records(refuse) is None


@pytest.mark.parametrize("settings", [Trtllm(type="trtllm"), TrtllmBench(type="trtllm-bench")])
def test_its_compile_cache(settings: Trtllm | TrtllmBench) -> None:
    assert list(settings.compile_caches({"HOME": "/home/a"})) == [Path("/home/a/.tensorrt_llm")]
    own = {"HOME": "/home/a", "TRTLLM_DG_CACHE_DIR": "/own"}
    assert list(settings.compile_caches(own)) == [Path("/own")]
