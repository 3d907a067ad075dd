"""The arguments of `tensorrt_llm.LLM` as pydantic classes, version by version, and strict.

The source is the LLM API reference of 1.0.0rc4 and the known changes since then, not the plugin's table of
dialects.
"""

from __future__ import annotations

import os
from importlib.metadata import version
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model, model_validator

from tests.standins import release

_INSTALLED = version("tensorrt_llm")
_TOP_DTYPE = release.has_cache_dtype_at_the_top(_INSTALLED)


def newer(*since: int) -> bool:
    return release.newer(_INSTALLED, *since)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


def _optional(kinds: dict[str, Any]) -> dict[str, Any]:
    return {name: (kind | None, None) for name, kind in kinds.items()}


def _make(name: str, kinds: dict[str, Any], **others: Any) -> Any:
    return create_model(name, __base__=_Strict, **_optional(kinds), **others)


KvCacheConfig = _make(
    "KvCacheConfig",
    {
        "max_tokens": int,
        "host_cache_size": int,
        **({} if _TOP_DTYPE else {"dtype": Literal[release.CACHE_DTYPES]}),
        **({"tokens_per_block": int} if newer(1, 1) else {}),
        **({"use_kv_cache_manager_v2": bool | Literal["auto"]} if newer(1, 2) else {}),
    },
    free_gpu_memory_fraction=(float, Field(default=0.9, gt=0, le=1)),
    enable_block_reuse=(bool, True),
)


class CudaGraphConfig(_Strict):
    batch_sizes: list[int] | None = None
    max_batch_size: int | None = None
    enable_padding: bool = False

    @model_validator(mode="after")
    def _sizes_fit(self) -> CudaGraphConfig:
        if release.disagreeing_sizes(self.batch_sizes, self.max_batch_size):
            raise ValueError("CudaGraphConfig.batch_sizes and max_batch_size do not fit")
        return self


MoeConfig = _make(
    "MoeConfig",
    {
        "backend": Literal[release.moe_backends(_INSTALLED)],
        "max_num_tokens": int,
        "load_balancer": dict[str, Any] | str,
        **({"use_low_precision_moe_combine": bool, "disable_finalize_fusion": bool} if newer(1, 1) else {}),
    },
)
AttentionDpConfig = _make(
    "AttentionDpConfig", {"enable_balance": bool, "batching_wait_iters": int, "timeout_iters": int}
)


class MTPDecodingConfig(_Strict):
    decoding_type: ClassVar[str] = "MTP"
    if release.keeps_max_draft_len(_INSTALLED):
        max_draft_len: int = 1
        num_nextn_predict_layers: int | None = None
    else:
        num_nextn_predict_layers: int = 1  # type: ignore[no-redef]
        if newer(1, 3):
            max_draft_len: int | None = None  # type: ignore[no-redef]
    use_relaxed_acceptance_for_thinking: bool = False
    relaxed_topk: int = 1
    relaxed_delta: float = 0.0
    use_mtp_vanilla: bool = False
    if newer(1, 1):
        mtp_eagle_one_model: bool = True

    @model_validator(mode="after")
    def _one_length(self) -> MTPDecodingConfig:
        """Let the layers decide, as before #12341 and, if they are given, after it."""
        if self.num_nextn_predict_layers is not None and newer(1, 3):
            self.max_draft_len = self.num_nextn_predict_layers
        return self

    @property
    def drafts(self) -> int:
        return getattr(self, "max_draft_len", None) or self.num_nextn_predict_layers or 1


class NGramDecodingConfig(_Strict):
    decoding_type: ClassVar[str] = "NGram"
    max_matching_ngram_size: int = 4


TorchCompileConfig = _make(
    "TorchCompileConfig",
    {
        "enable_fullgraph": bool,
        "enable_inductor": bool,
        "enable_piecewise_cuda_graph": bool,
        "enable_userbuffers": bool,
        "max_num_streams": int,
        **({"capture_num_tokens": list[int]} if newer(1, 1) else {}),
    },
)
CacheTransceiverConfig = _make(
    "CacheTransceiverConfig",
    {"backend": Literal["DEFAULT", "UCX", "NIXL", "MOONCAKE", "MPI"], "max_tokens_in_buffer": int},
)
Nvfp4GemmConfig = _make(
    "Nvfp4GemmConfig",
    {"allowed_backends": list[Literal["cutlass", "cublaslt", "cutedsl", "cuda_core", "marlin"]]},
)

_CONFIGS: dict[str, Any] = {
    "torch_compile_config": TorchCompileConfig,
    "cache_transceiver_config": CacheTransceiverConfig,
    **({"nvfp4_gemm_config": Nvfp4GemmConfig} if newer(1, 2) else {}),
    "kv_cache_config": KvCacheConfig,
    "cuda_graph_config": CudaGraphConfig,
    "moe_config": MoeConfig,
    "speculative_config": MTPDecodingConfig | NGramDecodingConfig,
    **({"attention_dp_config": AttentionDpConfig} if newer(1, 1) else {}),
    **({"kv_cache_dtype": str} if _TOP_DTYPE else {}),
}
_FLAT: dict[str, Any] = {
    "tokenizer": str,
    "moe_expert_parallel_size": int,
    "max_batch_size": int,
    "max_num_tokens": int,
    "max_seq_len": int,
    "enable_attention_dp": bool,
    "print_iter_log": bool,
    "stream_interval": int,
    "disable_overlap_scheduler": bool,
    "allreduce_strategy": Literal[release.ALLREDUCE_STRATEGIES],
    "attn_backend": str,
    "enable_autotuner": bool,
    "enable_min_latency": bool,
    "load_format": Literal["auto", "dummy"],
    **({"max_batch_size": Annotated[int, Field(ge=8)]} if os.environ.get("DSR1_STANDIN_REFUSE") else {}),
    **({"return_perf_metrics": bool} if newer(1, 1) else {}),
    "num_postprocess_workers": int,
    "context_parallel_size": int,
    **(
        {
            "enable_lm_head_tp_in_adp": bool,
            "sparse_attention_config": dict[str, Any],
            "batch_wait_timeout_ms": float,
            "batch_wait_timeout_iters": int,
            "batch_wait_max_tokens_ratio": float,
        }
        if newer(1, 1)
        else {}
    ),
    **({"env_overrides": dict[str, str]} if newer(1, 2) else {}),
    **({"num_serve_frontends": int} if newer(1, 4) else {}),
}
TorchLlmArgs: Any = _make(
    "TorchLlmArgs",
    _FLAT | _CONFIGS,
    model=(str, ...),
    skip_tokenizer_init=(bool, False),
    trust_remote_code=(bool, False),
    tensor_parallel_size=(int, 1),
    pipeline_parallel_size=(int, 1),
    enable_chunked_prefill=(bool, False),
    enable_iter_perf_stats=(bool, False),
)


def update_llm_args_with_extra_dict(
    llm_args: dict[str, Any], llm_args_dict: dict[str, Any]
) -> dict[str, Any]:
    """Return arguments with the content of an options file; decoding_type selects the speculation class."""
    extra = dict(llm_args_dict)
    if "speculative_config" in extra:
        config = dict(extra["speculative_config"])
        kinds = {kind.decoding_type: kind for kind in (MTPDecodingConfig, NGramDecodingConfig)}
        extra["speculative_config"] = kinds[config.pop("decoding_type")](**config)
    return llm_args | extra
