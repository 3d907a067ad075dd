"""The options that a server's command asks for."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_dsr1.engines.openai.server.asked import asked_of
from pytest_dsr1.engines.openai.server.command import LaunchCommand
from pytest_dsr1.engines.openai.settings import OpenAi


def asked(
    server: str, *words: str, options: dict[str, Any] | None = None, **fields: Any
) -> dict[str, object]:
    engine = OpenAi.model_validate({"type": "openai", "server": server, **fields})
    return asked_of(LaunchCommand(["serve", "/m", *words], {}, options=options or {}), engine)


@pytest.mark.parametrize(
    ("server", "words", "found"),
    [
        (
            "vllm",
            "--tensor-parallel-size 8 --max-model-len=4096 --kv-cache-dtype fp8 --enforce-eager",
            {"tp": 8, "max_seq_len": 4096, "kv_cache_dtype": "fp8", "cuda_graphs": False},
        ),
        (
            "vllm",
            '--no-enable-prefix-caching --speculative-config {"method":"mtp","num_speculative_tokens":3}',
            {"block_reuse": False, "draft_tokens": 3},
        ),
        (
            "vllm",
            "--max-num-batched-tokens 8k --speculative-config {} --quantization fp8 --max-num-seqs 9",
            {},
        ),
        (
            "sglang",
            "--tp-size 8 --ep 8 --disable-radix-cache --enable-dp-attention --speculative-num-steps 3",
            {"tp": 8, "ep": 8, "block_reuse": False, "attention_dp": True, "draft_tokens": 3},
        ),
        (
            "vllm",
            "--enable-prefix-caching --enable-chunked-prefill",
            {"block_reuse": True, "chunked_prefill": True},
        ),
        ("vllm", "--no-enable-chunked-prefill", {"chunked_prefill": False}),
        ("vllm", '--hf-overrides {"num_speculative_tokens":3}', {}),
        (
            "sglang",
            "--disable-cuda-graph --disable-overlap-schedule",
            {"cuda_graphs": False, "overlap_scheduler": False},
        ),
        ("sglang", '--speculative-config {"num_speculative_tokens":3}', {}),
        ("trtllm-serve", "--tp_size 8 --max_num_tokens 8192", {"tp": 8, "max_num_tokens": 8192}),
        ("other", "--tensor-parallel-size 8 --tp-size 8 --tp_size 8", {}),
        ("vllm", "--max-model-len", {}),
    ],
)
def test_words_of_a_command(server: str, words: str, found: dict[str, object]) -> None:
    """What a server may understand in its own way is not compared."""
    assert asked(server, *words.split()) == found


def test_experts_of_vllm_have_no_value() -> None:
    assert asked("vllm", "--enable-expert-parallel", tp=8, ep=8) == {"ep": 8}


def test_the_options_file_of_trtllm_serve() -> None:
    options = {"moe_config": {"backend": "TRTLLM"}, "cuda_graph_config": None, "stream_interval": 10}
    assert asked("trtllm-serve", "--tp_size", "8", options=options) == {
        "tp": 8,
        "moe_backend": "TRTLLM",
        "cuda_graphs": False,
        "stream_interval": 10,
    }
