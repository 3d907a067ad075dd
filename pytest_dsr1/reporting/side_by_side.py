"""Two or more saved results compared: what was measured, what differs, and what that is worth.

Every text in a :class:`Comparison` is plain (:func:`~pytest_dsr1.plain.plain`): what a saved file
says can be printed as it is.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pytest_dsr1.measurement.values import Measurement
from pytest_dsr1.plain import plain
from pytest_dsr1.scenario.metrics import METRICS, Metric
from pytest_dsr1.verdict.rings import NODE, Facts, Moved, Ring, node, ring, short, shown, unlike
from pytest_dsr1.verdict.targets import Noise
from pytest_dsr1.verdict.validity import invalid_reasons

Sense = Literal["better", "worse", "noise", "noise?", ""]
"""What a change is: ``noise`` where two runs differ so much by chance, with a question mark where the noise
is only presumed; empty where neither way is better, or the requests are not of the same length."""

_AS_LONG = 0.01
"""Mean lengths of drawn requests that differ by less are the same."""

_CHANCE = 2 * math.sqrt(2)
"""Standard deviations between engine starts by which two of them differ by chance, 19 times of 20."""

_OPTION = "option."
_WORK = {
    "model.content": "the models are not the same",
    "dataset.content": "the requests are not the same",
    "option.load.concurrency": "concurrency is not the same",
}
_ARRIVAL = "option.load.arrival"


@dataclass(frozen=True, slots=True)
class Result:
    """One of the results.

    Attributes:
        name: the shortest that tells the results apart.
        started_utc: such as ``2026-11-23 20:05:12``.
        invalid: the first reason why it proves nothing; empty where it is valid.
    """

    name: str
    profile: str
    started_utc: str
    engine: str
    folder: Path
    invalid: str


@dataclass(frozen=True, slots=True)
class Change:
    """A value against that of the first result, in percent of it."""

    percent: float
    sense: Sense


@dataclass(frozen=True, slots=True)
class Row:
    """One metric in all results.

    Attributes:
        values: in the metric's unit; None where it was not measured.
        changes: None for the first result, and where there is nothing to divide.
        noise: how much engine starts differ in it.
    """

    metric: Metric
    values: tuple[float | None, ...]
    changes: tuple[Change | None, ...]
    noise: Noise


@dataclass(frozen=True, slots=True)
class Difference:
    """A fact of the fingerprint that is not the same in all results, its values as a person reads them."""

    key: str
    ring: Ring
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Results side by side; the first is what the others are compared with.

    Attributes:
        results: in the order in which they were given; every other tuple of values is in this order.
        warnings: why the results are not comparable, a sentence each.
        rows: every metric that one of them has, in the order of their declaration.
        noise: sentences that say which changes are no more than noise, and by what.
        options: what differs in the scenario's options.
        facts: what else differs in the fingerprint.
    """

    results: tuple[Result, ...]
    warnings: tuple[str, ...]
    rows: tuple[Row, ...]
    noise: tuple[str, ...]
    options: tuple[Difference, ...]
    facts: tuple[Difference, ...]


def compare(measurements: Sequence[Measurement], noise_of: Callable[[str], Noise]) -> Comparison:
    """Compare the first measurement with the others.

    Args:
        measurements: two or more.
        noise_of: how much engine starts of the first one's scenario differ in a metric, by its name.
    """
    facts = [measurement.fingerprint.facts for measurement in measurements]
    names = _names(measurements)
    rows = tuple(_rows(measurements, noise_of))
    found = tuple(_differences(facts, measurements[0].scenario.gate.under_test))
    return Comparison(
        results=tuple(map(_result, names, measurements)),
        warnings=tuple(_warnings(measurements, names)),
        rows=rows,
        noise=tuple(_noise(rows)),
        options=tuple(one for one in found if one.key.startswith(_OPTION)),
        facts=tuple(one for one in found if not one.key.startswith(_OPTION)),
    )


def told(facts: Facts, key: str) -> str:
    """What a fingerprint says of a fact, as a person reads it."""
    if key not in facts:
        return "not recorded"
    return short(node(facts)) if key == NODE else plain(shown(facts[key]))


def _result(name: str, measurement: Measurement) -> Result:
    reasons = invalid_reasons(measurement)
    return Result(
        name,
        measurement.scenario.name,
        plain(measurement.started_utc[:19].replace("T", " ")),
        measurement.scenario.engine.type,
        measurement.folder,
        plain(reasons[0]) if reasons else "",
    )


