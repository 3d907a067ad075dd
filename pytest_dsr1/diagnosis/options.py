"""Clues about the engine's options: those that no published measurement used."""

from __future__ import annotations

from collections.abc import Iterable

from pytest_dsr1.diagnosis.capacity import at_once
from pytest_dsr1.diagnosis.clues import Clue, clue
from pytest_dsr1.measurement.measurement import Measurement
from pytest_dsr1.scenario.schema.engine import EngineSettings


@clue("attention-dp")
def attention_dp(measurement: Measurement) -> str | None:
    """Attention data parallelism with fewer requests than ranks."""
    engine, concurrency = measurement.scenario.engine, measurement.scenario.load.at_once
    idle = engine.ranks - concurrency
    if idle <= 0:
        return None
    without = "has no request of its own" if idle == 1 else "have no request of their own"
    return (
        f"attention data parallelism, made for throughput, is on with load.concurrency {concurrency}, so "
        f"{idle} of {engine.ranks} ranks {without} (one such run reached 40 tok/s instead of 253); "
        f"{_without_attention_dp(engine)}"
    )


def _without_attention_dp(engine: EngineSettings) -> str:
    setting = engine.setting_for("attention_dp")
    return f"remove {setting}" if setting else "switch it off"


@clue("chunked-context")
def chunked_context(measurement: Measurement) -> str | None:
    """Chunked context, which was off in every published measurement with a limit of tokens per step."""
    remedy = measurement.scenario.engine.chunked_context(measurement.workload.max_input)
    where = "every published measurement with engine.max_num_tokens"
    return remedy and f"chunked context is on, but was off in {where}: {remedy}"


@clue("cuda-graphs")
def cuda_graphs(measurement: Measurement) -> str | None:
    """Decode steps without a CUDA graph: switched off, or not captured for the size of the step."""
    return measurement.scenario.engine.without_cuda_graph(at_once(measurement))


def pytest_dsr1_clues() -> Iterable[Clue]:
    """List the clues about the engine's options."""
    return attention_dp, chunked_context, cuda_graphs
