"""Which published results may stand next to a run: those of its model, on the GPUs that ran."""

from __future__ import annotations

from pytest_dsr1.measurement.measurement import Measurement
from pytest_dsr1.scenario.schema.scenario import Scenario


def is_like(model: str, gpu: str | None, scenario: Scenario, measurement: Measurement | None) -> bool:
    """Return whether a published result of this model on this GPU is like a run.

    None is like random weights, or like a forced acceptance length: published results are natural.
    """
    natural = scenario.model.random_weights is None and not scenario.forced
    same = natural and model == scenario.model.name
    return same and _ran_on(gpu, scenario, measurement)


def _ran_on(gpu: str | None, scenario: Scenario, measurement: Measurement | None) -> bool:
    """Return whether this GPU ran; without a run, whether it would have."""
    ran = scenario.hardware.gpu if measurement is None else measurement.fingerprint.facts.get("gpu.name")
    return gpu == ran


def published_value(
    scenario: Scenario, measurement: Measurement | None, metric: str
) -> tuple[float, str] | None:
    """Return the newest published value of a metric and its version; None if none is like this run.

    A result that does not say of which model it is (saved before, or of random weights) is of the scenario's.
    """
    for each in scenario.publications:
        gpu, gpus = each.gpu or scenario.hardware.gpu, each.gpus
        if each.model is None:
            like = _ran_on(gpu, scenario, measurement)
        else:
            like = is_like(each.model, gpu, scenario, measurement)
        if metric in each.values and like and gpus in (None, scenario.hardware.count):
            return each.values[metric], each.version
    return None
