"""The options in effect of a vLLM server: lines of a real log, lines of other versions, and labels."""

from __future__ import annotations

import pytest

from pytest_dsr1.engines.in_effect import Option
from pytest_dsr1.engines.openai.server.vllm_options import options_in_labels, options_in_log

LOG = """\
(APIServer pid=1792) INFO 11-29 16:32:38 [api_utils.py:273] non-default args: {'tensor_parallel_size': 4, \
'kv_cache_dtype': 'fp8', 'enforce_eager': True}
(APIServer pid=1792) INFO 11-29 16:32:39 [scheduler.py:252] Chunked prefill is enabled with \
max_num_batched_tokens=8192.
(EngineCore pid=1904) INFO 11-29 16:32:56 [core.py:116] Initializing a V1 LLM engine (v0.26.0) with config: \
model='/m', speculative_config=None, tokenizer='/m', dtype=torch.bfloat16, max_seq_len=4096, \
tensor_parallel_size=2, pipeline_parallel_size=1, data_parallel_size=1, decode_context_parallel_size=1, \
disable_custom_all_reduce=False, quantization=fp8, quantization_config=None, enforce_eager=False, \
kv_cache_dtype=auto, device_config=cuda, seed=0, enable_prefix_caching=False, enable_chunked_prefill=True, \
compilation_config={'mode': <CompilationMode.VLLM_COMPILE: 3>, 'cudagraph_mode': \
<CUDAGraphMode.FULL_AND_PIECEWISE: (2, 1)>, 'cudagraph_capture_sizes': [1, 2, 4, 8], \
'max_cudagraph_capture_size': 512}, kernel_config=KernelConfig(moe_backend='auto', linear_backend='auto')
(Worker_TP0_EP0 pid=2010) INFO 11-29 16:33:14 [cuda.py:482] Using FLASH_ATTN_MLA attention backend out of \
potential backends: ['FLASH_ATTN_MLA', 'FLASHMLA', 'TRITON_MLA'].
(Worker_TP0_EP0 pid=2010) INFO 11-29 16:33:14 [selector.py:174] Using FLASH_ATTN MLA prefill backend.
(Worker_TP0_EP0 pid=2010) INFO 11-29 16:33:14 [expert_map_manager.py:245] [EP Rank 0/2] Expert parallelism \
is enabled. Expert placement strategy: linear. Local/global number of experts: 128/256.
(Worker_TP0_EP0 pid=2010) INFO 11-29 16:33:14 [fp8.py:405] Using TRITON Fp8 MoE backend out of potential \
backends: ['FLASHINFER_CUTLASS', 'TRITON'].
(Worker_TP0_EP0 pid=2010) INFO 11-29 16:33:35 [gpu_worker.py:560] Available KV cache memory: 41.5 GiB
(EngineCore pid=1904) INFO 11-29 16:33:35 [kv_cache_utils.py:2177] GPU KV cache size: 2,578,672 tokens
"""
"""A start of vLLM 0.26.0 on two H200s (2026-11-29), cut; its first line is of other arguments."""


def values(log: str) -> dict[str, object]:
    found: dict[str, object] = {}
    for option in options_in_log(log, "server.log"):
        found.setdefault(option.name, option.in_effect)
    return found


def test_a_start_on_two_h200s() -> None:
    """What was asked for is in the same log and is not read."""
    assert values(LOG) == {
        "version": "0.26.0",
        "quantization": "fp8",
        "kv_cache_dtype": "auto",
        "tp": 2,
        "pp": 1,
        "dp": 1,
        "max_seq_len": 4096,
        "cuda_graphs": True,
        "cuda_graph_max_batch_size": 512,
        "cuda_graph_batch_sizes": [1, 2, 4, 8],
        "draft_tokens": 0,
        "chunked_prefill": True,
        "block_reuse": False,
        "attention_backend": "FLASH_ATTN_MLA",
        "moe_backend": "TRITON",
        "ep": 2,
        "max_num_tokens": 8192,
        "kv_cache_tokens": 2578672,
        "kv_cache_gib": 41.5,
    }


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        # vllm issue 49011, 0.25.1
        (
            "Initializing a V1 LLM engine (v0.25.1) with config: speculative_config=SpeculativeConfig("
            "method='mtp', model='m', num_spec_tokens=2), kv_cache_dtype=nvfp4",
            "draft_tokens",
            2,
        ),
        # Read in the code of 0.11.0, 0.33.0, 0.17.0 and 0.13.0
        (
            "Initializing a V1 LLM engine (v0.11.0) with config: chunked_prefill_enabled=False, x",
            "chunked_prefill",
            False,
        ),
        ("Initializing a V1 LLM engine (v0.33.0) with config: enforce_eager=True, x", "cuda_graphs", False),
        (
            "Initializing a V1 LLM engine (v0.26.0) with config: enforce_eager=False, 'cudagraph_mode': "
            "<CUDAGraphMode.NONE: 0>, x",
            "cuda_graphs",
            False,
        ),
        (
            "Using 'FLASHINFER_CUTLASS' NvFp4 MoE backend out of potential backends: ['A'].",
            "moe_backend",
            "FLASHINFER_CUTLASS",
        ),
        (
            "Using FlashInfer CUTLASS Unquantized MoE backend out of potential backends: ['A'].",
            "moe_backend",
            "FlashInfer CUTLASS",
        ),
        ("Using AttentionBackendEnum.FLASHMLA backend.", "attention_backend", "FLASHMLA"),
        (
            "GPU KV cache size: 1,024 tokens, Maximum concurrency for 16 tokens per request: 64.00x",
            "kv_cache_tokens",
            1024,
        ),
    ],
)
def test_lines_of_other_versions(line: str, name: str, value: object) -> None:
    assert values(f"INFO 07-25 13:41:51 [core.py:114] {line}\n")[name] == value


def test_a_log_without_options() -> None:
    assert values("Using FLASH_ATTN MLA prefill backend.\nUsing TRITON backend.\n") == {}


@pytest.mark.parametrize(
    "text",
    [
        "Using " * 20_000 + "MoE backend",
        "Initializing a V1 LLM engine (v" * 5_000,
        "Initializing a V1 LLM engine (v1) with config: " + "speculative_config=A(" * 5_000,
    ],
)
def test_no_line_takes_quadratic_time(text: str) -> None:
    """Each took minutes with patterns without bounds; now 0.1 s is much."""
    assert "moe_backend" not in values(text)


def test_labels_of_the_cache() -> None:
    labels = {
        "block_size": "64",
        "cache_dtype": "fp8",
        "enable_prefix_caching": "False",
        "num_gpu_blocks": "40291",
        "kv_cache_size_tokens": "2578672",
    }
    assert list(options_in_labels(labels, "/metrics")) == [
        Option("kv_cache_dtype", "fp8", "/metrics"),
        Option("block_reuse", False, "/metrics"),
        Option("kv_cache_blocks", 40291, "/metrics"),
        Option("kv_cache_tokens", 2578672, "/metrics"),
    ]
    unset = {"cache_dtype": "None", "enable_prefix_caching": "None", "num_gpu_blocks": "None"}
    assert list(options_in_labels(unset, "/metrics")) == []
