"""Rules about options that are written unchecked, and about CUDA graphs that are switched off."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.scenario_files import changed, load_text, mistakes

PLACE = "s.yaml:24:5: engine.llm_api.unchecked: "


def unchecked(options: str, beside: str = "") -> str:
    """Return a scenario with unchecked options in line 24, and other lines after them."""
    old = "    enable_attention_dp: true"
    return changed((old, f"{old}\n    unchecked: {options}\n{beside}".rstrip("\n")))


@pytest.mark.parametrize(
    "options",
    [
        "{attn_backend: TRTLLM}",
        "{kv_cache_config: {tokens_per_block: 128, host_cache_size: 1000000000}}",
        "{moe_config: {use_low_precision_moe_combine: true, load_balancer: {num_slots: 288}}}",
        "{moe_config: {backend: AUTO}}",
        "{moe_config: {backend: DENSEGEMM}}",
        "{allreduce_strategy: {fallback: NCCL}}",
        "{enable_lm_head_tp_in_adp: true, num_postprocess_workers: 4, trust_remote_code: true}",
        "{torch_compile_config: {enable_fullgraph: true}, nvfp4_gemm_config: {allowed_backends: [cutlass]}}",
        "{env_overrides: {TRTLLM_ENABLE_PDL: '1'}, load_format: dummy}",
        "{speculative_config: {use_mtp_vanilla: true}}",
        "{speculative_config: {decoding_type: NGram, max_matching_ngram_size: 4}}",
        "{batch_wait_timeout_iters: 50, batch_wait_max_tokens_ratio: 0.75}",
        "{sparse_attention_config: {algorithm: dsa}}",
        "{}",
    ],
)
def test_options_without_a_key_are_accepted(tmp_path: Path, options: str) -> None:
    assert load_text(tmp_path, unchecked(options)).warnings == ()


@pytest.mark.parametrize(
    ("options", "option", "key"),
    [
        ("{print_iter_log: true}", "print_iter_log", "engine.llm_api.print_iter_log"),
        ("{kv_cache_config: {dtype: fp8}}", "kv_cache_config.dtype", "engine.llm_api.kv_cache_config.dtype"),
        ("{moe_config: {backend: TRTLLM}}", "moe_config.backend", "engine.llm_api.moe_config.backend"),
        (
            "{speculative_config: {decoding_type: MTP, max_draft_len: 3}}",
            "speculative_config",
            "engine.llm_api.speculative_config",
        ),
        ("{tensor_parallel_size: 4}", "tensor_parallel_size", "engine.tp"),
        ("{max_batch_size: 4}", "max_batch_size", "engine.max_batch_size"),
        ("{enable_chunked_prefill: true}", "enable_chunked_prefill", "engine.enable_chunked_context"),
    ],
)
def test_an_option_with_a_key_is_refused(tmp_path: Path, options: str, option: str, key: str) -> None:
    assert mistakes(tmp_path, unchecked(options)) == [
        f"{PLACE}{option} has a key that is checked: `{key}`; write it there"
    ]


def test_null_for_an_option_with_a_key_is_refused(tmp_path: Path) -> None:
    text = unchecked("{cuda_graph_config: null}").replace("      batch_sizes: [128]\n", "")
    assert mistakes(tmp_path, text.replace("    cuda_graph_config:\n", "")) == [
        f"{PLACE}cuda_graph_config has a key that is checked: `engine.llm_api.cuda_graph_config`; write it "
        "there"
    ]


def test_an_option_that_is_given_twice_is_refused(tmp_path: Path) -> None:
    text = unchecked("{moe_config: {backend: AUTO}}", "    moe_config: {backend: TRTLLM}")
    assert mistakes(tmp_path, text) == [
        f"{PLACE}moe_config.backend is also set by `engine.llm_api.moe_config.backend`; remove one of them"
    ]


def test_sizes_of_graphs_that_are_switched_off(tmp_path: Path) -> None:
    text = changed(("      batch_sizes: [128]", "      batch_sizes: [128]\n      enabled: false"))
    assert mistakes(tmp_path, text) == [
        "s.yaml:26:7: engine.llm_api.cuda_graph_config.enabled: expected no other key of cuda_graph_config "
        "next to `false`, found batch_sizes"
    ]
