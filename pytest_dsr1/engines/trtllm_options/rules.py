"""The rules about TensorRT-LLM's options, for each engine that takes them.

They come from TensorRT-LLM's behavior and from the published DeepSeek-R1 scenarios, which all follow them.
"""

from __future__ import annotations

from typing import Any, Protocol

from pytest_dsr1.engines.trtllm_options.answers import Answers
from pytest_dsr1.engines.trtllm_options.unchecked import reported, with_own_key
from pytest_dsr1.scenario.rules.registry import EngineRules
from pytest_dsr1.scenario.schema.rule import Findings
from pytest_dsr1.scenario.schema.scenario import Scenario


class TakesOptions(Protocol):
    """The settings of an engine that takes the options, as far as the rules need them."""

    @property
    def trtllm(self) -> Answers:
        """What the options say."""


RULES: EngineRules[Any] = EngineRules()


@RULES.must("engine.llm_api.cuda_graph_config")
def _graph_sizes_agree(engine: TakesOptions, _: Scenario) -> Findings:
    """`cuda_graph_config.max_batch_size` is the largest of `cuda_graph_config.batch_sizes`."""
    graphs = engine.trtllm.options.cuda_graph_config
    if graphs and graphs.batch_sizes and graphs.max_batch_size not in {None, max(graphs.batch_sizes)}:
        wanted = f"expected the largest of batch_sizes, {max(graphs.batch_sizes)}, or no value"
        yield "engine.llm_api.cuda_graph_config.max_batch_size", f"{wanted}; found {graphs.max_batch_size}"


@RULES.must("engine.llm_api.cuda_graph_config")
def _no_sizes_without_graphs(engine: TakesOptions, _: Scenario) -> Findings:
    """`cuda_graph_config.enabled: false` is the only key of `cuda_graph_config`."""
    graphs = engine.trtllm.options.cuda_graph_config
    if graphs and graphs.enabled is False:
        others = graphs.model_dump(exclude_none=True, exclude={"enabled"})
        if others:
            message = f"expected no other key of cuda_graph_config next to `false`, found {', '.join(others)}"
            yield "engine.llm_api.cuda_graph_config.enabled", message


@RULES.must("engine.llm_api")
def _unchecked_has_no_key(engine: TakesOptions, _: Scenario) -> Findings:
    """An option in `engine.llm_api.unchecked` has no key of its own under any name, or one that does not take the value."""  # noqa: E501
    for option, sentence in with_own_key(engine.trtllm.options):
        yield f"engine.llm_api.unchecked.{option}", sentence


@RULES.should("engine.llm_api")
def _unchecked_is_reported(engine: TakesOptions, _: Scenario) -> Findings:
    """Options in `engine.llm_api.unchecked` are not checked: a warning names each, and the nearest known name."""  # noqa: E501
    for option, sentence in reported(engine.trtllm.options):
        yield f"engine.llm_api.unchecked.{option}", sentence


@RULES.must(
    "engine.kv_cache_free_gpu_mem_fraction", "engine.gpu_memory_fraction", "engine.llm_api.kv_cache_config"
)
def _one_kv_fraction(engine: TakesOptions, _: Scenario) -> Findings:
    """The engine's own share of memory for the KV cache and `kv_cache_config.free_gpu_memory_fraction` are equal."""  # noqa: E501
    answers = engine.trtllm
    config, option = answers.options.kv_cache_config, answers.memory_fraction
    inner = None if config is None else config.free_gpu_memory_fraction
    if option is not None and inner is not None and option != inner:
        wanted = f"expected the same as {answers.memory_setting}, {option}"
        yield "engine.llm_api.kv_cache_config.free_gpu_memory_fraction", f"{wanted}; found {inner}"


@RULES.must("dataset.path", "engine.llm_api.speculative_config", "speculation")
def _mtp_needs_text(engine: TakesOptions, scenario: Scenario) -> Findings:
    """Multi-token prediction (MTP) needs real text, `dataset.path`, unless `speculation.acceptance_length` is forced."""  # noqa: E501
    if engine.trtllm.draft_tokens and scenario.dataset.path is None and scenario.speculation is None:
        why = "the speed of multi-token prediction depends on the text, so synthetic tokens mislead"
        yield (
            "dataset",
            f"{why}; expected real text in dataset.path, found none (`pytest-dsr1 docs datasets` shows "
            "how to get it)",
        )


@RULES.should(
    "load.concurrency",
    "engine.max_batch_size",
    "engine.tp",
    "engine.pp",
    "engine.llm_api.enable_attention_dp",
)
def _attention_dp_load(engine: TakesOptions, scenario: Scenario) -> Findings:
    """With attention data parallelism `load.concurrency` is `engine.max_batch_size` times `engine.tp` times `engine.pp`."""  # noqa: E501
    answers, load = engine.trtllm, scenario.load
    concurrency = load.concurrency
    if answers.options.enable_attention_dp and load.limited and answers.slots not in {None, concurrency}:
        stages = f" in each of {answers.pp} pipeline stages" if answers.pp > 1 else ""
        message = (
            f"expected {answers.slots}, because with attention data parallelism each of {answers.ranks} "
            f"ranks takes {answers.max_batch_size} requests (engine.max_batch_size){stages}; "
            f"found {concurrency}"
        )
        yield "load.concurrency", message


@RULES.should("engine.llm_api.cuda_graph_config", "engine.max_batch_size")
def _graphs_cover_the_batch(engine: TakesOptions, _: Scenario) -> Findings:
    """The largest CUDA graph is for `engine.max_batch_size` requests."""
    graphs, batch = engine.trtllm.options.cuda_graph_config, engine.trtllm.max_batch_size
    if batch is None or graphs is None:
        return
    largest = max(graphs.batch_sizes) if graphs.batch_sizes else graphs.max_batch_size
    if largest is not None and largest != batch:
        key = "batch_sizes" if graphs.batch_sizes else "max_batch_size"
        message = (
            "expected the largest CUDA graph to be for engine.max_batch_size, "
            f"{batch} requests; found {largest}"
        )
        yield f"engine.llm_api.cuda_graph_config.{key}", message


@RULES.should("engine.llm_api.kv_cache_config")
def _whole_kv_cache_config(engine: TakesOptions, _: Scenario) -> Findings:
    """`kv_cache_config` has `free_gpu_memory_fraction` and `enable_block_reuse: false`."""
    config = engine.trtllm.options.kv_cache_config
    if config is None:
        return
    if config.free_gpu_memory_fraction is None:
        message = "older versions of TensorRT-LLM fall back to 0.9 without `free_gpu_memory_fraction` here"
        yield "engine.llm_api.kv_cache_config", message
    if config.enable_block_reuse is not False:
        message = (
            "without `enable_block_reuse: false` here, equal prefixes are computed only once, unlike in the "
            "published measurements"
        )
        yield "engine.llm_api.kv_cache_config", message


@RULES.should("engine.llm_api.speculative_config")
def _relaxed_options_work(engine: TakesOptions, _: Scenario) -> Findings:
    """`relaxed_topk` and `relaxed_delta` are only used with `use_relaxed_acceptance_for_thinking: true`."""
    config = engine.trtllm.options.speculative_config
    if config is None or config.use_relaxed_acceptance_for_thinking:
        return
    for key in ("relaxed_topk", "relaxed_delta"):
        if getattr(config, key) is not None:
            message = "has no effect without `use_relaxed_acceptance_for_thinking: true`"
            yield f"engine.llm_api.speculative_config.{key}", message
