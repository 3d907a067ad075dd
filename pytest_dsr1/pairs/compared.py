"""Which two scenarios can be the sides of a comparison."""

from __future__ import annotations

from pytest_dsr1.scenario.schema.scenario import Scenario
from pytest_dsr1.study.measured import MEASURED, differences, same

COMPARED = MEASURED - {"accuracy"}
"""The parts of a scenario that decide the figures of its starts; these answer no questions."""
_EQUAL = ("hardware", "gpu_setup", "load", "dataset", "model")
_MAY_DIFFER = ("hardware.min_driver", "model.")
_BUT = ("model.name",)


def why_not(old: Scenario, new: Scenario) -> str:
    """Return why the sides cannot be compared, or an empty text.

    The sides share one machine with its settings, and must do the same work.
    """
    found = differences(old, new, _EQUAL)
    unlike = {key: values for key, values in found.items() if key in _BUT or not key.startswith(_MAY_DIFFER)}
    if unlike:
        listed = "; ".join(f"{key} ({_word(a)} and {_word(b)})" for key, (a, b) in unlike.items())
        return (
            f"the old and the new side differ in {listed}: pairs compare sides that do the same work on the "
            "same GPUs with the same settings; make these keys equal"
        )
    if same(old, new, COMPARED):
        return (
            "the old and the new side are the same: expected a change of what is measured, such as "
            "engine.command; to compare it with itself, change a limit that no run reaches, such as "
            "--dsr1-against=engine.startup_timeout_s=3601"
        )
    return ""


def _word(value: object) -> str:
    return "not given" if value is None else str(value)


def as_new_side(old: Scenario, new: Scenario) -> Scenario:
    """Return the new side, judged by the metric and delta of the old one."""
    gate = old.gate.model_copy(update={"metric": old.gated_metric})
    return new.model_copy(update={"gate": gate})


def as_start(scenario: Scenario) -> Scenario:
    """Return the scenario of one start of a comparison: it answers no questions."""
    return scenario.model_copy(update={"accuracy": None})
