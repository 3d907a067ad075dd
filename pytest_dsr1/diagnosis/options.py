"""Clues about the engine's options: those that no published measurement used."""

from __future__ import annotations

from collections.abc import Iterable
from math import ceil

from pytest_dsr1.diagnosis.capacity import at_once, ranks
from pytest_dsr1.diagnosis.clues import Clue, clue
from pytest_dsr1.measurement.measurement import Measurement
from pytest_dsr1.scenario.schema.load import OpenAi
from pytest_dsr1.scenario.schema.scenario import TensorRtLlm

_WITHOUT_GRAPHS = {"--enforce-eager", "--disable-cuda-graph"}
"""Arguments of vLLM and SGLang that turn CUDA graphs off."""


@clue("attention-dp")
def attention_dp(measurement: Measurement) -> str | None:
    """Attention data parallelism with fewer requests than ranks."""
    engine, concurrency = measurement.scenario.engine, measurement.scenario.load.concurrency
    idle = ranks(engine) - concurrency
    if idle <= 0:
        return None
    return (
        f"attention data parallelism is on with load.concurrency {concurrency}, so {idle} of "
        f"{ranks(engine)} ranks have no request of their own: it is for throughput (one such run made 40 "
        "tok/s instead of 253); remove engine.llm_api.enable_attention_dp"
    )


@clue("chunked-context")
def chunked_context(measurement: Measurement) -> str | None:
    """Chunked context, which was off in every published measurement."""
    engine, longest = measurement.scenario.engine, measurement.workload.max_input
    if not isinstance(engine, TensorRtLlm) or not engine.enable_chunked_context:
        return None
    least = "" if longest is None else f"{longest:,}, "
    return (
        "chunked context is on, but was off in every published measurement: set "
        f"engine.enable_chunked_context: false, and engine.max_num_tokens to at least {least}the longest "
        "input"
    )


@clue("cuda-graphs")
def cuda_graphs(measurement: Measurement) -> str | None:
    """Decode steps without a CUDA graph: turned off, or not captured for the size of the step."""
    engine = measurement.scenario.engine
    if isinstance(engine, OpenAi):
        off = next((word for word in engine.arguments if word in _WITHOUT_GRAPHS), None)
        return off and f"engine.arguments has {off}, which turns CUDA graphs off: remove it"
    graphs = engine.llm_api.cuda_graph_config if isinstance(engine, TensorRtLlm) else None
    if graphs is None or not isinstance(engine, TensorRtLlm) or engine.pp > 1:
        return None
    batch, sizes = ceil(at_once(measurement) / ranks(engine)), graphs.batch_sizes
    largest = max(sizes) if sizes else graphs.max_batch_size
    if largest is None or (batch <= largest and (not sizes or graphs.enable_padding or batch in sizes)):
        return None
    if batch > largest:
        which, pad = f"up to {largest}", ""
    else:
        which = f"of {', '.join(map(str, sorted(sizes or ())))}, without padding"
        pad = ", or set enable_padding: true there"
    return (
        f"a step has {batch:,} requests per rank, but CUDA graphs are captured for batches {which}, so it "
        f"runs without one: capture one for {batch:,} (engine.llm_api.cuda_graph_config.batch_sizes){pad}"
    )


def pytest_dsr1_clues() -> Iterable[Clue]:
    """List the clues about the engine's options."""
    return attention_dp, chunked_context, cuda_graphs
