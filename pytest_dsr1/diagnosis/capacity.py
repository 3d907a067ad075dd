"""The capacity of an engine by its options."""

from __future__ import annotations

from pytest_dsr1.measurement.measurement import Measurement


def at_once(measurement: Measurement) -> int:
    """Return how many requests the load keeps in the engine's steps, limited by its slots."""
    scenario = measurement.scenario
    return min(scenario.load.at_once, scenario.engine.slots or scenario.load.at_once)
