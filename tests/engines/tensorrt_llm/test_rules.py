# ruff: noqa: E501  (options and messages stand whole)
"""Rules about options that are written unchecked, and about CUDA graphs that are switched off."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.scenario_files import changed, load_text, mistakes


def place(options: str, option: str) -> str:
    """Return the position and key of an unchecked option, in the scenario of :func:`unchecked`."""
    column = len("    unchecked: ") + options.index(option.rpartition(".")[2]) + 1
    return f"s.yaml:24:{column}: engine.llm_api.unchecked.{option}: "


def unchecked(options: str, beside: str = "") -> str:
    """Return a scenario with unchecked options in line 24, and other lines after them."""
    old = "    enable_attention_dp: true"
    return changed((old, f"{old}\n    unchecked: {options}\n{beside}".rstrip("\n")))


@pytest.mark.parametrize(
    ("options", "reports"),
    [
        ("{attn_backnd: TRTLLM}", ["attn_backnd: is not checked (did you mean `attn_backend`?)"]),
        (
            "{kv_cache_config: {tokens_per_blocks: 128, zzz: 1}}",
            [
                "kv_cache_config.tokens_per_blocks: is not checked (did you mean `kv_cache_config.tokens_per_block`?)",
                "kv_cache_config.zzz: is not checked",
            ],
        ),
        ("{moe_config: {backend: NEWGEMM}}", ["moe_config.backend: the value 'NEWGEMM' is not known here"]),
        (
            "{allreduce_strategy: {fallback: NCCL}}",
            ["allreduce_strategy.fallback: is not checked"],
        ),
        (
            "{a_new_one: {of: {any: depth}}, kv_connector: null}",
            ["a_new_one: is not checked", "kv_connector: is not checked"],
        ),
        (
            "{speculative_config: {decoding_type: NGram, max_matching_ngram_size: 4}}",
            [
                "speculative_config.decoding_type: the value 'NGram' is not known here",
                "speculative_config.max_matching_ngram_size: is not checked",
            ],
        ),
        (
            "{speculative_config: {decoding_type: MTP, new_length: 4}}",
            [
                "speculative_config.decoding_type: is not checked, because speculative_config.max_draft_len is missing in `engine.llm_api`",
                "speculative_config.new_length: is not checked",
            ],
        ),
        (
            "{speculative_config: {decoding_type: NGram, load_format: dummy}, new_config: {attn_backend: X}, dtype: auto}",
            [
                "speculative_config.decoding_type: the value 'NGram' is not known here",
                "speculative_config.load_format: is not checked (did you mean `load_format`?)",
                "new_config: is not checked (did you mean `moe_config`?)",
                "dtype: is not checked (did you mean `kv_cache_config.dtype`?)",
            ],
        ),
        ("{}", []),
    ],
)
def test_options_without_a_key_are_accepted_and_reported(
    tmp_path: Path, options: str, reports: list[str]
) -> None:
    warnings = load_text(tmp_path, unchecked(options)).warnings
    start = f"{tmp_path}/s.yaml:24: engine.llm_api.unchecked."
    assert [warning.removeprefix(start) for warning in warnings] == reports


def test_a_report_has_the_line_of_its_option(tmp_path: Path) -> None:
    warnings = load_text(tmp_path, unchecked("\n      a: 1\n      kv_cache_config:\n        b: 1")).warnings
    assert [warning.removeprefix(f"{tmp_path}/s.yaml:") for warning in warnings] == [
        "25: engine.llm_api.unchecked.a: is not checked",
        "27: engine.llm_api.unchecked.kv_cache_config.b: is not checked",
    ]


@pytest.mark.parametrize(
    "options",
    [
        "attn_backend: TRTLLM",
        "kv_cache_config: {tokens_per_block: 128, host_cache_size: 1000000000, free_gpu_memory_fraction: 0.8, enable_block_reuse: false}",
        "moe_config: {use_low_precision_moe_combine: true, load_balancer: {num_slots: 288, layer_updates_per_iter: 1}}",
        "moe_config: {load_balancer: eplb.yaml}",
        "moe_config: {backend: AUTO}",
        "moe_config: {backend: DENSEGEMM}",
        "enable_lm_head_tp_in_adp: true\n    num_postprocess_workers: 4\n    trust_remote_code: true",
        "torch_compile_config: {enable_fullgraph: true}\n    nvfp4_gemm_config: {allowed_backends: [cutlass]}",
        "env_overrides: {TRTLLM_ENABLE_PDL: '1'}\n    load_format: dummy",
        "batch_wait_timeout_iters: 50\n    batch_wait_max_tokens_ratio: 0.75",
        "sparse_attention_config: {algorithm: dsa, index_topk: 2048}",
        "cache_transceiver_config: {backend: NIXL, max_tokens_in_buffer: 16384}",
        "enable_chunked_prefill: true",
    ],
)
def test_the_keys_of_published_configurations_are_known(tmp_path: Path, options: str) -> None:
    old = "    enable_attention_dp: true"
    assert load_text(tmp_path, changed((old, f"{old}\n    {options}"))).warnings == ()


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
        ("{enable_chunked_prefill: true}", "enable_chunked_prefill", "engine.llm_api.enable_chunked_prefill"),
        ("{attn_backend: TRTLLM}", "attn_backend", "engine.llm_api.attn_backend"),
    ],
)
def test_an_option_with_a_key_is_refused(tmp_path: Path, options: str, option: str, key: str) -> None:
    assert mistakes(tmp_path, unchecked(options)) == [
        f"{place(options, option)}has a key that is checked: `{key}`; write it there"
    ]


@pytest.mark.parametrize(
    ("options", "option", "sentence"),
    [
        (
            "{kv_cache_dtype: fp8}",
            "kv_cache_dtype",
            "is an older name of `engine.llm_api.kv_cache_config.dtype`; write it there",
        ),
        (
            "{pytorch_backend_config: {moe_backend: NEW}}",
            "pytorch_backend_config.moe_backend",
            "is an older name of `engine.llm_api.moe_config.backend`; write it there",
        ),
        (
            "{pytorch_backend_config: {a_new_one: 1}}",
            "pytorch_backend_config.a_new_one",
            "is a name of an older version: its keys are in `engine.llm_api` itself",
        ),
        (
            "{speculative_config: {decoding_type: MTP, num_nextn_predict_layers: 3}}",
            "speculative_config.num_nextn_predict_layers",
            "is an older name of `engine.llm_api.speculative_config.max_draft_len`; write it there",
        ),
        (
            "{tokens_per_block: 64}",
            "tokens_per_block",
            "has no effect here: it belongs in `engine.llm_api.kv_cache_config.tokens_per_block`",
        ),
        (
            "{moe_config: {attn_backend: X}}",
            "moe_config.attn_backend",
            "has no effect here: it belongs in `engine.llm_api.attn_backend`",
        ),
    ],
)
def test_an_older_name_and_a_wrong_place_are_refused(
    tmp_path: Path, options: str, option: str, sentence: str
) -> None:
    assert mistakes(tmp_path, unchecked(options)) == [place(options, option) + sentence]


def test_an_older_name_does_not_override_a_checked_option(tmp_path: Path) -> None:
    options = "{kv_cache_dtype: auto}"
    assert mistakes(tmp_path, unchecked(options, "    kv_cache_config: {dtype: fp8}")) == [
        f"{place(options, 'kv_cache_dtype')}is an older name of `engine.llm_api.kv_cache_config.dtype`, which has a "
        "value too; remove one of them"
    ]


def test_null_for_an_option_with_a_key_is_refused(tmp_path: Path) -> None:
    text = unchecked("{cuda_graph_config: null}").replace("      batch_sizes: [128]\n", "")
    assert mistakes(tmp_path, text.replace("    cuda_graph_config:\n", "")) == [
        f"{place('{cuda_graph_config', 'cuda_graph_config')}has a key that is checked: `engine.llm_api.cuda_graph_config`; write it there"
    ]


def test_an_option_that_is_given_twice_is_refused(tmp_path: Path) -> None:
    options = "{moe_config: {backend: NEWGEMM}}"
    assert mistakes(tmp_path, unchecked(options, "    moe_config: {backend: TRTLLM}")) == [
        f"{place(options, 'moe_config.backend')}is also set by `engine.llm_api.moe_config.backend`; remove one of them"
    ]


def test_sizes_of_graphs_that_are_switched_off(tmp_path: Path) -> None:
    text = changed(("      batch_sizes: [128]", "      batch_sizes: [128]\n      enabled: false"))
    assert mistakes(tmp_path, text) == [
        "s.yaml:26:7: engine.llm_api.cuda_graph_config.enabled: expected no other key of cuda_graph_config "
        "next to `false`, found batch_sizes"
    ]


def test_two_values_for_chunked_context(tmp_path: Path) -> None:
    text = changed(
        ("  max_num_tokens: 1151", "  max_num_tokens: 1151\n  enable_chunked_context: true"),
        ("    enable_attention_dp: true", "    enable_attention_dp: true\n    enable_chunked_prefill: false"),
    )
    assert mistakes(tmp_path, text) == [
        "s.yaml:25:5: engine.llm_api.enable_chunked_prefill: expected true or no value next to "
        "`engine.enable_chunked_context: true`; found false"
    ]


def test_chunked_prefill_needs_no_room_for_the_longest_input(tmp_path: Path) -> None:
    text = changed(
        ("  max_num_tokens: 1151", "  max_num_tokens: 512"),
        ("    enable_attention_dp: true", "    enable_attention_dp: true\n    enable_chunked_prefill: true"),
    )
    assert load_text(tmp_path, text).scenario.engine.chunked_context(1024) == (
        "set engine.enable_chunked_context: false, and engine.max_num_tokens to at least 1,024, the longest input"
    )


def test_context_parallelism_takes_gpus(tmp_path: Path) -> None:
    old = "    enable_attention_dp: true"
    assert mistakes(tmp_path, changed((old, f"{old}\n    context_parallel_size: 2"))) == [
        "s.yaml:18:3: engine.tp: expected tp x pp to be hardware.count, 8; found tp 8 x pp 1 x "
        "context_parallel_size 2 = 16 GPUs"
    ]


def test_a_launcher_of_ones_own_on_several_nodes(tmp_path: Path) -> None:
    command = ("  tp: 8", "  tp: 8\n  command: [srun, trtllm-llmapi-launch, trtllm-bench]")
    load_text(tmp_path, changed(command))
    nodes = ("  gpu: NVIDIA H200", "  gpu: NVIDIA H200\n  nodes: 2")
    assert mistakes(tmp_path, changed(nodes, command)) == [
        "s.yaml:20:3: engine.command: expected the program alone, because pytest-dsr1 starts it on 2 nodes (hardware.nodes) with srun; found srun: remove it, and put srun's options into slurm.srun of the site file"
    ]
