"""The keys allowed in the file of --extra_llm_api_options, by version, and the refusal of others.

The source is the LLM API of each version, not the plugin's table of dialects.
"""

from __future__ import annotations

from typing import Any

from tests.standins.trtllm_bench.rendering import newer

_OLD_PYTORCH = {
    *("use_cuda_graph", "cuda_graph_batch_sizes", "cuda_graph_max_batch_size", "cuda_graph_padding_enabled"),
    *("moe_backend", "moe_max_num_tokens", "kv_cache_dtype", "print_iter_log", "enable_iter_perf_stats"),
}
_RELAXED = {"use_relaxed_acceptance_for_thinking", "relaxed_topk", "relaxed_delta"}


class RejectedError(ValueError):
    pass


def allowed(version: str) -> dict[str, Any]:
    """Return the allowed keys, each with the keys below it or None."""
    cache = {"free_gpu_memory_fraction", "enable_block_reuse", "max_tokens"}
    if newer(version, 1, 0):
        cache.add("dtype")
    draft = "max_draft_len" if newer(version, 1, 3) else "num_nextn_predict_layers"
    speculative = {"decoding_type", draft, *(_RELAXED if newer(version, 0, 20) else ())}
    keys: dict[str, Any] = {
        "enable_attention_dp": None,
        "kv_cache_config": cache,
        "speculative_config": speculative,
    }
    overlap = "disable_overlap_scheduler" if newer(version, 0, 20) else "enable_overlap_scheduler"
    if not newer(version, 0, 21):
        return {**keys, "pytorch_backend_config": _OLD_PYTORCH | {overlap}}
    keys[overlap] = None
    if not newer(version, 1, 0):
        return keys | dict.fromkeys(_OLD_PYTORCH)
    flat = ("print_iter_log", "enable_iter_perf_stats", "stream_interval", "allreduce_strategy")
    keys |= dict.fromkeys((*flat, "enable_autotuner", "enable_min_latency"))
    keys["cuda_graph_config"] = {"batch_sizes", "max_batch_size", "enable_padding"}
    keys["moe_config"] = {"backend", "max_num_tokens"}
    if newer(version, 1, 1):
        keys["attention_dp_config"] = {"enable_balance", "batching_wait_iters", "timeout_iters"}
    else:
        keys["kv_cache_dtype"] = None
    return keys


def check(content: dict[str, Any], version: str) -> None:
    """Refuse unknown keys like the real version, with pydantic's message since 1.0."""
    known = allowed(version)
    unknown = [key for key in content if key not in known]
    for key, below in known.items():
        if below is not None and isinstance(content.get(key), dict):
            unknown += [f"{key}.{inner}" for inner in content[key] if inner not in below]
    if not unknown:
        return
    if newer(version, 1, 0):
        rows = "".join(
            f"{key}\n  Extra inputs are not permitted [type=extra_forbidden, input_value=1, input_type=int]\n"
            "    For further information visit https://errors.pydantic.dev/2.11/v/extra_forbidden\n"
            for key in unknown
        )
        noun = "error" if len(unknown) == 1 else "errors"
        raise RejectedError(f"{len(unknown)} validation {noun} for TorchLlmArgs\n{rows}")
    raise TypeError(f"__init__() got an unexpected keyword argument '{unknown[0].rpartition('.')[2]}'")
