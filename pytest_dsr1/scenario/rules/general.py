"""What must hold between the values of a scenario: the impossible is a mistake, the unusual a warning.

Each rule reads a valid scenario and yields the dotted key it blames with a sentence. The rules come from
TensorRT-LLM's behaviour and from what holds in every published DeepSeek-R1 scenario.
"""

from __future__ import annotations

from pytest_dsr1.scenario.rules import metrics, openai
from pytest_dsr1.scenario.rules.registry import RELATIONS, Findings, Relation, must, should
from pytest_dsr1.scenario.schema.load import OpenAi
from pytest_dsr1.scenario.schema.scenario import (
    CudaGraphConfig,
    Length,
    Normal,
    Scenario,
    TensorRtLlm,
    Transformers,
    Trtllm,
    Uniform,
)

__all__ = ["RELATIONS", "Relation", "longest", "metrics", "openai"]

MODEL_VOCAB_SIZE = 129280
"""DeepSeek-R1's, which random weights have unless their `config` says otherwise."""


def longest(length: Length) -> int:
    """The longest sequence that is certain to occur, in tokens (for a normal distribution: the mean)."""
    if isinstance(length, Uniform):
        return length.maximum
    return length.mean if isinstance(length, Normal) else length


def _graphs(scenario: Scenario) -> CudaGraphConfig | None:
    engine = scenario.engine
    return engine.llm_api.cuda_graph_config if isinstance(engine, TensorRtLlm) else None


def _speculates(scenario: Scenario) -> bool:
    engine = scenario.engine
    return isinstance(engine, TensorRtLlm) and engine.llm_api.speculative_config is not None


@must("model.path", "model.random_weights", "engine.type")
def _one_origin(scenario: Scenario) -> Findings:
    """A model has either `path` (trtllm-bench, trtllm, openai) or `random_weights` (transformers, trtllm, openai with vLLM or SGLang)."""  # noqa: E501
    model, engine = scenario.model, scenario.engine
    if isinstance(engine, OpenAi) and model.random_weights is None:
        return  # a server that runs already has its model; one that is started has a rule of its own
    if isinstance(engine, Trtllm) or (isinstance(engine, OpenAi) and engine.server in {"vllm", "sglang"}):
        if (model.path is None) == (model.random_weights is None):
            found = "both" if model.path else "none"
            yield "model", f"expected either `path` or `random_weights`; found {found}"
        return
    wanted, other = "path", "random_weights"
    if isinstance(engine, Transformers):
        wanted, other = other, wanted
    if getattr(model, wanted) is None:
        yield "model", f"expected `{wanted}`, which the engine `{engine.type}` needs; found none"
    if getattr(model, other) is not None:
        yield f"model.{other}", f"not possible with the engine `{engine.type}`, which takes `{wanted}`"


@must("model.quantization", "model.random_weights", "engine.type")
def _random_weights_as_stored(scenario: Scenario) -> Findings:
    """With the engines trtllm and openai `random_weights` are stored as `FP8_BLOCK_SCALES` or as BF16."""
    model, engine = scenario.model, scenario.engine
    if isinstance(engine, Trtllm | OpenAi) and model.random_weights and model.quantization == "NVFP4":
        wanted = "expected `FP8_BLOCK_SCALES` or `none`, as the weights are made here; found `NVFP4`"
        yield "model.quantization", wanted


@must("hardware.gpu", "hardware.count")
def _gpu_and_count(scenario: Scenario) -> Findings:
    """`hardware.gpu` and a `hardware.count` above 0 are given together."""
    hardware = scenario.hardware
    if hardware.gpu is None and hardware.count:
        yield (
            "hardware.count",
            f"expected `hardware.gpu` with it, the name of the {hardware.count} GPUs; found none",
        )
    if hardware.gpu is not None and not hardware.count:
        yield "hardware.gpu", "expected a `hardware.count` of at least 1 with it, found 0"


