"""What the settings answer about a server: with TensorRT-LLM's options the same as TensorRT-LLM's engines."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_dsr1.engines.openai.settings import OpenAi
from pytest_dsr1.engines.tensorrt_llm.settings import Trtllm

BLOCK: dict[str, Any] = {
    "enable_attention_dp": True,
    "cuda_graph_config": {"batch_sizes": [1, 2, 64], "enable_padding": False},
    "kv_cache_config": {"dtype": "fp8", "free_gpu_memory_fraction": 0.8, "max_tokens": 5000},
    "speculative_config": {"decoding_type": "MTP", "max_draft_len": 3},
    "unchecked": {"a_new_one": 1},
}
BATCH: dict[str, Any] = {"tp": 8, "max_batch_size": 64}
SERVE: dict[str, Any] = {"type": "openai", "server": "trtllm-serve", **BATCH}


def answers(engine: OpenAi | Trtllm) -> dict[str, Any]:
    return {
        "ranks": engine.ranks,
        "slots": engine.slots,
        "slots_reason": engine.slots_reason,
        "draft_tokens": engine.draft_tokens,
        "model_doubt": engine.model_doubt,
        "kv_cache_format": engine.kv_cache_format,
        "kv_cache_limits": engine.kv_cache_limits,
        "without_cuda_graph": [engine.without_cuda_graph(requests) for requests in (8, 30, 512, 513)],
    }


@pytest.mark.parametrize("block", [BLOCK, {}, {"cuda_graph_config": {"enabled": False}}])
def test_the_same_options_give_the_same_answers(block: dict[str, Any]) -> None:
    in_library = Trtllm.model_validate({"type": "trtllm", **BATCH, "llm_api": block})
    on_server = OpenAi.model_validate({**SERVE, "llm_api": block})
    assert answers(on_server) == answers(in_library)
    assert on_server.slots == (512 if block == BLOCK else 64)


@pytest.mark.parametrize(
    "changes",
    [
        {"server": "vllm"},
        {"url": "http://host:8000"},
        {"arguments": ["--extra_llm_api_options", "mine.yaml"]},
        {"arguments": ["--config=mine.yaml"]},
        {"arguments": ["--set", "speculative_config.max_draft_len=3"]},
    ],
)
def test_of_a_server_with_other_options_nothing_is_known(changes: dict[str, Any]) -> None:
    engine = OpenAi.model_validate({**SERVE, **changes})
    assert (engine.slots, engine.draft_tokens, engine.ranks, engine.slots_reason) == (None, None, 1, "")
    assert (engine.kv_cache_format, engine.kv_cache_limits) == (None, None)


def test_the_settings_that_messages_name_are_those_of_the_options() -> None:
    serve, other = OpenAi.model_validate(SERVE), OpenAi.model_validate({**SERVE, "server": "vllm"})
    assert serve.setting_for("attention_dp") == "engine.llm_api.enable_attention_dp"
    assert serve.setting_for("kv_cache_memory") == "engine.gpu_memory_fraction"
    apart = OpenAi.model_validate({**SERVE, "disaggregated": {"context": {}, "generation": {}}})
    assert apart.setting_for("slots") == "engine.disaggregated.generation.max_batch_size"
    assert apart.setting_for("streaming") == "engine.streaming: true"
    assert (serve.setting_for("output_over_time"), other.setting_for("attention_dp")) == (None, None)


def test_chunked_prefill_is_seen() -> None:
    chunked = OpenAi.model_validate({**SERVE, "llm_api": {"enable_chunked_prefill": True}})
    assert chunked.chunked_context(1024) == (
        "set engine.llm_api.enable_chunked_prefill: false, and engine.max_num_tokens to at least 1,024, the "
        "longest input"
    )
    assert OpenAi.model_validate(SERVE).chunked_context(1024) is None


def test_dummy_weights_are_not_the_model() -> None:
    dummy = OpenAi.model_validate({**SERVE, "llm_api": {"load_format": "dummy"}})
    assert dummy.model_doubt == "engine.llm_api.load_format: dummy replaces the checkpoint's weights"
