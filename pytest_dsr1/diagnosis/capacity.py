"""The capacity of an engine by its options, and the metrics that a server reported about itself."""

from __future__ import annotations

from collections.abc import Mapping

from pytest_dsr1.measurement.measurement import Measurement


def at_once(measurement: Measurement) -> int:
    """Return how many requests the load keeps in the engine's steps, limited by its slots."""
    scenario = measurement.scenario
    return min(scenario.load.concurrency, scenario.engine.slots or scenario.load.concurrency)


def server_metrics(measurement: Measurement) -> Mapping[str, float]:
    """Return the numbers that the server reported for the measurement; empty if it reported none."""
    reported = measurement.result.facts.server_metrics
    return {
        name: float(value)
        for name, value in reported.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
