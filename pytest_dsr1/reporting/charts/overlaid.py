"""Several measurements in one picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from pytest_dsr1.measurement.measurement import Measurement
from pytest_dsr1.metrics.catalogue import METRICS
from pytest_dsr1.reporting.charts.request_data import Spread, columns_of, output_rate, request_times, spread
from pytest_dsr1.reporting.charts.run import RATE, TIMES, Picture
from pytest_dsr1.reporting.charts.vega import SERIES, Spec, kinds, picture, rows, seconds_axis, value_axis
from pytest_dsr1.text import number

_BESIDE = 20
"""Characters of names of which a legend has room for two beside each other."""


def overlaid(measurements: Sequence[Measurement], names: Sequence[str]) -> Iterator[Picture]:
    """Throughput over time, and how times spread, of several results; ``names`` tell them apart.

    What only one of them has is left out.
    """
    runs = dict(zip(names, measurements, strict=True))
    rates = {name: points for name, run in runs.items() if (points := output_rate(run))}
    if len(rates) > 1:
        until_s = max(run.measured_s for run in measurements)
        layer = _lines(rates, seconds_axis(until_s), value_axis(METRICS[RATE].unit))
        yield Picture("Output throughput over time", _each(_means(runs)), picture([layer]))
    times = {name: request_times(run) for name, run in runs.items()}
    for kind, (title, axis) in TIMES.items():
        values = {name: each[kind] for name, each in times.items() if kind in each}
        if len(values) < 2:
            continue
        edges = columns_of(list(values.values()))
        spreads = {name: spread(each, edges) for name, each in values.items()}
        x: Spec = {"field": "x", "type": "quantitative", "title": axis, "scale": {"zero": False}}
        lines = {name: _outline(each) for name, each in spreads.items()}
        medians = {
            name: f"median {number(each.median)} ms, 99% within {number(each.p99)} ms"
            for name, each in spreads.items()
        }
        yield Picture(
            title, _each(medians), picture([_lines(lines, x, value_axis("% of requests"), "step-after")])
        )


def _outline(seen: Spread) -> list[tuple[float, float]]:
    return [*zip(seen.edges[:-1], seen.shares, strict=True), (seen.edges[-1], 0.0)]


def _lines(
    lines: Mapping[str, Sequence[tuple[float, float]]], x: Spec, y: Spec, interpolate: str = "linear"
) -> Spec:
    colours = {name: SERIES[index % len(SERIES)] for index, name in enumerate(lines)}
    return {
        "data": rows(
            x=(p[0] for points in lines.values() for p in points),
            y=(p[1] for points in lines.values() for p in points),
            name=(name for name, points in lines.items() for _ in points),
        ),
        "mark": {"type": "line", "strokeWidth": 1.6, "interpolate": interpolate},
        "encoding": {
            "x": x,
            "y": y,
            "color": kinds("name", colours, columns=2 if max(map(len, lines)) <= _BESIDE else 1),
        },
    }


def _means(runs: Mapping[str, Measurement]) -> dict[str, str]:
    found = {name: run.metrics.get(RATE) for name, run in runs.items()}
    return {name: f"{number(value.value)} {METRICS[RATE].unit}" for name, value in found.items() if value}


def _each(said: Mapping[str, str]) -> str:
    return f"{'; '.join(f'{name}: {text}' for name, text in said.items())}."
