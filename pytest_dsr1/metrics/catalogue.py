"""The catalogue of all metrics, ours and those of plugins, and the values of one run.

The names and definitions of ours are TensorRT-LLM's own, so that a number here and a number in a
``trtllm-bench`` report mean the same thing. The module of its subject declares each metric with its formula.

In the formulas, i runs over the requests that succeeded. start is the time a request was handed to the engine
(after it got its concurrency slot), or in an open loop (`load.arrival`) the time it was due. end is the time
its last token arrived. e2e = end - start.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from numbers import Real
from typing import Literal

from pytest_dsr1 import extensions
from pytest_dsr1.metrics.inputs import MetricInputs, Plan
from pytest_dsr1.metrics.registry import Metric

_SUBJECTS = (
    "throughput",
    "latency",
    "streaming",
    "speculative",
    "event_gaps",
    "goodput",
    "steady_window",
    "energy",
    "load",
)
"""The modules that declare our metrics, in the order in which they are shown."""

Origin = Literal["records", "report"]


def pytest_dsr1_metrics() -> Iterable[Metric]:
    """List our own metrics."""
    for subject in _SUBJECTS:
        yield from import_module(f"pytest_dsr1.metrics.{subject}").metrics


def _found() -> Mapping[str, tuple[str, Metric]]:
    return extensions.declared("pytest_dsr1_metrics", Metric)


class _Catalogue(Mapping[str, Metric]):
    """Every metric by name; plugins are asked when the first one is looked up."""

    def __getitem__(self, name: str) -> Metric:
        return _found()[name][1]

    def __iter__(self) -> Iterator[str]:
        return iter(_found())

    def __len__(self) -> int:
        return len(_found())


METRICS: Mapping[str, Metric] = _Catalogue()
"""Every metric by name, in the order in which they are shown."""


AT_SLO = "throughput_at_slo"
_HIGHEST = "the highest load at which the share `search.goal` of requests keeps every limit"
_FOUND_BY_SEARCH = {
    name: Metric(
        name=name,
        label=label,
        unit=unit,
        better="higher",
        formula=formula,
        source="none in trtllm-bench; several runs",
        kind="total",
        compute=lambda _: None,
    )
    for name, label, unit, formula in (
        ("highest_concurrency", "highest concurrency", "requests in flight", _HIGHEST),
        ("highest_rate", "highest request rate", "req/s", _HIGHEST),
        (
            AT_SLO,
            "throughput at SLO",
            "tok/s",
            "the output throughput at the lower end of the interval of that load",
        ),
    )
}
"""What several runs show and none alone; only a search has targets of it, and only its gate can use it."""


def metric_named(name: str) -> Metric:
    """Return the metric of a verdict: of a run, or of a search.

    Raises:
        KeyError: there is none with this name.
    """
    return _FOUND_BY_SEARCH.get(name) or METRICS[name]


def found_by_search() -> tuple[str, ...]:
    """Return the names of what a search finds, which a gate of its scenario may use."""
    return tuple(_FOUND_BY_SEARCH)


def targetable() -> tuple[str, ...]:
    """Return the names that a target may use."""
    return tuple(metric.name for metric in METRICS.values() if metric.targetable)


def gateable() -> tuple[str, ...]:
    """Return the names that a gate may use: rates over time and means over requests."""
    return tuple(metric.name for metric in METRICS.values() if metric.gateable)


@dataclass(frozen=True, slots=True)
class MetricValue:
    """A metric of one measurement, in the unit its declaration gives.

    ``origin`` is its source: the engine's own report, or request records by the same definition.
    """

    value: float
    origin: Origin


def computed(inputs: MetricInputs, warn: Callable[[str], None]) -> dict[str, float]:
    """Return every metric that the run shows, in the order of the catalogue.

    Args:
        inputs: the run.
        warn: called with a sentence for each metric of a plugin that fails; it then counts as not measured.
    """
    values: dict[str, float] = {}
    for name, (plugin, metric) in _found().items():
        try:
            value: object = metric.compute(inputs)
        except extensions.FAULTS as error:
            warn(extensions.failure(plugin, f"its metric {name}", error))
            continue
        if value is None:
            continue
        if extensions.is_ours(plugin) or metric.allows(value):
            values[name] = float(value)  # type: ignore[arg-type]
        else:
            why = f"its metric {name} returned {extensions.shown(value)}, expected {metric.allowed} or None"
            warn(str(extensions.broken(plugin, why)))
    return values


def duration_s(name: str, value: float, plan: Plan) -> float | None:
    """Return how long a run takes that reaches this value of a metric, in s; None if it does not say.

    Raises:
        BrokenPluginError: the metric of a plugin fails, or returns something else.
    """
    plugin, metric = _found()[name]
    with extensions.named(plugin, f"duration_s of its metric {name}"):
        seconds: object = metric.expected_s(value, plan)
    if seconds is None or (isinstance(seconds, Real) and 0 <= float(seconds) < float("inf")):
        return None if seconds is None else float(seconds)
    why = f"duration_s of its metric {name} returned {extensions.shown(seconds)}, expected seconds or None"
    raise extensions.broken(plugin, why)


def combine(report: Mapping[str, float], records: Mapping[str, float]) -> dict[str, MetricValue]:
    """Return the metrics of a measurement: from the engine's report if it has them, else from records."""
    return {
        name: MetricValue(report[name], "report") if name in report else MetricValue(records[name], "records")
        for name in METRICS
        if name in report or name in records
    }
