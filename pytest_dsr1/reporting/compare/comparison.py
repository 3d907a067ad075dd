"""Two or more saved results compared: what was measured, what differs, and what that is worth.

Every text in a :class:`Comparison` is plain (:func:`~pytest_dsr1.text.plain`): one line, which a page can
show as it is.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pytest_dsr1.gate.comparability import Facts, Role, UnderTest, role, unlike
from pytest_dsr1.measurement.measurement import Measurement
from pytest_dsr1.metrics.catalogue import METRICS
from pytest_dsr1.metrics.registry import Metric
from pytest_dsr1.reporting.compare.differences import by_value, told, warnings, why_unfit
from pytest_dsr1.text import number, plain
from pytest_dsr1.verdict.targets import Noise
from pytest_dsr1.verdict.validity import invalid_reasons

Sense = Literal["better", "worse", "noise", "noise?", ""]
"""What a change is: ``noise`` where two runs differ so much by chance, with a question mark where the noise
is only presumed; empty where neither way is better, or the two results cannot tell."""

_CHANCE = 2 * math.sqrt(2)
"""Standard deviations between engine starts by which two of them differ by chance, 19 times of 20."""

_OPTION = "option."
_WHOLE = "total_latency"
"""The metric that grows with the number of requests."""


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

    @property
    def told(self) -> str:
        """Such as ``+25.0%``, or ``x 4,028``: beyond ten times a percentage says little."""
        return f"{self.percent:+.1f}%" if self.percent < 1000 else f"x {figure(self.percent / 100 + 1)}"


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
    role: Role
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Results side by side; the first is what the others are compared with.

    Attributes:
        results: in the order in which they were given; every other tuple of values is in this order.
        warnings: why the results are not comparable, a sentence each.
        rows: every metric that one of them has, in the order of their declaration.
        notes: sentences that say of what nothing is called better or worse, and which changes are no more
            than noise, each with why.
        options: what differs in the scenario's options.
        facts: what else differs in the fingerprint.
    """

    results: tuple[Result, ...]
    warnings: tuple[str, ...]
    rows: tuple[Row, ...]
    notes: tuple[str, ...]
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
    invalid = [next(iter(invalid_reasons(measurement)), "") for measurement in measurements]
    unfit = why_unfit(measurements, names, invalid)
    rows = tuple(_rows(measurements, unfit, noise_of))
    notes = [*_unjudged(measurements, names, unfit)]
    if not all(unfit[1:]):
        notes += _noise(rows)
    found = tuple(_differences(facts, measurements[0].scenario.gate.under_test))
    return Comparison(
        results=tuple(map(_result, names, measurements, invalid)),
        warnings=tuple(warnings(measurements, names)),
        rows=rows,
        notes=tuple(notes),
        options=tuple(one for one in found if one.key.startswith(_OPTION)),
        facts=tuple(one for one in found if not one.key.startswith(_OPTION)),
    )


def figure(value: float) -> str:
    """A value of any size as a person reads it, where there is little room."""
    return number(value) if abs(value) < 1e9 else f"{value:.4g}"


def _result(name: str, measurement: Measurement, invalid: str) -> Result:
    return Result(
        name,
        measurement.scenario.name,
        plain(measurement.started_utc[:19].replace("T", " ")),
        measurement.scenario.engine.type,
        measurement.folder,
        plain(invalid),
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


def _rows(
    measurements: Sequence[Measurement], unfit: Sequence[str], noise_of: Callable[[str], Noise]
) -> Iterator[Row]:
    ended = [len(measurement.result.records) for measurement in measurements]
    for name, metric in METRICS.items():
        values = tuple(
            None if (found := measurement.metrics.get(name)) is None else found.value
            for measurement in measurements
        )
        if any(value is not None for value in values):
            noise = noise_of(name)
            judged = (
                not why and (name != _WHOLE or count == ended[0])
                for why, count in zip(unfit, ended, strict=True)
            )
            first, *others = zip(values, judged, strict=True)
            changes = (_change(metric, first[0], other, noise, judged=fit) for other, fit in others)
            yield Row(metric, values, (None, *changes), noise)


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


def _unjudged(
    measurements: Sequence[Measurement], names: Sequence[str], unfit: Sequence[str]
) -> Iterator[str]:
    """A sentence for each reason why nothing, or not the total latency, is called better or worse."""
    for why in filter(None, dict.fromkeys(unfit)):
        those = ", ".join(name for name, one in zip(names, unfit, strict=True) if one == why)
        yield f"nothing of {those} is called better or worse: {why}"
    fit = [index for index, why in enumerate(unfit) if not why and _WHOLE in measurements[index].metrics]
    ended = [f"{len(measurements[index].result.records)}" for index in fit]
    if len({*ended}) > 1:
        yield (
            f"{METRICS[_WHOLE].label} is not called better or worse where the number of requests is another: "
            f"{by_value(ended, [names[index] for index in fit])}"
        )


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


def _differences(facts: Sequence[Facts], under_test: UnderTest) -> Iterator[Difference]:
    for key in unlike(facts):
        yield Difference(plain(key), role(key, under_test), tuple(told(one, key) for one in facts))
