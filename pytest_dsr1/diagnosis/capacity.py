"""How many requests an engine serves at once, by its options, and what a server told of itself."""

from __future__ import annotations

from collections.abc import Mapping

from pytest_dsr1.measurement.measurement import Measurement


def at_once(measurement: Measurement) -> int:
    """Requests that the load keeps in the engine's steps, as far as its slots go."""
    scenario = measurement.scenario
    return min(scenario.load.concurrency, scenario.engine.slots or scenario.load.concurrency)


def server_metrics(measurement: Measurement) -> Mapping[str, float]:
    """The numbers that the server told of the measurement; empty where it told none."""
    told = measurement.result.facts.server_metrics
    return {
        name: float(value)
        for name, value in told.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