@must("hardware.gpu", "hardware.count", "engine.device", "engine.type")
def _gpus_of_transformers(scenario: Scenario) -> Findings:
    """The transformers engine uses one GPU with `device: cuda` and none with `device: cpu`."""
    if not isinstance(scenario.engine, Transformers):
        return
    count = scenario.hardware.count
    if scenario.engine.device == "cuda" and count != 1:
        yield (
            "engine.device",
            f"`cuda` uses one GPU: expected hardware.count 1 and its hardware.gpu, found {count}",
        )
    if scenario.engine.device == "cpu" and count:
        yield (
            "engine.device",
            f"`cpu` uses no GPU: expected hardware.count 0, found {count} (or set `device: cuda`)",
        )


@must("hardware.gpu", "gpu_setup")
def _setup_needs_gpu(scenario: Scenario) -> Findings:
    """`gpu_setup` needs a GPU."""
    setup = scenario.gpu_setup
    if scenario.hardware.gpu is None and (setup.persistence or setup.vboost or setup.lock_sm_clock_mhz):
        yield "gpu_setup", "expected no GPU set-up, as `hardware.gpu` names no GPU"


@must("engine.compile", "engine.device")
def _compile_needs_gpu(scenario: Scenario) -> Findings:
    """`engine.compile` needs `device: cuda`."""
    engine = scenario.engine
    if isinstance(engine, Transformers) and engine.compile and engine.device != "cuda":
        yield "engine.compile", f"expected `engine.device: cuda` with it, found `{engine.device}`"


@must("engine.tp", "engine.pp", "hardware.count")
def _ranks(scenario: Scenario) -> Findings:
    """`engine.tp` times `engine.pp` is `hardware.count`."""
    engine, count = scenario.engine, scenario.hardware.count
    if isinstance(engine, TensorRtLlm) and engine.tp * engine.pp != count:
        ranks = f"tp {engine.tp} x pp {engine.pp} = {engine.tp * engine.pp} GPUs"
        yield "engine.tp", f"expected tp x pp to be hardware.count, {count}; found {ranks}"


@must("engine.ep", "engine.tp")
def _ep_divides_tp(scenario: Scenario) -> Findings:
    """`engine.ep` divides `engine.tp`."""
    engine = scenario.engine
    if isinstance(engine, TensorRtLlm) and engine.ep is not None and engine.tp % engine.ep:
        yield "engine.ep", f"expected a divisor of engine.tp, {engine.tp}; found {engine.ep}"


@must("engine.max_num_tokens", "engine.enable_chunked_context", "dataset.input_tokens")
def _inputs_fit(scenario: Scenario) -> Findings:
    """Without chunked context `engine.max_num_tokens` is at least the longest input."""
    engine, longest_input = scenario.engine, longest(scenario.dataset.input_tokens)
    if not isinstance(engine, TensorRtLlm) or engine.enable_chunked_context:
        return
    if engine.max_num_tokens is not None and engine.max_num_tokens < longest_input:
        wanted = (
            f"expected at least the longest input, {longest_input} tokens, as enable_chunked_context is false"
        )
        yield "engine.max_num_tokens", f"{wanted}; found {engine.max_num_tokens}"


@must("engine.max_seq_len", "dataset.input_tokens", "dataset.output_tokens")
def _sequences_fit(scenario: Scenario) -> Findings:
    """`engine.max_seq_len` is at least the longest input and output together."""
    engine, dataset = scenario.engine, scenario.dataset
    together = longest(dataset.input_tokens) + longest(dataset.output_tokens)
    if isinstance(engine, TensorRtLlm) and engine.max_seq_len is not None and engine.max_seq_len < together:
        wanted = f"expected at least the longest input and output together, {together} tokens"
        yield "engine.max_seq_len", f"{wanted}; found {engine.max_seq_len}"


@must("engine.llm_api.cuda_graph_config")
def _graph_sizes_agree(scenario: Scenario) -> Findings:
    """`cuda_graph_config.max_batch_size` is the largest of `cuda_graph_config.batch_sizes`."""
    graphs = _graphs(scenario)
    if graphs and graphs.batch_sizes and graphs.max_batch_size not in {None, max(graphs.batch_sizes)}:
        wanted = f"expected the largest of batch_sizes, {max(graphs.batch_sizes)}, or no value"
        yield "engine.llm_api.cuda_graph_config.max_batch_size", f"{wanted}; found {graphs.max_batch_size}"


