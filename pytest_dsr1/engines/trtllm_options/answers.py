"""What TensorRT-LLM's options say about a run: the same for each engine that takes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Literal

from pytest_dsr1.engines.trtllm_options.options import FORMER_NAMES, KvCacheConfig, LlmApiOptions
from pytest_dsr1.scenario.schema.engine import KvCacheLimits
from pytest_dsr1.scenario.schema.rule import Answer, Purpose

DEFAULT_MEMORY_FRACTION = 0.9
"""The share of the memory left after the weights that TensorRT-LLM gives the KV cache by default."""

DECIDED_BY: Mapping[Answer, tuple[str, ...]] = {
    "draft_tokens": ("engine.llm_api.speculative_config",),
    "slots": (
        "engine.max_batch_size",
        "engine.tp",
        "engine.pp",
        "engine.llm_api.enable_attention_dp",
    ),
    "streams": ("engine.streaming",),
}
"""The keys that decide the answers of an engine with these options."""

SETTINGS_FOR: Mapping[Purpose, str] = {
    "attention_dp": "engine.llm_api.enable_attention_dp",
    "kv_cache_in_fp8": "engine.llm_api.kv_cache_config.dtype",
    "slots": "engine.max_batch_size",
    "speculation": "engine.llm_api.speculative_config",
    "streaming": "engine.streaming: true",
}
"""The settings that serve a purpose with these options."""

UNCHECKED_IN: Mapping[str, str] = {"engine.llm_api": "engine.llm_api.unchecked"}
"""The block of these options, and the key that takes further ones as they are."""

NAMES_BEFORE: Mapping[str, str] = {
    old: f"in the newest TensorRT-LLM, {now}" for old, now in FORMER_NAMES.items()
}
"""Names of older versions, each with its replacement: scenarios use the newest names, and we translate."""


@dataclass(frozen=True, slots=True)
class Answers:
    """What the options say.

    Attributes:
        options: the block `llm_api`.
        tp: tensor parallelism.
        pp: pipeline parallelism.
        max_batch_size: the most requests in one step of a rank; None if TensorRT-LLM chooses.
        memory_fraction: the share of the memory left after the weights for the KV cache, as the engine's own
            key has it.
        memory_setting: that key.
    """

    options: LlmApiOptions
    tp: int = 1
    pp: int = 1
    max_batch_size: int | None = None
    memory_fraction: float | None = None
    memory_setting: str = ""

    @property
    def ranks(self) -> int:
        """``tp`` with attention data parallelism, else 1."""
        return self.tp if self.options.enable_attention_dp else 1

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
    def draft_tokens(self) -> int | None:
        """The draft tokens of multi-token prediction; None with another kind of speculation."""
        speculative = self.options.speculative_config
        if speculative is None:
            return None if "speculative_config" in (self.options.unchecked or {}) else 0
        return speculative.max_draft_len

    @property
    def model_doubt(self) -> str | None:
        """A reason: unchecked options may change the model or its number formats, and dummy weights do."""
        if self.options.load_format == "dummy":
            return "engine.llm_api.load_format: dummy replaces the checkpoint's weights"
        given = ", ".join(self.options.unchecked or {})
        return f"engine.llm_api.unchecked ({given}) may change the model" if given else None

    @property
    def kv_cache_format(self) -> Literal["auto", "fp8", "bfloat16", "nvfp4"] | None:
        """The dtype of `kv_cache_config`."""
        cache = self.options.kv_cache_config
        return None if cache is None else cache.dtype

    @property
    def kv_cache_limits(self) -> KvCacheLimits | None:
        """The limits; None with pipeline stages, where a GPU only has the cache of its own layers."""
        if self.pp > 1:
            return None
        cache = self.options.kv_cache_config or KvCacheConfig()
        fraction = self.memory_fraction or cache.free_gpu_memory_fraction
        share = fraction or DEFAULT_MEMORY_FRACTION
        return KvCacheLimits(cache.max_tokens, share, max_tokens_setting="kv_cache_config.max_tokens")

    def without_cuda_graph(self, requests: float) -> str | None:
        """Return the reason if no CUDA graph was captured for the batch of a rank."""
        graphs = self.options.cuda_graph_config
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
