"""The options of TensorRT-LLM's LLM API that a scenario may set, in the newest version's terms."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from pytest_dsr1.scenario.schema.base import Part, PositiveInt, VariableName

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


MoeBackend = Literal[
    "AUTO",
    "CUTLASS",
    "TRTLLM",
    "DEEPGEMM",
    "WIDEEP",
    "CUTEDSL",
    "TRITON",
    "VANILLA",
    "DENSEGEMM",
    "MARLIN",
    "MEGAMOE_DEEPGEMM",
    "MEGAMOE_CUTEDSL",
    "CUTEDSL_FC12",
]
"""The kernel libraries of every version that was read."""


class MoeConfig(Part):
    """The mixture-of-experts layers."""

    backend: MoeBackend | None = None
    """The kernel library of the experts. Each version has some of them ([values](engines/dialects.md#values))."""  # noqa: E501
    max_num_tokens: PositiveInt | None = None
    """The most tokens in one MoE call."""
    load_balancer: dict[str, Any] | str | None = None
    """Load balancing over the experts' GPUs (EPLB): a mapping such as `{num_slots: 288, layer_updates_per_iter: 1}`, as it is, or the path of a YAML file."""  # noqa: E501
    use_low_precision_moe_combine: bool | None = None
    """Combine the experts' outputs in lower precision; only with NVFP4."""
    disable_finalize_fusion: bool | None = None
    """Do not fuse the last step of the CUTLASS kernels, which makes results repeatable with more than 2 experts."""  # noqa: E501


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
    tokens_per_block: PositiveInt | None = None
    """Tokens in one block of the cache."""
    host_cache_size: Annotated[int, Field(ge=0)] | None = None
    """Bytes of host memory for blocks that leave the GPU."""
    use_kv_cache_manager_v2: bool | Literal["auto"] | None = None
    """The newer manager of the cache."""


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
    use_mtp_vanilla: bool | None = None
    """Run each layer of multi-token prediction once, instead of one layer several times."""
    mtp_eagle_one_model: bool | None = None
    """Run the draft layers as part of the model."""


class AttentionDpConfig(Part):
    """Scheduling across attention data-parallel ranks."""

    enable_balance: bool | None = None
    """Balance requests over the ranks."""
    batching_wait_iters: Annotated[int, Field(ge=0)] | None = None
    """Iterations to wait for a fuller batch."""
    timeout_iters: Annotated[int, Field(ge=0)] | None = None
    """Iterations after which a rank stops waiting."""


class TorchCompileConfig(Part):
    """Compilation with `torch.compile`."""

    enable_fullgraph: bool | None = None
    """Compile the whole model as one graph."""
    enable_inductor: bool | None = None
    """Use the Inductor backend."""
    enable_piecewise_cuda_graph: bool | None = None
    """CUDA graphs of the pieces between attention, for context steps too."""
    capture_num_tokens: list[PositiveInt] | None = None
    """The numbers of tokens to capture them for."""
    enable_userbuffers: bool | None = None
    """Use buffers that all GPUs have registered."""
    max_num_streams: PositiveInt | None = None
    """The most CUDA streams."""


class CacheTransceiverConfig(Part):
    """Transfer of the KV cache between servers that split context and generation."""

    backend: Literal["DEFAULT", "UCX", "NIXL", "MOONCAKE", "MPI"] | None = None
    """The transport."""
    max_tokens_in_buffer: PositiveInt | None = None
    """The most tokens in its buffer."""


class Nvfp4GemmConfig(Part):
    """Matrix products in NVFP4."""

    allowed_backends: list[Literal["cutlass", "cublaslt", "cutedsl", "cuda_core", "marlin"]] | None = None
    """The kernel libraries that the autotuner may choose."""


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
    attn_backend: str | None = None
    """The kernel library of attention, such as `TRTLLM`."""
    enable_chunked_prefill: bool | None = None
    """Split long inputs over steps. For `trtllm-bench` and `trtllm` the same as `engine.enable_chunked_context`."""  # noqa: E501
    enable_lm_head_tp_in_adp: bool | None = None
    """Split the output layer over the GPUs although attention is data-parallel."""
    context_parallel_size: PositiveInt | None = None
    """Context parallelism; multiplies the GPUs."""
    batch_wait_timeout_ms: Annotated[float, Field(ge=0)] | None = None
    """Milliseconds to wait for a fuller batch of inputs."""
    batch_wait_timeout_iters: Annotated[int, Field(ge=0)] | None = None
    """Iterations to wait for a fuller batch of inputs."""
    batch_wait_max_tokens_ratio: Annotated[float, Field(ge=0, le=1)] | None = None
    """The share of `max_num_tokens` from which a batch of inputs no longer waits."""
    num_postprocess_workers: Annotated[int, Field(ge=0)] | None = None
    """Processes that turn tokens into answers."""
    num_serve_frontends: PositiveInt | None = None
    """HTTP processes of trtllm-serve; with more than one it cannot choose its port."""
    torch_compile_config: TorchCompileConfig | None = None
    """Compilation with `torch.compile`."""
    nvfp4_gemm_config: Nvfp4GemmConfig | None = None
    """Matrix products in NVFP4."""
    sparse_attention_config: dict[str, Any] | None = None
    """Sparse attention: `algorithm`, and the keys of that algorithm as they are."""
    cache_transceiver_config: CacheTransceiverConfig | None = None
    """Transfer of the KV cache between servers."""
    load_format: Literal["auto", "dummy"] | None = None
    """`dummy`: random weights instead of the checkpoint's."""
    trust_remote_code: bool | None = None
    """Run code that comes with the checkpoint."""
    env_overrides: dict[VariableName, str] | None = None
    """Environment variables that TensorRT-LLM sets in its own processes; earlier versions take `engine.environment`."""  # noqa: E501
    unchecked: dict[str, Any] | None = None
    """Any other options, or values that the keys above do not take; written into the options file as they are."""  # noqa: E501

    @property
    def given(self) -> tuple[str, ...]:
        """The keys that have a value."""
        return tuple(self.model_dump(exclude_none=True))
