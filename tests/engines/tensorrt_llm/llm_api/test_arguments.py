"""What the LLM API is asked for beyond the scenario, so that it runs what trtllm-bench would run."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_dsr1.engines.tensorrt_llm.llm_api.arguments import filled
from pytest_dsr1.engines.tensorrt_llm.settings import Trtllm
from pytest_dsr1.engines.trtllm_options.dialects import dialect_of, translate


def written(version: str = "1.2", **engine: Any) -> dict[str, Any]:
    return translate(filled(Trtllm.model_validate({"type": "trtllm", **engine})), dialect_of(version))


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (None, {"max_batch_size": 256, "enable_padding": True}),
        # trtllm-bench adds the batch size to a mapping without sizes; the LLM API alone captures up to 128.
        ({}, {"max_batch_size": 256, "enable_padding": True}),
        ({"enable_padding": False}, {"max_batch_size": 256, "enable_padding": False}),
        ({"enable_padding": True}, {"max_batch_size": 256, "enable_padding": True}),
        ({"enabled": True}, {"max_batch_size": 256, "enable_padding": True}),
        ({"batch_sizes": [1, 8]}, {"batch_sizes": [1, 8]}),
        ({"max_batch_size": 8}, {"max_batch_size": 8}),
        ({"enabled": False}, None),
    ],
)
def test_cuda_graphs(asked: dict[str, Any] | None, expected: dict[str, Any] | None) -> None:
    options = {} if asked is None else {"cuda_graph_config": asked}
    assert written(max_batch_size=256, llm_api=options)["cuda_graph_config"] == expected


def test_without_a_batch_size_the_llm_api_chooses() -> None:
    assert written()["cuda_graph_config"] == {"enable_padding": True}
    assert written(llm_api={"cuda_graph_config": {"enable_padding": False}})["cuda_graph_config"] == {
        "enable_padding": False
    }


def test_unchecked_options_are_beside_what_is_filled_in() -> None:
    assert written(llm_api={"unchecked": {"kv_cache_config": {"tokens_per_block": 64}}})[
        "kv_cache_config"
    ] == {
        "free_gpu_memory_fraction": 0.9,
        "enable_block_reuse": False,
        "tokens_per_block": 64,
    }
