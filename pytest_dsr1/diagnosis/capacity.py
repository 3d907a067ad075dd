"""The capacity of an engine by its options, and the metrics that a server reported about itself."""

from __future__ import annotations

from collections.abc import Mapping

from pytest_dsr1.measurement.measurement import Measurement
from pytest_dsr1.scenario.schema.scenario import Engine, TensorRtLlm


def ranks(engine: Engine) -> int:
    """Return the ranks with requests of their own: all ``tp`` with attention data parallelism, else 1."""
    return engine.tp if isinstance(engine, TensorRtLlm) and engine.llm_api.enable_attention_dp else 1


def slots(engine: Engine) -> int | None:
    """Return the most requests in the engine's steps at one time; None if its options do not say.

    Each pipeline stage works on its own batch.
    """
    if not isinstance(engine, TensorRtLlm) or engine.max_batch_size is None:
        return None
    return engine.max_batch_size * ranks(engine) * engine.pp


def at_once(measurement: Measurement) -> int:
    """Return how many requests the load keeps in the engine's steps, limited by its slots."""
    scenario = measurement.scenario
    return min(scenario.load.concurrency, slots(scenario.engine) or scenario.load.concurrency)


def server_metrics(measurement: Measurement) -> Mapping[str, float]:
    """Return the numbers that the server reported for the measurement; empty if it reported none."""
    reported = measurement.result.facts.get("server_metrics")
    if not isinstance(reported, Mapping):
        return {}
    return {
        name: float(value)
        for name, value in reported.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
