"""The options in effect in TensorRT-LLM's log: lines of public logs, and what the code writes."""

from __future__ import annotations

import pytest

from pytest_dsr1.engines.in_effect import Option
from pytest_dsr1.engines.trtllm_options.in_log import options_in_log

OLD = """\
[TensorRT-LLM] TensorRT-LLM version: 1.1.0rc3
[12/20/2025-04:20:19] [TRT-LLM] [I] Using LLM with PyTorch backend
[12/20/2025-04:20:19] [TRT-LLM] [I] PyTorchConfig(extra_resource_managers={}, use_cuda_graph=True, \
cuda_graph_batch_sizes=[1, 2, 4, 8], cuda_graph_max_batch_size=128, cuda_graph_padding_enabled=True, \
disable_overlap_scheduler=True, moe_max_num_tokens=None, attn_backend='TRTLLM', moe_backend='CUTLASS', \
sampler_type=<SamplerType.auto: 'auto'>, kv_cache_dtype='auto', mamba_ssm_cache_dtype='auto')
[12/20/2025-04:20:19] [TRT-LLM] [I] ATTENTION RUNTIME FEATURES:  AttentionRuntimeFeatures(\
chunked_prefill=False, cache_reuse=True, has_speculative_draft_tokens=False, chunk_size=8192)
[TensorRT-LLM][INFO] [MemUsageChange] Allocated 0.56 GiB for max tokens in paged KV cache (8224).
[12/20/2025-04:21:19] [TRT-LLM] [I] max_seq_len=8224, max_num_requests=64, max_num_tokens=8192, \
max_batch_size=64
[TensorRT-LLM][INFO] [MemUsageChange] Allocated 5.95 GiB for max tokens in paged KV cache (86720).
[12/20/2025-04:22:19] [TRT-LLM] [I] max_seq_len=86720, max_num_requests=64, max_num_tokens=8192, \
max_batch_size=64
"""
"""A start of trtllm-serve 1.1.0rc3 on a DGX Spark (2025-12-20), cut."""
NEW = """\
[06/05/2026-22:17:24] [TRT-LLM] [I] [_torch] ATTENTION RUNTIME FEATURES:  AttentionRuntimeFeatures(\
chunked_prefill=False, cache_reuse=True, has_speculative_draft_tokens=False, chunk_size=8192)
[TRT-LLM] [I] [batchmgr][RANK 0] [MemUsageChange] Allocated 1.25 GiB for max tokens in paged KV cache (10240).
"""
"""Lines of NVIDIA/TensorRT-LLM issue 15022, a release candidate of 1.3."""
ARGS = (
    "[TRT-LLM] [RANK 0] [I] LLM Args:\nmodel='/models/DeepSeek-R1' tensor_parallel_size=8 "
    "pipeline_parallel_size=1 moe_expert_parallel_size=4 enable_attention_dp=True max_batch_size=None "
    "cuda_graph_config={graphs} kv_cache_config=KvCacheConfig(enable_block_reuse=False, max_tokens=None, "
    "dtype='fp8', host_cache_size=0) speculative_config={drafts} moe_config=MoeConfig(backend='TRTLLM', "
    "max_num_tokens=None) attn_backend='TRTLLM' disable_overlap_scheduler=False enable_chunked_prefill=True\n"
)
"""The form that pydantic gives the message of ``_torch/pyexecutor/py_executor_creator.py``."""


def values(log: str) -> dict[str, object]:
    found: dict[str, object] = {}
    for option in options_in_log(log, "server.log"):
        assert option.read_from == "server.log"
        found.setdefault(option.name, option.in_effect)
    return found


def test_a_start_of_1_1() -> None:
    """The first cache and its limits are of a trial run."""
    assert values(OLD) == {
        "kv_cache_dtype": "auto",
        "attention_backend": "TRTLLM",
        "moe_backend": "CUTLASS",
        "cuda_graphs": True,
        "cuda_graph_padding": True,
        "overlap_scheduler": False,
        "version": "1.1.0rc3",
        "max_batch_size": 64,
        "max_num_tokens": 8192,
        "chunked_prefill": False,
        "block_reuse": True,
        "kv_cache_tokens": 86720,
        "kv_cache_gib": 5.95,
    }


def test_lines_of_1_3() -> None:
    assert values(NEW) == {
        "chunked_prefill": False,
        "block_reuse": True,
        "kv_cache_tokens": 10240,
        "kv_cache_gib": 1.25,
    }


@pytest.mark.parametrize(
    ("graphs", "on", "padding"),
    [
        ("None", False, None),
        ("CudaGraphConfig(batch_sizes=[1, 2], max_batch_size=2, enable_padding=True)", True, True),
    ],
)
@pytest.mark.parametrize(
    ("drafts", "tokens"),
    [
        ("None", 0),
        ("MTPDecodingConfig(max_draft_len=3, num_nextn_predict_layers=3)", 3),
        ("MTPDecodingConfig(max_draft_len=None)", None),
    ],
)
def test_the_arguments_after_the_engines_own_changes(
    graphs: str, on: bool, padding: bool | None, drafts: str, tokens: int | None
) -> None:
    found = values(ARGS.format(graphs=graphs, drafts=drafts))
    assert (found.pop("cuda_graphs"), found.pop("cuda_graph_padding", None)) == (on, padding)
    assert found.pop("draft_tokens", None) == tokens
    assert found == {
        "kv_cache_dtype": "fp8",
        "attention_backend": "TRTLLM",
        "moe_backend": "TRTLLM",
        "tp": 8,
        "pp": 1,
        "ep": 4,
        "attention_dp": True,
        "overlap_scheduler": True,
        "chunked_prefill": True,
        "block_reuse": False,
    }


def test_a_log_without_options() -> None:
    assert list(options_in_log("Loading weights: 50%\n", "log")) == []
    assert list(options_in_log("[TensorRT-LLM] TensorRT LLM version: 1.2.0rc2\n", "log")) == [
        Option("version", "1.2.0rc2", "log")
    ]
