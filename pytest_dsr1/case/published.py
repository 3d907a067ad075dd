"""Which published results may stand next to a run: those of its model, on the GPUs that ran."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from pytest_dsr1.case.known_costs import Cost, cost_of, difference
from pytest_dsr1.machine.values import FORCED
from pytest_dsr1.measurement.measurement import Measurement
from pytest_dsr1.metrics.catalogue import METRICS
from pytest_dsr1.scenario.schema.scenario import Scenario
from pytest_dsr1.text import number


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


@dataclass(frozen=True, slots=True)
class PublishedValue:
    """A published value of a metric.

    Attributes:
        metric: its name.
        value: in the metric's unit.
        version: the publication and its date.
        differs: which keys have other values here; empty if none have.
        differences: each of these keys with its value here and its known cost.
        costs: by key, what the value here is known to cost.
        note: what was different there, and which keys have other values here; empty if nothing is said.
        ratio: what the run measured as a share of it; None if the run did not measure it.
    """

    metric: str
    value: float
    version: str
    differs: str
    differences: tuple[str, ...]
    costs: Mapping[str, Cost]
    note: str
    ratio: float | None

    @property
    def cells(self) -> tuple[str, str, str, str, str]:
        """Metric, value with unit, the run's share of it, publication and note, for a table."""
        metric = METRICS[self.metric]
        return metric.label, f"{number(self.value)} {metric.unit}", self.share, self.version, self.note

    @property
    def share(self) -> str:
        """The ratio as text."""
        return "not measured" if self.ratio is None else f"{self.ratio:.1%}"


def published_values(scenario: Scenario, measurement: Measurement | None) -> Iterator[PublishedValue]:
    """Yield what was published of this run's model on its hardware, newest first; nothing of a forced run.

    A result that does not say of which model it is (saved before, or of random weights) is of the scenario's.
    """
    measured = measurement.metrics if measurement else {}
    if measurement and FORCED in measurement.fingerprint.facts:
        return  # forced by an inherited variable
    for each in scenario.publications:
        gpu, gpus = each.gpu or scenario.hardware.gpu, each.gpus
        if each.model is None:
            like = _ran_on(gpu, scenario, measurement)
        else:
            like = is_like(each.model, gpu, scenario, measurement)
        differs = _differs(each.changed or ())
        changed = each.changed or ()
        differences = tuple(difference(key, scenario) for key in changed)
        costs = {key: cost for key in changed if (cost := cost_of(key, scenario))}
        note = "; ".join(filter(None, [each.note, differs]))
        if like and gpus in (None, scenario.hardware.count):
            for metric, value in each.values.items():
                ratio = measured[metric].value / value if metric in measured else None
                yield PublishedValue(metric, value, each.version, differs, differences, costs, note, ratio)


def published_value(
    scenario: Scenario, measurement: Measurement | None, metric: str
) -> PublishedValue | None:
    """Return the newest published value of a metric; None if none is like this run."""
    found = (each for each in published_values(scenario, measurement) if each.metric == metric)
    return next(found, None)


_MOST_KEYS = 3
"""The most changed keys that are named."""


def _differs(keys: Sequence[str]) -> str:
    """Return in words which keys have other values here; empty if none have."""
    more = f" and {len(keys) - _MOST_KEYS} more" if len(keys) > _MOST_KEYS else ""
    return f"changed here: {', '.join(keys[:_MOST_KEYS])}{more}" if keys else ""
