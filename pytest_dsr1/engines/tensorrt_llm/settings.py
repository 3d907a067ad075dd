"""The settings of the engines that run TensorRT-LLM, in the newest version's terms."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from math import ceil
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from pytest_dsr1.findings import Finding
from pytest_dsr1.scenario.schema.base import Part, PositiveInt, VariableName
from pytest_dsr1.scenario.schema.engine import EngineSettings, KvCacheLimits, ModelSource, Purpose
from pytest_dsr1.scenario.schema.rule import Answer

MOST_RECORDED_TOKENS = 20_000_000
"""The most output tokens with request records by default: trtllm-bench decodes every answer for them."""
DEFAULT_MEMORY_FRACTION = 0.9
"""The share of the memory left after the weights that TensorRT-LLM gives the KV cache by default."""

_FORMER_NAMES = {
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


class CudaGraphConfig(Part):
    """CUDA graphs of the decode step."""

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

    dtype: Literal["auto", "fp8", "bfloat16"] | None = None
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
    cuda_graph_config: CudaGraphConfig | None = None
    """CUDA graphs of the decode step."""
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


class TensorRtLlm(EngineSettings):
    """The settings of every engine that runs TensorRT-LLM."""

    former_names: ClassVar[Mapping[str, str]] = {
        old: f"in the newest TensorRT-LLM, {now}" for old, now in _FORMER_NAMES.items()
    }
    """Scenarios use the newest names, and the engine translates them back."""
    decided_by: ClassVar[Mapping[Answer, tuple[str, ...]]] = {
        "draft_tokens": ("engine.llm_api.speculative_config",),
        "slots": (
            "engine.max_batch_size",
            "engine.tp",
            "engine.pp",
            "engine.llm_api.enable_attention_dp",
        ),
        "streams": ("engine.streaming",),
    }
    settings_for: ClassVar[Mapping[Purpose, str]] = {
        "attention_dp": "engine.llm_api.enable_attention_dp",
        "kv_cache_in_fp8": "kv_cache_config.dtype",
        "kv_cache_memory": "engine.kv_cache_free_gpu_mem_fraction",
        "slots": "engine.max_batch_size",
        "speculation": "engine.llm_api.speculative_config",
        "streaming": "engine.streaming: true",
    }

    dialect: str | None = None
    """The TensorRT-LLM version whose option names are used, such as `1.2`; by default the installed one."""
    tp: PositiveInt = 1
    """Tensor parallelism."""
    pp: PositiveInt = 1
    """Pipeline parallelism."""
    ep: PositiveInt | None = None
    """Expert parallelism; divides `tp`."""
    max_batch_size: PositiveInt | None = None
    """The most requests in one step, per rank."""
    max_num_tokens: PositiveInt | None = None
    """The most tokens in one step, per rank."""
    max_seq_len: PositiveInt | None = None
    """The longest sequence; by default that of the dataset."""
    kv_cache_free_gpu_mem_fraction: Annotated[float, Field(gt=0, le=1)] | None = None
    """The share of free memory for the KV cache (0.9 by default)."""
    enable_chunked_context: bool = False
    """Split long inputs over steps. Off in all published runs; on by default in TensorRT-LLM 1.1+."""
    eos_id: Annotated[int, Field(ge=-1)] = -1
    """The end token; -1 forces exact output lengths, as every published measurement did."""
    streaming: bool = False
    """Stream the answers; TTFT and TPOT need it. Off in every published measurement."""
    llm_api: LlmApiOptions = Field(default_factory=LlmApiOptions)
    """Options of the LLM API."""
    environment: dict[VariableName, str] = Field(default_factory=dict)
    """Environment variables of the engine's process."""
    startup_timeout_s: Annotated[float, Field(gt=0)] = 3600.0
    """The longest time until the first measured request, in seconds; weights can load for 25 minutes without output."""  # noqa: E501
    run_timeout_s: Annotated[float, Field(gt=0)] | None = None
    """The longest measured time in seconds; by default three times the planned time plus 10 minutes."""

    @property
    def gpus(self) -> int:
        """One per rank and pipeline stage."""
        return self.tp * self.pp

    @property
    def ranks(self) -> int:
        """``tp`` with attention data parallelism, else 1."""
        return self.tp if self.llm_api.enable_attention_dp else 1

    @property
    def slots(self) -> int | None:
        """The requests of all batches: each rank has its own, and each pipeline stage works on one."""
        return None if self.max_batch_size is None else self.max_batch_size * self.ranks * self.pp

    @property
    def slots_reason(self) -> str:
        """The size of the batch, and the ranks and pipeline stages that multiply it."""
        size = f"engine.max_batch_size {self.max_batch_size}"
        size += f" on each of {self.ranks} ranks" if self.ranks > 1 else ""
        return f"{size} in each of {self.pp} pipeline stages" if self.pp > 1 else size

    @property
    def streams(self) -> bool:
        """The scenario's value."""
        return self.streaming

    @property
    def draft_tokens(self) -> int:
        """The draft tokens of multi-token prediction."""
        speculative = self.llm_api.speculative_config
        return 0 if speculative is None else speculative.max_draft_len

    @property
    def exact_lengths(self) -> bool:
        """True if no token ends an answer."""
        return self.eos_id < 0

    @property
    def process_environment(self) -> Mapping[str, str]:
        """The scenario's value."""
        return self.environment

    def compile_caches(self, environ: Mapping[str, str]) -> Iterator[Path]:
        """Yield the cache of its DeepGEMM (TensorRT-LLM's deep_gemm/compiler.cuh)."""
        from pytest_dsr1.machine.warm_start import folder_named, home_folder

        yield folder_named(environ, "TRTLLM_DG_CACHE_DIR", home_folder(environ) / ".tensorrt_llm")

    @property
    def measuring_limit_s(self) -> float | None:
        """The scenario's value."""
        return self.run_timeout_s

    @property
    def kv_cache_format(self) -> Literal["auto", "fp8", "bfloat16"] | None:
        """The dtype of `kv_cache_config`."""
        options = self.llm_api.kv_cache_config
        return None if options is None else options.dtype

    @property
    def kv_cache_limits(self) -> KvCacheLimits | None:
        """The limits; None with pipeline stages, where a GPU only has the cache of its own layers."""
        if self.pp > 1:
            return None
        options = self.llm_api.kv_cache_config or KvCacheConfig()
        fraction = self.kv_cache_free_gpu_mem_fraction or options.free_gpu_memory_fraction
        share = fraction or DEFAULT_MEMORY_FRACTION
        return KvCacheLimits(options.max_tokens, share, max_tokens_setting="kv_cache_config.max_tokens")

    def chunked_context(self, longest_input: int | None) -> str | None:
        """Return the options that process each input in one step."""
        if not self.enable_chunked_context:
            return None
        least = "" if longest_input is None else f"{longest_input:,}, "
        return (
            f"set engine.enable_chunked_context: false, and engine.max_num_tokens to at least {least}the "
            "longest input"
        )

    def without_cuda_graph(self, requests: float) -> str | None:
        """Return the reason if no CUDA graph was captured for the batch of a rank."""
        graphs = self.llm_api.cuda_graph_config
        if graphs is None or self.pp > 1:
            return None
        batch, sizes = ceil(requests / self.ranks), graphs.batch_sizes
        largest = max(sizes) if sizes else graphs.max_batch_size
        if largest is None or (batch <= largest and (not sizes or graphs.enable_padding or batch in sizes)):
            return None
        if batch > largest:
            which, pad = f"of up to {largest}", ""
        else:
            which = f"of {', '.join(map(str, sorted(sizes or ())))}, without padding"
            pad = ", or set cuda_graph_config.enable_padding: true"
        return (
            f"a step has {batch:,} requests per rank, but CUDA graphs were captured only for batches "
            f"{which}, so the step runs without a graph: add {batch} to "
            f"engine.llm_api.cuda_graph_config.batch_sizes{pad}"
        )