@must("engine.kv_cache_free_gpu_mem_fraction", "engine.llm_api.kv_cache_config")
def _one_kv_fraction(scenario: Scenario) -> Findings:
    """`engine.kv_cache_free_gpu_mem_fraction` and `kv_cache_config.free_gpu_memory_fraction` are equal."""
    engine = scenario.engine
    if not isinstance(engine, TensorRtLlm) or engine.llm_api.kv_cache_config is None:
        return
    option, inner = (
        engine.kv_cache_free_gpu_mem_fraction,
        engine.llm_api.kv_cache_config.free_gpu_memory_fraction,
    )
    if option is not None and inner is not None and option != inner:
        wanted = f"expected the same as engine.kv_cache_free_gpu_mem_fraction, {option}"
        yield "engine.llm_api.kv_cache_config.free_gpu_memory_fraction", f"{wanted}; found {inner}"


@must("dataset.input_tokens")
def _input_range(scenario: Scenario) -> Findings:
    """The `maximum` of uniform input lengths is at least their `minimum`."""
    yield from _range("dataset.input_tokens", scenario.dataset.input_tokens)


@must("dataset.output_tokens")
def _output_range(scenario: Scenario) -> Findings:
    """The `maximum` of uniform output lengths is at least their `minimum`."""
    yield from _range("dataset.output_tokens", scenario.dataset.output_tokens)


def _range(key: str, length: Length) -> Findings:
    if isinstance(length, Uniform) and length.maximum < length.minimum:
        yield f"{key}.maximum", f"expected at least `minimum`, {length.minimum}; found {length.maximum}"


@must("dataset.vocab_size", "model.random_weights", "dataset.path")
def _tokens_are_known(scenario: Scenario) -> Findings:
    """Synthetic tokens are in the vocabulary of a model with random weights."""
    weights, wanted = scenario.model.random_weights, scenario.dataset.vocab_size
    if weights is None or scenario.dataset.path is not None:
        return
    known = weights.config.get("vocab_size", MODEL_VOCAB_SIZE)
    if isinstance(known, int) and wanted > known:
        yield "dataset.vocab_size", f"expected at most the model's vocab_size, {known}; found {wanted}"


@must("dataset.path", "engine.llm_api.speculative_config")
def _mtp_needs_text(scenario: Scenario) -> Findings:
    """Multi-token prediction (MTP) needs real text: `dataset.path`."""
    if _speculates(scenario) and scenario.dataset.path is None:
        why = "with multi-token prediction speed depends on the text, and synthetic tokens prove nothing"
        yield (
            "dataset",
            f"{why}; expected real text in dataset.path, found none (`pytest-dsr1 docs datasets` shows "
            "how to make it)",
        )


@must("targets")
def _targets_differ(scenario: Scenario) -> Findings:
    """Each metric has one target at most."""
    seen: dict[str, int] = {}
    for index, target in enumerate(scenario.targets):
        if target.metric in seen:
            yield (
                f"targets.{index}.metric",
                f"{target.metric} is already the metric of targets.{seen[target.metric]}",
            )
        seen.setdefault(target.metric, index)


@should("load.concurrency", "engine.max_batch_size", "engine.tp", "engine.llm_api.enable_attention_dp")
def _attention_dp_load(scenario: Scenario) -> Findings:
    """With attention data parallelism `load.concurrency` is `engine.max_batch_size` times `engine.tp`."""
    engine, concurrency = scenario.engine, scenario.load.concurrency
    if not isinstance(engine, TensorRtLlm) or not engine.max_batch_size:
        return
    if not engine.llm_api.enable_attention_dp:
        return
    full = engine.max_batch_size * engine.tp
    if concurrency != full:
        per_rank = (
            f"each of {engine.tp} ranks takes max_batch_size {engine.max_batch_size} requests, {full} in all"
        )
        yield "load.concurrency", f"with attention data parallelism {per_rank}; {concurrency} is unusual"


