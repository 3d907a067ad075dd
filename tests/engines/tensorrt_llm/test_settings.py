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


@pytest.mark.parametrize(("eos_id", "exact"), [(-1, True), (0, False), (1, False)])
def test_only_without_an_end_token_lengths_are_exact(eos_id: int, exact: bool) -> None:
    assert Trtllm.model_validate({"type": "trtllm", "eos_id": eos_id}).exact_lengths is exact


def test_cuda_graphs_that_are_switched_off_explain_a_slow_step() -> None:
    off = {"type": "trtllm", "pp": 2, "llm_api": {"cuda_graph_config": {"enabled": False}}}
    assert Trtllm.model_validate(off).without_cuda_graph(1) == (
        "engine.llm_api.cuda_graph_config switches CUDA graphs off: remove it"
    )
    on = {"type": "trtllm", "llm_api": {"cuda_graph_config": {"enabled": True}}}
    assert Trtllm.model_validate(on).without_cuda_graph(1) is None


@pytest.mark.parametrize(
    ("options", "drafts", "doubt"),
    [
        ({}, 0, None),
        ({"speculative_config": {"decoding_type": "MTP", "max_draft_len": 3}}, 3, None),
        (
            {"unchecked": {"speculative_config": {"decoding_type": "NGram"}, "attn_backend": "TRTLLM"}},
            None,
            "engine.llm_api.unchecked (speculative_config, attn_backend) may change the model",
        ),
    ],
)
def test_what_unchecked_options_leave_open(
    options: dict[str, object], drafts: int | None, doubt: str | None
) -> None:
    engine = Trtllm.model_validate({"type": "trtllm", "llm_api": options})
    assert (engine.draft_tokens, engine.model_doubt) == (drafts, doubt)


def test_the_kv_cache_of_a_newer_version() -> None:
    options = {"kv_cache_config": {"dtype": "nvfp4"}}
    assert Trtllm.model_validate({"type": "trtllm", "llm_api": options}).kv_cache_format == "nvfp4"


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