class TrtllmBench(TensorRtLlm):
    """NVIDIA's `trtllm-bench throughput`, run as a child process with the published options. Takes `model.path`."""  # noqa: E501

    type: Literal["trtllm-bench"]
    """NVIDIA's benchmark command."""
    command: Annotated[list[str], Field(min_length=1)] = Field(default_factory=lambda: ["trtllm-bench"])
    """The program, with an optional prefix such as `[srun, --mpi=pmix, trtllm-llmapi-launch, trtllm-bench]`."""  # noqa: E501
    scheduler_policy: Literal["guaranteed_no_evict", "max_utilization"] | None = None
    """The capacity scheduler."""
    request_records: bool | None = None
    """Ask for a record of each request (`--request_json`, which decodes every answer); by default on for runs of up to 20 million output tokens."""  # noqa: E501

    script_is_whole: ClassVar[bool] = True
    settings_for: ClassVar[Mapping[Purpose, str]] = {
        **TensorRtLlm.settings_for,
        "output_over_time": "engine.llm_api.print_iter_log: true",
        "request_records": "engine.request_records: true",
    }

    @property
    def model_sources(self) -> tuple[ModelSource, ...]:
        """A checkpoint only."""
        return ("path",)

    def records_requests(self, output_tokens: Callable[[], float]) -> bool:
        """Return whether to ask for request records.

        Args:
            output_tokens: returns the output tokens of the run; called only if the scenario has no value.
        """
        asked = self.request_records
        return output_tokens() <= MOST_RECORDED_TOKENS if asked is None else asked

    def without_records(self, output_tokens: Callable[[], float]) -> str | None:
        """Return why there are no records: by default there are none in long runs."""
        if self.records_requests(output_tokens):
            return None
        why = (
            f"by default there are none for more than {MOST_RECORDED_TOKENS:,} output tokens"
            if self.request_records is None
            else "engine.request_records is false"
        )
        return f"{why}; set engine.request_records: true"

    def software(self, environ: Mapping[str, str]) -> Iterator[Finding]:
        """Look for the command and the version of TensorRT-LLM in this environment, and for Slurm's steps."""
        import shutil

        from pytest_dsr1.machine.host import installed_version
        from pytest_dsr1.process.slurm import step_in_a_step

        if nested := step_in_a_step(self.command, environ):
            yield Finding("mismatch", "Slurm", nested)
        if shutil.which(self.command[0], path=environ.get("PATH")) is None:
            message = (
                f"`{self.command[0]}` is not on PATH; run in NVIDIA's TensorRT-LLM container, or set "
                "`engine.command`"
            )
            yield Finding("mismatch", "TensorRT-LLM", message)
        elif version := installed_version("tensorrt-llm"):
            yield Finding("ok", "TensorRT-LLM", version)
        elif self.dialect is None:
            message = (
                "its version is unknown, so the newest option names are used; set `engine.dialect` to use "
                "the names of an older version"
            )
            yield Finding("warning", "TensorRT-LLM", message)


class Trtllm(TensorRtLlm):
    """TensorRT-LLM's LLM API in a child process, with records of every request and early verdicts. Takes `model.path` or `model.random_weights`."""  # noqa: E501

    type: Literal["trtllm"]
    """`tensorrt_llm.LLM` of this Python environment (1.0 or newer)."""
    request_timings: bool = False
    """Ask for each request's times inside the engine (`return_perf_metrics`), which separate queue and prefill."""  # noqa: E501

    @property
    def quantizes_random_weights(self) -> bool:
        """True: the LLM API makes random weights in the checkpoint's format."""
        return True

    def software(self, environ: Mapping[str, str]) -> Iterator[Finding]:
        """Look for the package in this Python environment."""
        del environ
        from pytest_dsr1.machine.host import installed_version

        if version := installed_version("tensorrt-llm"):
            yield Finding("ok", "TensorRT-LLM", version)
        else:
            message = (
                f"tensorrt_llm is not installed in {sys.executable}; run pytest in NVIDIA's TensorRT-LLM "
                "container"
            )
            yield Finding("mismatch", "TensorRT-LLM", message)
