"""The content allowed in the file of --extra_llm_api_options, by version, and the refusal of other content.

The source is the LLM API of each version, not the plugin's table of dialects.
"""

from __future__ import annotations

from typing import Any

from tests.standins import release
from tests.standins.release import newer

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
    speculative = {"decoding_type", *(_RELAXED if newer(version, 0, 20) else ())}
    speculative |= {"num_nextn_predict_layers", *({"max_draft_len"} if newer(version, 1, 3) else ())}
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
    flat = (
        *(
            "print_iter_log",
            "enable_iter_perf_stats",
            "stream_interval",
            "allreduce_strategy",
            "attn_backend",
        ),
        *("enable_autotuner", "enable_min_latency", "trust_remote_code", "enable_chunked_prefill"),
        *("num_postprocess_workers", "load_format", "context_parallel_size"),
    )
    keys |= dict.fromkeys(flat)
    keys["cuda_graph_config"] = {"batch_sizes", "max_batch_size", "enable_padding"}
    keys["moe_config"] = {"backend", "max_num_tokens", "load_balancer"}
    keys["torch_compile_config"] = {
        *("enable_fullgraph", "enable_inductor", "enable_piecewise_cuda_graph", "enable_userbuffers"),
        "max_num_streams",
    }
    keys["cache_transceiver_config"] = {"backend", "max_tokens_in_buffer"}
    speculative |= {"use_mtp_vanilla"}
    cache |= {"host_cache_size"}
    if release.has_cache_dtype_at_the_top(version):
        keys["kv_cache_dtype"] = None
    else:
        cache |= {"dtype"}
    if newer(version, 1, 1):
        keys["attention_dp_config"] = {"enable_balance", "batching_wait_iters", "timeout_iters"}
        cache |= {"tokens_per_block"}
        speculative |= {"mtp_eagle_one_model"}
        keys["moe_config"] |= {"use_low_precision_moe_combine", "disable_finalize_fusion"}
        keys["torch_compile_config"] |= {"capture_num_tokens"}
        keys |= dict.fromkeys(("enable_lm_head_tp_in_adp", "sparse_attention_config"))
        keys |= dict.fromkeys(
            ("batch_wait_timeout_ms", "batch_wait_timeout_iters", "batch_wait_max_tokens_ratio")
        )
    if newer(version, 1, 2):
        keys["env_overrides"] = None
        keys["nvfp4_gemm_config"] = {"allowed_backends"}
        cache |= {"use_kv_cache_manager_v2"}
    if newer(version, 1, 4):
        keys["num_serve_frontends"] = None
    return keys


def draft_length(content: dict[str, Any], version: str) -> int:
    """Return the draft tokens per step that run, which may not be those that were asked for."""
    asked = content.get("speculative_config")
    if not asked:
        return 0
    layers = asked.get("num_nextn_predict_layers")
    if release.keeps_max_draft_len(version):
        return int(layers or asked.get("max_draft_len", 1))
    return int(layers or 1)


def check(content: dict[str, Any], version: str) -> None:
    """Refuse unknown keys and values like the real version, with pydantic's message since 1.0."""
    known = allowed(version)
    unknown = [key for key in content if key not in known]
    for key, below in known.items():
        if below is not None and isinstance(content.get(key), dict):
            unknown += [f"{key}.{inner}" for inner in content[key] if inner not in below]
    if not newer(version, 1, 0):
        if unknown:
            raise TypeError(
                f"__init__() got an unexpected keyword argument '{unknown[0].rpartition('.')[2]}'"
            )
        return
    faults = [
        (key, "Extra inputs are not permitted", "extra_forbidden", 1) for key in unknown
    ] + _wrong_values(content, version)
    if faults:
        rows = "".join(
            f"{key}\n  {message} [type={kind}, input_value={found!r}, input_type={type(found).__name__}]\n"
            f"    For further information visit https://errors.pydantic.dev/2.11/v/{kind}\n"
            for key, message, kind, found in faults
        )
        noun = "error" if len(faults) == 1 else "errors"
        raise RejectedError(f"{len(faults)} validation {noun} for TorchLlmArgs\n{rows}")


def _wrong_values(content: dict[str, Any], version: str) -> list[tuple[str, str, str, object]]:
    """Return (key, message, kind, value) of each value that the real classes refuse."""
    faults: list[tuple[str, str, str, object]] = []
    for path, values in (
        ("moe_config.backend", release.moe_backends(version)),
        ("allreduce_strategy", release.ALLREDUCE_STRATEGIES),
        ("kv_cache_config.dtype", release.CACHE_DTYPES),
    ):
        *levels, last = path.split(".")
        inner: Any = content
        for level in levels:
            inner = inner.get(level) or {}
        if last in inner and inner[last] not in values:
            names = f"{', '.join(map(repr, values[:-1]))} or {values[-1]!r}"
            faults.append((path, f"Input should be {names}", "literal_error", inner[last]))
    graphs = content.get("cuda_graph_config") or {}
    if release.disagreeing_sizes(graphs.get("batch_sizes"), graphs.get("max_batch_size")):
        message = "Value error, CudaGraphConfig.batch_sizes and max_batch_size do not fit"
        faults.append(("cuda_graph_config", message, "value_error", graphs))
    return faults