@should("load.num_requests", "load.concurrency")
def _whole_rounds(scenario: Scenario) -> Findings:
    """`load.num_requests` is a multiple of `load.concurrency`."""
    load = scenario.load
    if load.num_requests % load.concurrency:
        message = f"{load.num_requests} is no multiple of load.concurrency, {load.concurrency}"
        yield "load.num_requests", f"{message}: the last requests run at a lower load"


@should("load.warmup_requests", "load.num_requests")
def _short_warmup(scenario: Scenario) -> Findings:
    """No more requests warm up than are measured."""
    load = scenario.load
    if load.warmup_requests > load.num_requests:
        message = f"more requests warm up, {load.warmup_requests}, than are measured, {load.num_requests}"
        yield "load.warmup_requests", message


@should(
    "targets", "load.concurrency", "engine.max_batch_size", "engine.tp", "engine.llm_api.enable_attention_dp"
)
def _per_user_without_queue(scenario: Scenario) -> Findings:
    """A per-user target stands where no request waits for its turn in the engine."""
    engine, concurrency = scenario.engine, scenario.load.concurrency
    if not isinstance(engine, TensorRtLlm) or engine.max_batch_size is None:
        return
    slots = engine.max_batch_size * (engine.tp if engine.llm_api.enable_attention_dp else 1)
    for index, target in enumerate(scenario.targets):
        if target.metric == "per_user_output_throughput" and concurrency > slots:
            queue = f"{concurrency} requests at once, {slots} of them served, and waiting counts"
            yield f"targets.{index}.metric", f"{target.metric} says little here: {queue}"


@should("engine.llm_api.cuda_graph_config", "engine.max_batch_size")
def _graphs_cover_the_batch(scenario: Scenario) -> Findings:
    """The largest CUDA graph is `engine.max_batch_size`."""
    engine, graphs = scenario.engine, _graphs(scenario)
    if not isinstance(engine, TensorRtLlm) or engine.max_batch_size is None or graphs is None:
        return
    largest = max(graphs.batch_sizes) if graphs.batch_sizes else graphs.max_batch_size
    if largest is not None and largest != engine.max_batch_size:
        key = "batch_sizes" if graphs.batch_sizes else "max_batch_size"
        message = f"the largest CUDA graph, {largest}, is not engine.max_batch_size, {engine.max_batch_size}"
        yield f"engine.llm_api.cuda_graph_config.{key}", message


@should("engine.llm_api.kv_cache_config")
def _whole_kv_cache_config(scenario: Scenario) -> Findings:
    """`kv_cache_config` holds `free_gpu_memory_fraction` and `enable_block_reuse: false`."""
    engine = scenario.engine
    config = engine.llm_api.kv_cache_config if isinstance(engine, TensorRtLlm) else None
    if config is None:
        return
    if config.free_gpu_memory_fraction is None:
        message = "older versions of TensorRT-LLM fall back to 0.9 without `free_gpu_memory_fraction` here"
        yield "engine.llm_api.kv_cache_config", message
    if config.enable_block_reuse is not False:
        message = (
            "without `enable_block_reuse: false` here equal prefixes are computed once, unlike as published"
        )
        yield "engine.llm_api.kv_cache_config", message


@should("engine.llm_api.speculative_config")
def _relaxed_options_work(scenario: Scenario) -> Findings:
    """`relaxed_topk` and `relaxed_delta` stand with `use_relaxed_acceptance_for_thinking: true`."""
    engine = scenario.engine
    config = engine.llm_api.speculative_config if isinstance(engine, TensorRtLlm) else None
    if config is None or config.use_relaxed_acceptance_for_thinking:
        return
    for key in ("relaxed_topk", "relaxed_delta"):
        if getattr(config, key) is not None:
            message = "has no effect without `use_relaxed_acceptance_for_thinking: true`"
            yield f"engine.llm_api.speculative_config.{key}", message
