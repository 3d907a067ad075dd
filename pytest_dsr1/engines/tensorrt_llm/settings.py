"""The settings of the engines that run TensorRT-LLM, in the newest version's terms."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from math import ceil
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from pytest_dsr1.engines.trtllm_options.options import (
    FORMER_NAMES,
    KEYS_OF_THE_ENGINE,
    KvCacheConfig,
    LlmApiOptions,
)
from pytest_dsr1.findings import Finding
from pytest_dsr1.scenario.schema.base import ExpandedText, PositiveInt, VariableName
from pytest_dsr1.scenario.schema.engine import EngineSettings, KvCacheLimits, ModelSource, Purpose
from pytest_dsr1.scenario.schema.rule import Answer

MOST_RECORDED_TOKENS = 20_000_000
"""The most output tokens with request records by default: trtllm-bench decodes every answer for them."""
DEFAULT_MEMORY_FRACTION = 0.9
"""The share of the memory left after the weights that TensorRT-LLM gives the KV cache by default."""
COUNTING_TOLERANCE = 1.05
"""More tokens per step than the drafts allow times this are not due to how an engine counts its steps."""


class TensorRtLlm(EngineSettings):
    """The settings of every engine that runs TensorRT-LLM."""

    former_names: ClassVar[Mapping[str, str]] = {
        **{old: f"in the newest TensorRT-LLM, {now}" for old, now in FORMER_NAMES.items()},
        **{name: f"it is `{key}`" for name, key in KEYS_OF_THE_ENGINE.items() if key != f"engine.{name}"},
    }
    """Scenarios use the newest names, and the engine translates them back."""
    unchecked_in: ClassVar[Mapping[str, str]] = {"engine.llm_api": "engine.llm_api.unchecked"}
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
    """Split long inputs over steps. Off in most published runs; on by default in TensorRT-LLM 1.1+."""
    eos_id: Annotated[int, Field(ge=-1)] = -1
    """The end token; -1 forces exact output lengths, as every published measurement did."""
    streaming: bool = False
    """Stream the answers; TTFT and TPOT need it. Off in every published measurement."""
    llm_api: LlmApiOptions = Field(default_factory=LlmApiOptions)
    """Options of the LLM API."""
    environment: dict[VariableName, ExpandedText] = Field(default_factory=dict)
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
    def draft_tokens(self) -> int | None:
        """The draft tokens of multi-token prediction; None with another kind of speculation."""
        speculative = self.llm_api.speculative_config
        if speculative is None:
            return None if "speculative_config" in (self.llm_api.unchecked or {}) else 0
        return speculative.max_draft_len

    @property
    def model_doubt(self) -> str | None:
        """A reason: unchecked options, which may change the model or its number formats."""
        given = ", ".join(self.llm_api.unchecked or {})
        return f"engine.llm_api.unchecked ({given}) may change the model" if given else None

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
    def kv_cache_format(self) -> Literal["auto", "fp8", "bfloat16", "nvfp4"] | None:
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
        """Return the options that process each input in one step.

        Without ``max_num_tokens`` the engine chooses it, above the longest input.
        """
        if not self.enable_chunked_context or self.max_num_tokens is None:
            return None
        least = "" if longest_input is None else f"{longest_input:,}, "
        return (
            f"set engine.enable_chunked_context: false, and engine.max_num_tokens to at least {least}the "
            "longest input"
        )

    def without_cuda_graph(self, requests: float) -> str | None:
        """Return the reason if no CUDA graph was captured for the batch of a rank."""
        graphs = self.llm_api.cuda_graph_config
        if graphs is not None and graphs.enabled is False:
            return "engine.llm_api.cuda_graph_config switches CUDA graphs off: remove it"
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
    command: Annotated[list[ExpandedText], Field(min_length=1)] = Field(
        default_factory=lambda: ["trtllm-bench"]
    )
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
    def command_words(self) -> tuple[str, ...]:
        """The scenario's command."""
        return tuple(self.command)

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
            f"by default runs of over {MOST_RECORDED_TOKENS:,} output tokens have none"
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
