"""The rules for scenarios of the engines that run TensorRT-LLM.

They come from TensorRT-LLM's behavior and from the published DeepSeek-R1 scenarios, which all follow them.
"""

from __future__ import annotations

from pytest_dsr1.engines.tensorrt_llm.settings import TensorRtLlm
from pytest_dsr1.process.slurm import second_launcher
from pytest_dsr1.scenario.rules.accuracy import sequence_needed
from pytest_dsr1.scenario.rules.general import longest
from pytest_dsr1.scenario.rules.registry import EngineRules
from pytest_dsr1.scenario.schema.rule import Findings
from pytest_dsr1.scenario.schema.scenario import Scenario

RULES: EngineRules[TensorRtLlm] = EngineRules()


@RULES.must("engine.tp", "engine.pp", "hardware.count")
def _ranks(engine: TensorRtLlm, scenario: Scenario) -> Findings:
    """`engine.tp` times `engine.pp` is `hardware.count`."""
    count = scenario.hardware.count
    if engine.gpus != count:
        contexts = engine.llm_api.context_parallel_size
        more = f" x context_parallel_size {contexts}" if contexts else ""
        ranks = f"tp {engine.tp} x pp {engine.pp}{more} = {engine.gpus} GPUs"
        yield "engine.tp", f"expected tp x pp to be hardware.count, {count}; found {ranks}"


@RULES.must("hardware.nodes", "engine.command")
def _one_launcher(engine: TensorRtLlm, scenario: Scenario) -> Findings:
    """With several `hardware.nodes`, `engine.command` has no launcher of its own, like srun."""
    if message := second_launcher(engine.command_words, scenario.hardware.nodes):
        yield "engine.command", message


@RULES.must("engine.ep", "engine.tp")
def _ep_divides_tp(engine: TensorRtLlm, _: Scenario) -> Findings:
    """`engine.ep` divides `engine.tp`."""
    if engine.ep is not None and engine.tp % engine.ep:
        yield "engine.ep", f"expected a divisor of engine.tp, {engine.tp}; found {engine.ep}"


@RULES.must(
    "engine.max_num_tokens",
    "engine.enable_chunked_context",
    "engine.llm_api.enable_chunked_prefill",
    "dataset.input_tokens",
)
def _inputs_fit(engine: TensorRtLlm, scenario: Scenario) -> Findings:
    """Without chunked context `engine.max_num_tokens` is at least the longest input."""
    longest_input = longest(scenario.dataset.input_tokens)
    if engine.chunks or engine.max_num_tokens is None:
        return
    if engine.max_num_tokens < longest_input:
        wanted = (
            f"expected at least the longest input, {longest_input} tokens, as enable_chunked_context is false"
        )
        yield "engine.max_num_tokens", f"{wanted}; found {engine.max_num_tokens}"


@RULES.must("engine.max_seq_len", "dataset.input_tokens", "dataset.output_tokens")
def _sequences_fit(engine: TensorRtLlm, scenario: Scenario) -> Findings:
    """`engine.max_seq_len` is at least the longest input and output together."""
    dataset = scenario.dataset
    together = longest(dataset.input_tokens) + longest(dataset.output_tokens)
    if engine.max_seq_len is not None and engine.max_seq_len < together:
        wanted = f"expected at least the longest input and output together, {together} tokens"
        yield "engine.max_seq_len", f"{wanted}; found {engine.max_seq_len}"


@RULES.must("engine.max_seq_len", "accuracy", "dataset.input_tokens")
def _questions_fit(engine: TensorRtLlm, scenario: Scenario) -> Findings:
    """`engine.max_seq_len` of the engine trtllm has room for the longest answer of `accuracy`."""
    needed = sequence_needed(scenario, longest(scenario.dataset.input_tokens))
    if engine.max_seq_len is not None and engine.max_seq_len < needed:
        wanted = f"expected at least {needed} tokens, which `accuracy` needs for its longest answer"
        yield "engine.max_seq_len", f"{wanted}; found {engine.max_seq_len}"


@RULES.must("engine.enable_chunked_context", "engine.llm_api.enable_chunked_prefill")
def _one_chunking(engine: TensorRtLlm, _: Scenario) -> Findings:
    """`engine.enable_chunked_context: true` and `engine.llm_api.enable_chunked_prefill: false` exclude each other."""  # noqa: E501
    if engine.enable_chunked_context and not engine.chunks:
        message = "expected true or no value next to `engine.enable_chunked_context: true`; found false"
        yield "engine.llm_api.enable_chunked_prefill", message
