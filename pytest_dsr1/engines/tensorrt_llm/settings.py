"""The settings of the engines that run TensorRT-LLM, in the newest version's terms."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from pytest_dsr1.engines.trtllm_options.acceptance import cannot_force, forced_by_hand
from pytest_dsr1.engines.trtllm_options.answers import (
    DECIDED_BY,
    NAMES_BEFORE,
    SETTINGS_FOR,
    UNCHECKED_IN,
    Answers,
)
from pytest_dsr1.engines.trtllm_options.options import KEYS_OF_THE_ENGINE, LlmApiOptions
from pytest_dsr1.findings import Finding
from pytest_dsr1.scenario.schema.base import ExpandedText, PositiveInt, VariableName
from pytest_dsr1.scenario.schema.engine import EngineSettings, KvCacheLimits, ModelSource
from pytest_dsr1.scenario.schema.rule import Answer, Purpose

MOST_RECORDED_TOKENS = 20_000_000
"""The most output tokens with request records by default: trtllm-bench decodes every answer for them."""
COUNTING_TOLERANCE = 1.05
"""More tokens per step than the drafts allow times this are not due to how an engine counts its steps."""


class TensorRtLlm(EngineSettings):
    """The settings of every engine that runs TensorRT-LLM."""

    former_names: ClassVar[Mapping[str, str]] = {
        **NAMES_BEFORE,
        **{name: f"it is `{key}`" for name, key in KEYS_OF_THE_ENGINE.items() if key != f"engine.{name}"},
    }
    unchecked_in: ClassVar[Mapping[str, str]] = UNCHECKED_IN
    decided_by: ClassVar[Mapping[Answer, tuple[str, ...]]] = DECIDED_BY
    settings_for: ClassVar[Mapping[Purpose, str]] = {
        **SETTINGS_FOR,
        "kv_cache_memory": "engine.kv_cache_free_gpu_mem_fraction",
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
    def longest_start_s(self) -> float:
        """The limit of the start."""
        return self.startup_timeout_s

    @property
    def trtllm(self) -> Answers:
        """What TensorRT-LLM's options say."""
        return Answers(
            options=self.llm_api,
            tp=self.tp,
            pp=self.pp,
            max_batch_size=self.max_batch_size,
            memory_fraction=self.kv_cache_free_gpu_mem_fraction,
            memory_setting="engine.kv_cache_free_gpu_mem_fraction",
        )

    @property
    def gpus(self) -> int:
        """One per rank and pipeline stage, and with context parallelism several."""
        return self.tp * self.pp * (self.llm_api.context_parallel_size or 1)

    @property
    def spans_nodes(self) -> Literal["evenly"]:
        """Evenly: each GPU is a rank."""
        return "evenly"

    @property
    def chunks(self) -> bool:
        """Whether long inputs are split over steps; the LLM API's own key takes precedence."""
        asked = self.llm_api.enable_chunked_prefill
        return self.enable_chunked_context if asked is None else asked

    @property
    def ranks(self) -> int:
        """The answer of TensorRT-LLM's options."""
        return self.trtllm.ranks

    @property
    def slots(self) -> int | None:
        """The answer of TensorRT-LLM's options."""
        return self.trtllm.slots

    @property
    def slots_reason(self) -> str:
        """The answer of TensorRT-LLM's options."""
        return self.trtllm.slots_reason

    @property
    def streams(self) -> bool:
        """The scenario's value."""
        return self.streaming

    @property
    def draft_tokens(self) -> int | None:
        """The answer of TensorRT-LLM's options."""
        return self.trtllm.draft_tokens

    @property
    def model_doubt(self) -> str | None:
        """The answer of TensorRT-LLM's options."""
        return self.trtllm.model_doubt

    @property
    def exact_lengths(self) -> bool:
        """True if no token ends an answer."""
        return self.eos_id < 0

    @property
    def process_environments(self) -> tuple[Mapping[str, str], ...]:
        """The scenario's value."""
        return (self.environment,)

    def cannot_force(self, acceptance_length: float) -> str | None:
        """Return the answer of TensorRT-LLM's variable."""
        return cannot_force(acceptance_length)

    def forced_by_hand(self, environ: Mapping[str, str]) -> Iterator[tuple[str, float | None]]:
        """Look for TensorRT-LLM's variable."""
        words = {"engine.command": self.command_words}
        yield from forced_by_hand(environ, self.environment, self.llm_api, words)

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
        """The answer of TensorRT-LLM's options."""
        return self.trtllm.kv_cache_format

    @property
    def kv_cache_limits(self) -> KvCacheLimits | None:
        """The answer of TensorRT-LLM's options."""
        return self.trtllm.kv_cache_limits

    def chunked_context(self, longest_input: int | None) -> str | None:
        """Return the options that process each input in one step.

        Without ``max_num_tokens`` the engine chooses it, above the longest input.
        """
        if not self.chunks or self.max_num_tokens is None:
            return None
        least = "" if longest_input is None else f"{longest_input:,}, "
        return (
            f"set engine.enable_chunked_context: false, and engine.max_num_tokens to at least {least}the "
            "longest input"
        )

    def without_cuda_graph(self, requests: float) -> str | None:
        """Return the answer of TensorRT-LLM's options."""
        return self.trtllm.without_cuda_graph(requests)


class TrtllmBench(TensorRtLlm):
    """NVIDIA's `trtllm-bench throughput`, run as a child process with the published options. Takes `model.path`."""  # noqa: E501

    type: Literal["trtllm-bench"]
    """NVIDIA's benchmark command."""
    command: Annotated[list[ExpandedText], Field(min_length=1)] = Field(
        default_factory=lambda: ["trtllm-bench"]
    )
    """The program, with an optional prefix such as `[docker, run, IMAGE, trtllm-bench]`. With several `hardware.nodes` the program alone, which pytest-dsr1 then starts with `srun`."""  # noqa: E501
    scheduler_policy: Literal["guaranteed_no_evict", "max_utilization"] | None = None
    """The capacity scheduler."""
    request_records: bool | None = None
    """Ask for a record of each request (`--request_json`, which decodes every answer); by default on for runs of up to 20 million output tokens."""  # noqa: E501

    whole_script: ClassVar[str] = "command.sh"
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
    """`tensorrt_llm.LLM` of this Python environment, or of the site's container (1.0 or newer)."""
    request_timings: bool = False
    """Ask for each request's times inside the engine (`return_perf_metrics`), which separate queue and prefill."""  # noqa: E501

    answers_questions: ClassVar[bool] = True

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