def _names(measurements: Sequence[Measurement]) -> list[str]:
    """The profile where that tells them apart, else with as much of the time as does; else numbered."""
    profiles = [measurement.scenario.name for measurement in measurements]
    if len({*profiles}) == len(profiles):
        return profiles
    times = [plain(measurement.started_utc[:19].replace("T", " ")) for measurement in measurements]
    one_day = len({time[:10] for time in times}) == 1
    one_profile = len({*profiles}) == 1
    names: list[str] = []
    for part in (slice(11, 16), slice(11, 19)) if one_day else (slice(10), slice(16), slice(19)):
        names = [
            time[part] if one_profile else f"{profile} {time[part]}"
            for profile, time in zip(profiles, times, strict=True)
        ]
        if len({*names}) == len(names):
            return names
    return [f"{name} ({n})" if names.count(name) > 1 else name for n, name in enumerate(names, 1)]


def _rows(measurements: Sequence[Measurement], noise_of: Callable[[str], Noise]) -> Iterator[Row]:
    judged = [_as_long(measurements[0], run) for run in measurements[1:]]
    for name, metric in METRICS.items():
        values = tuple(
            None if (found := measurement.metrics.get(name)) is None else found.value
            for measurement in measurements
        )
        if any(value is not None for value in values):
            noise = noise_of(name)
            first, *others = values
            changes = (
                _change(metric, first, other, noise, judged=as_long)
                for other, as_long in zip(others, judged, strict=True)
            )
            yield Row(metric, values, (None, *changes), noise)


def _as_long(first: Measurement, other: Measurement) -> bool:
    """Whether requests are of the same mean length: of others every figure is another."""
    one, two = first.workload, other.workload
    pairs = [(one.mean_input or 0.0, two.mean_input or 0.0), (one.mean_output, two.mean_output)]
    return all(math.isclose(here, there, rel_tol=_AS_LONG) for here, there in pairs)


def _change(
    metric: Metric, first: float | None, other: float | None, noise: Noise, *, judged: bool
) -> Change | None:
    if first is None or other is None or not (0 < first < math.inf and 0 < other < math.inf):
        return None
    return Change((other / first - 1) * 100, _sense(metric, first, other, noise) if judged else "")


def _sense(metric: Metric, first: float, other: float, noise: Noise) -> Sense:
    if metric.better == "neither":
        return ""
    # Of the logarithm, so that the two results can change places.
    if abs(math.log(other / first)) * 100 <= _CHANCE * noise.percent:
        return "noise?" if noise.presumed else "noise"
    return "better" if (other > first) == (metric.better == "higher") else "worse"


def _noise(rows: Sequence[Row]) -> Iterator[str]:
    """A sentence for each noise; only that of most metrics does not name them."""
    judged = [row for row in rows if row.metric.better != "neither"]
    counts = Counter(row.noise for row in judged)
    for index, (noise, _) in enumerate(counts.most_common()):
        which = f"of {', '.join(row.metric.label for row in judged if row.noise == noise)} " if index else ""
        band = f"changes {which}within {_CHANCE * noise.percent:.2g}%"
        chance = f"(2 * sqrt(2) * {noise.percent:.2g}%, {noise.source})"
        if noise.presumed:
            yield f"{band} may be noise: two runs would differ so much by chance {chance}"
        else:
            yield f"{band} are noise: two runs differ so much by chance {chance}"


def _differences(facts: Sequence[Facts], moved: Moved) -> Iterator[Difference]:
    for key in unlike(facts):
        yield Difference(plain(key), ring(key, moved), tuple(told(one, key) for one in facts))


def _warnings(measurements: Sequence[Measurement], names: Sequence[str]) -> Iterator[str]:
    facts = [measurement.fingerprint.facts for measurement in measurements]
    hardware = [_hardware(one) for one in facts]
    if len({*hardware}) > 1:
        yield f"the hardware is not the same: {_by_value(hardware, names)}"
    differing = unlike(facts)
    for key, sentence in _WORK.items():
        if key in differing:
            yield f"{sentence}: {_by_value([_work(run, key) for run in measurements], names)}"
    if any(key.startswith(_ARRIVAL) for key in differing):
        yield "the arrivals of the requests are not the same"


def _work(measurement: Measurement, key: str) -> str:
    """A fact of the work; requests with their mean tokens, since a hash alone says little."""
    said, workload = told(measurement.fingerprint.facts, key), measurement.workload
    if key != "dataset.content":
        return said
    asked = "text" if workload.mean_input is None else f"{workload.mean_input:.4g}"
    return f"{asked} in, {workload.mean_output:.4g} out ({said})"


def _hardware(facts: Facts) -> str:
    if facts.get("gpu.count"):
        return f"{told(facts, 'gpu.count')} x {told(facts, 'gpu.name')}"
    return told(facts, "cpu.model")


def _by_value(values: Sequence[str], names: Sequence[str]) -> str:
    """Such as ``128 in a, b; 64 in c``."""
    return "; ".join(
        f"{value} in {', '.join(name for name, one in zip(names, values, strict=True) if one == value)}"
        for value in dict.fromkeys(values)
    )
