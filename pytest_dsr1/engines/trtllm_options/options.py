"""The options of TensorRT-LLM's LLM API that a scenario may set, in the newest version's terms."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from pytest_dsr1.scenario.schema.base import Part, PositiveInt

FORMER_NAMES = {
    "pytorch_backend_config": "its keys are in `engine.llm_api` itself",
    "enable_overlap_scheduler": "it is on by default, and `disable_overlap_scheduler: true` switches it off",
    "use_cuda_graph": "CUDA graphs are on by default; see `cuda_graph_config`",
    "cuda_graph_batch_sizes": "it is `cuda_graph_config.batch_sizes`",
    "cuda_graph_padding_enabled": "it is `cuda_graph_config.enable_padding`",
    "cuda_graph_max_batch_size": "it is `cuda_graph_config.max_batch_size`",
    "moe_backend": "it is `moe_config.backend`",
    "moe_max_num_tokens": "it is `moe_config.max_num_tokens`",
    "kv_cache_dtype": "it is `kv_cache_config.dtype`",
    "num_nextn_predict_layers": "it is `max_draft_len`",
}

KEYS_OF_THE_ENGINE = {
    "tensor_parallel_size": "engine.tp",
    "pipeline_parallel_size": "engine.pp",
    "moe_expert_parallel_size": "engine.ep",
    "max_batch_size": "engine.max_batch_size",
    "max_num_tokens": "engine.max_num_tokens",
    "max_seq_len": "engine.max_seq_len",
    "enable_chunked_prefill": "engine.enable_chunked_context",
}
"""Options of the LLM API that are not in `engine.llm_api`, with their keys in a scenario."""


class CudaGraphConfig(Part):
    """CUDA graphs of the decode step."""

    enabled: bool | None = None
    """`false`: no CUDA graphs. `cuda_graph_config: null` means the same."""
    batch_sizes: list[PositiveInt] | None = None
    """The batch sizes to capture."""
    max_batch_size: PositiveInt | None = None
    """The largest batch size to capture; must agree with `batch_sizes`."""
    enable_padding: bool | None = None
    """Pad a batch up to the next captured size."""


class MoeConfig(Part):
    """The mixture-of-experts layers."""

    backend: Literal["CUTLASS", "TRTLLM", "DEEPGEMM", "WIDEEP", "CUTEDSL", "TRITON", "VANILLA"] | None = None
    """The kernel library of the experts."""
    max_num_tokens: PositiveInt | None = None
    """The most tokens in one MoE call."""


class KvCacheConfig(Part):
    """The KV cache."""

    dtype: Literal["auto", "fp8", "bfloat16", "nvfp4"] | None = None
    """The element type of the cache."""
    free_gpu_memory_fraction: Annotated[float, Field(gt=0, le=1)] | None = None
    """The cache's share of the memory left after the weights."""
    enable_block_reuse: bool | None = None
    """Reuse blocks of equal prefixes; off in every published measurement."""
    max_tokens: PositiveInt | None = None
    """The most tokens in the cache."""


class SpeculativeConfig(Part):
    """Multi-token prediction."""

    decoding_type: Literal["MTP"]
    """The kind of speculative decoding."""
    max_draft_len: PositiveInt
    """Draft tokens per step (`num_nextn_predict_layers` before 1.3)."""
    use_relaxed_acceptance_for_thinking: bool | None = None
    """Accept a draft token among the most likely ones while the model thinks."""
    relaxed_topk: PositiveInt | None = None
    """The number of candidates for relaxed acceptance."""
    relaxed_delta: Annotated[float, Field(ge=0)] | None = None
    """The largest distance to the most likely candidate."""


class AttentionDpConfig(Part):
    """Scheduling across attention data-parallel ranks."""

    enable_balance: bool | None = None
    """Balance requests over the ranks."""
    batching_wait_iters: Annotated[int, Field(ge=0)] | None = None
    """Iterations to wait for a fuller batch."""
    timeout_iters: Annotated[int, Field(ge=0)] | None = None
    """Iterations after which a rank stops waiting."""


class LlmApiOptions(Part):
    """Options of TensorRT-LLM's LLM API, in the newest version's terms (the file for `--extra_llm_api_options`)."""  # noqa: E501

    enable_attention_dp: bool | None = None
    """Attention data parallelism: each rank serves its own requests."""
    attention_dp_config: AttentionDpConfig | None = None
    """Scheduling of attention data parallelism."""
    cuda_graph_config: Annotated[
        CudaGraphConfig | None, Field(json_schema_extra={"x-dsr1-null": {"enabled": False}})
    ] = None
    """CUDA graphs of the decode step. In a scenario file `null` switches them off."""
    moe_config: MoeConfig | None = None
    """The mixture-of-experts layers."""
    kv_cache_config: KvCacheConfig | None = None
    """The KV cache. If you set any of its keys, also set `free_gpu_memory_fraction` and `enable_block_reuse: false`, because older versions replace the whole block."""  # noqa: E501
    speculative_config: SpeculativeConfig | None = None
    """Multi-token prediction."""
    print_iter_log: bool | None = None
    """Log a line for every iteration, which gives throughput over time."""
    stream_interval: PositiveInt | None = None
    """Iterations between two streamed chunks."""
    disable_overlap_scheduler: bool | None = None
    """Switch the overlap scheduler off (on by default)."""
    enable_iter_perf_stats: bool | None = None
    """Collect iteration statistics, which costs time."""
    allreduce_strategy: str | None = None
    """The way to sum partial results over GPUs."""
    enable_autotuner: bool | None = None
    """Tune kernels at start."""
    enable_min_latency: bool | None = None
    """The engine's minimum-latency mode."""
    unchecked: dict[str, Any] | None = None
    """Any other options, or values that the keys above do not take; written into the options file as they are."""  # noqa: E501


def with_own_key(options: LlmApiOptions) -> Iterator[tuple[str, str, bool]]:
    """Yield each unchecked option that has a key in a scenario, that key, and whether the key has a value.

    An option whose value its key does not take may be given unchecked, unless the key has a value.
    """
    given = options.model_dump(exclude_none=True)
    for name, value in (options.unchecked or {}).items():
        if name in KEYS_OF_THE_ENGINE:
            yield name, KEYS_OF_THE_ENGINE[name], False
            continue
        found = False
        for path in _paths(name, value):
            if _at(given, path) is not None:
                found = True
                yield ".".join(path), f"engine.llm_api.{'.'.join(path)}", True
            elif _is_taken(path, _at(options.unchecked, path)):
                found = True
                yield ".".join(path), f"engine.llm_api.{'.'.join(path)}", False
        if not found and _is_taken((name,), value):  # only as a whole, such as a mapping with required keys
            yield name, f"engine.llm_api.{name}", False


def _paths(*start: Any) -> Iterator[tuple[str, ...]]:
    """Yield the paths of the single values in a mapping; the last argument is the mapping."""
    *path, value = start
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _paths(*path, key, inner)
    else:
        yield tuple(path)


def _at(tree: Any, path: Sequence[str]) -> Any:
    for key in path:
        tree = tree.get(key) if isinstance(tree, dict) else None
    return tree


def _is_taken(path: Sequence[str], value: Any) -> bool:
    """Return whether the checked key at this path exists and takes the value."""
    for key in reversed(path):
        value = {key: value}
    try:
        LlmApiOptions.model_validate(value)
    except ValidationError:
        return False
    return True
