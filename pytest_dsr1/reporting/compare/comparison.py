"""The comparison of two or more saved results: metrics, differences, and what a change means.

Every text in a :class:`Comparison` is plain (:func:`~pytest_dsr1.text.plain`): one line that is safe to show.
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
from pytest_dsr1.reporting.compare.differences import by_value, fact_text, warnings, why_unfit
from pytest_dsr1.text import number, plain
from pytest_dsr1.verdict.targets import Noise
from pytest_dsr1.verdict.validity import invalid_reasons

Sense = Literal["better", "worse", "noise", "noise?", ""]
"""The meaning of a change: ``noise`` if two runs can differ this much by chance, ``noise?`` if the noise is
only presumed; empty if neither direction is better, or if the results are not comparable."""

_CHANCE = 2 * math.sqrt(2)
"""Two starts differ by at most this many standard deviations, by chance, 19 times out of 20."""

_OPTION = "option."


@dataclass(frozen=True, slots=True)
class Result:
    """One of the results.

    Attributes:
        name: the shortest one that differs from the other names.
        started_utc: such as ``2026-11-23 20:05:12``.
        engine: its name, and what is forced.
        invalid: the first reason why it is invalid; empty if it is valid.
    """

    name: str
    profile: str
    started_utc: str
    engine: str
    folder: Path
    invalid: str


@dataclass(frozen=True, slots=True)
class Change:
    """The change of a value from the first result, in percent."""

    percent: float
    sense: Sense

    @property
    def text(self) -> str:
        """The change such as ``+25.0%``, or from eleven times on as a factor such as ``x 4,028``."""
        return f"{self.percent:+.1f}%" if self.percent < 1000 else f"x {short_number(self.percent / 100 + 1)}"


@dataclass(frozen=True, slots=True)
class Row:
    """One metric in all results.

    Attributes:
        values: in the metric's unit; None if it was not measured.
        changes: None for the first result, and if a change cannot be computed.
        noise: how much engine starts differ in the metric.
    """

    metric: Metric
    values: tuple[float | None, ...]
    changes: tuple[Change | None, ...]
    noise: Noise


@dataclass(frozen=True, slots=True)
class Difference:
    """A fact of the fingerprint that is not the same in all results; its values are for reading."""

    key: str
    role: Role
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Results side by side; all are compared with the first one.

    Attributes:
        results: in the given order; every tuple of values has the same order.
        warnings: a sentence for each reason why the results are not comparable.
        rows: every metric that one of them has, in the order of declaration.
        notes: sentences about changes that have no meaning, or are within the noise, and why.
        options: the differences in the scenario's options.
        facts: the other differences in the fingerprint.
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
        noise_of: returns how much engine starts of the first scenario differ in a metric, by its name.
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


def short_number(value: float) -> str:
    """Return a value of any size, short, for a person."""
    return number(value) if abs(value) < 1e9 else f"{value:.4g}"


def _result(name: str, measurement: Measurement, invalid: str) -> Result:
    return Result(
        name,
        measurement.scenario.name,
        plain(measurement.started_utc[:19].replace("T", " ")),
        ", ".join(filter(None, [measurement.scenario.engine.type, measurement.scenario.forced])),
        measurement.folder,
        plain(invalid),
    )


def _names(measurements: Sequence[Measurement]) -> list[str]:
    """Return distinct names: the profiles, else with as much of the time as needed, else numbered."""
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
                not why and (metric.kind != "total" or count == ended[0])
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
    # The logarithm makes the result symmetric: it is the same with the two results swapped.
    if abs(math.log(other / first)) * 100 <= _CHANCE * noise.percent:
        return "noise?" if noise.presumed else "noise"
    return "better" if (other > first) == (metric.better == "higher") else "worse"


def _unjudged(
    measurements: Sequence[Measurement], names: Sequence[str], unfit: Sequence[str]
) -> Iterator[str]:
    """Yield a sentence for each reason why no metric, or a total, is not called better or worse."""
    for why in filter(None, dict.fromkeys(unfit)):
        those = ", ".join(name for name, one in zip(names, unfit, strict=True) if one == why)
        yield f"no metric of {those} is called better or worse: {why}"
    for metric in METRICS.values():
        if metric.kind != "total":
            continue
        fit = [n for n, why in enumerate(unfit) if not why and metric.name in measurements[n].metrics]
        ended = [f"{len(measurements[n].result.records)}" for n in fit]
        if len({*ended}) > 1:
            yield (
                f"{metric.label} is not called better or worse: the number of requests differs: "
                f"{by_value(ended, [names[n] for n in fit])}"
            )


def _noise(rows: Sequence[Row]) -> Iterator[str]:
    """Yield a sentence for each noise; the one of most metrics does not name its metrics."""
    judged = [row for row in rows if row.metric.better != "neither"]
    counts = Counter(row.noise for row in judged)
    for index, (noise, _) in enumerate(counts.most_common()):
        which = f"of {', '.join(row.metric.label for row in judged if row.noise == noise)} " if index else ""
        band = f"changes {which}within {_CHANCE * noise.percent:.2g}%"
        chance = f"(2 * sqrt(2) * {noise.percent:.2g}%, {noise.source})"
        if noise.presumed:
            yield f"{band} may be noise: two runs could differ this much by chance {chance}"
        else:
            yield f"{band} are noise: two runs differ this much by chance {chance}"


def _differences(facts: Sequence[Facts], under_test: UnderTest) -> Iterator[Difference]:
    for key in unlike(facts):
        yield Difference(plain(key), role(key, under_test), tuple(fact_text(one, key) for one in facts))
