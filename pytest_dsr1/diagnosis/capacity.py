"""How many requests an engine serves at once, by its options, and what a server told of itself."""

from __future__ import annotations

from collections.abc import Mapping

from pytest_dsr1.measurement.measurement import Measurement
from pytest_dsr1.scenario.schema.scenario import Engine, TensorRtLlm


def ranks(engine: Engine) -> int:
    """Ranks that have requests of their own: with attention data parallelism each of ``tp``."""
    return engine.tp if isinstance(engine, TensorRtLlm) and engine.llm_api.enable_attention_dp else 1


def slots(engine: Engine) -> int | None:
    """The most requests in the engine's steps at one time; None where its options do not tell.

    Pipeline stages work on a batch each.
    """
    if not isinstance(engine, TensorRtLlm) or engine.max_batch_size is None:
        return None
    return engine.max_batch_size * ranks(engine) * engine.pp


def at_once(measurement: Measurement) -> int:
    """Requests that the load keeps in the engine's steps, as far as its slots go."""
    scenario = measurement.scenario
    return min(scenario.load.concurrency, slots(scenario.engine) or scenario.load.concurrency)


def server_metrics(measurement: Measurement) -> Mapping[str, float]:
    """The numbers that the server told of the measurement; empty where it told none."""
    told = measurement.result.facts.get("server_metrics")
    if not isinstance(told, Mapping):
        return {}
    return {
        name: float(value)
        for name, value in told.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
