"""Which parts of a scenario decide what is measured, and whether two scenarios measure the same."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from pytest_dsr1.measurement.measurement import Measurement
from pytest_dsr1.scenario.rules.speculation import as_saved
from pytest_dsr1.scenario.schema.scenario import Scenario
from pytest_dsr1.scenario.variables import without_secrets

MEASURED = frozenset(
    {"hardware", "gpu_setup", "model", "dataset", "load", "engine", "speculation", "slo", "accuracy"}
)
"""The parts of a scenario that decide what is measured; the others judge it."""


def is_of(saved: Measurement, scenario: Scenario, parts: Collection[str] = MEASURED) -> bool:
    """Return whether a saved run measured what the scenario would measure now."""
    now = as_saved(without_secrets(scenario))
    return bool(saved.scenario.model_dump(include=set(parts)) == now.model_dump(include=set(parts)))


def same(one: Scenario, other: Scenario, parts: Collection[str] = MEASURED) -> bool:
    """Return whether two scenarios measure the same."""
    return bool(one.model_dump(include=set(parts)) == other.model_dump(include=set(parts)))


def differences(one: Scenario, other: Scenario, parts: Collection[str]) -> dict[str, tuple[Any, Any]]:
    """Return the dotted keys of these parts whose values differ, with both values; None is not given."""
    first, second = (dict(_flat(each, parts)) for each in (one, other))
    keys = dict.fromkeys((*first, *second))
    return {key: (first.get(key), second.get(key)) for key in keys if first.get(key) != second.get(key)}


def _flat(scenario: Scenario, parts: Collection[str]) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []

    def add(key: str, value: Any) -> None:
        if isinstance(value, dict):
            for name, inner in value.items():
                add(f"{key}.{name}", inner)
        elif value is not None:
            found.append((key, value))

    for part, value in scenario.model_dump(mode="json", include=set(parts)).items():
        add(part, value)
    return found
