"""Pictures of one measurement, and of several overlaid, each with its numbers in a sentence."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle

from pytest_dsr1.case.location import Slow, gpu_spans, slow_times
from pytest_dsr1.machine.gpu.inventory import gpu_list
from pytest_dsr1.machine.telemetry.health import from_to
from pytest_dsr1.machine.telemetry.throttling import unknown
from pytest_dsr1.measurement.measurement import Measurement
from pytest_dsr1.metrics.catalogue import METRICS
from pytest_dsr1.reporting.charts.gpu_data import Extreme, GpuSeries, gpu_series
from pytest_dsr1.reporting.charts.request_data import (
    RATE,
    Point,
    Spread,
    Steady,
    columns_of,
    in_flight,
    output_rate,
    request_times,
    spread,
    steady,
)
from pytest_dsr1.reporting.charts.vega import (
    ACCENT,
    BAD,
    DIM,
    SERIES,
    WARN,
    Spec,
    band,
    kinds,
    level,
    line,
    picture,
    rows,
    seconds_axis,
    shade,
    value_axis,
)
from pytest_dsr1.text import clock, number

OVER_TIME = "Output throughput over time"
"""The title of the picture that answers when a run was slow."""
TIMES: Mapping[str, tuple[str, str]] = {
    "latency": ("Request latency", "request latency in ms"),
    "ttft": ("Time to first token (TTFT)", "time to first token in ms"),
    "tpot": ("Time per output token (TPOT)", "time per output token in ms"),
}
_GPU: Mapping[str, tuple[str, str]] = {
    "sm_clock_mhz": ("SM clock", "MHz"),
    "power_w": ("Power", "W"),
    "temperature_c": ("Temperature", "C"),
}


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture.

    Attributes:
        title: of the picture.
        caption: the picture in words, with its numbers; a screen reader reads it too.
        spec: the drawing, in Vega-Lite.
        wide: whether it has a row of its own.
    """

    title: str
    caption: str
    spec: Spec
    wide: bool = False


def of_measurement(measurement: Measurement) -> Iterator[Picture]:
    """Yield the pictures of one run; a picture without data is left out."""
    window = steady(measurement)
    rate, flying = output_rate(measurement), in_flight(measurement)
    if rate:
        yield _throughput(measurement, rate, window)
    if flying:
        yield _in_flight(measurement, flying, window)
    times, untimed = request_times(measurement), _untimed(measurement)
    for name, values in times.items():
        title, axis = TIMES[name]
        seen = spread(values)
        caption = (
            f"{seen.count:,} requests: median {number(seen.median)} ms, 90% within {number(seen.p90)} ms, "
            f"99% within {number(seen.p99)} ms, the slowest {number(seen.most)} ms"
        )
        edge = seen.edges[-1]
        is_beyond = seen.most > edge and number(seen.most) != number(edge)
        beyond = " (beyond the right edge)" if is_beyond else ""
        columns: Spec = {
            "data": rows(x=seen.edges[:-1], x2=seen.edges[1:], y=seen.shares),
            "mark": {"type": "bar", "fill": ACCENT, "binSpacing": 0, "opacity": 0.75},
            "encoding": {
                "x": {"field": "x", "bin": {"binned": True}, "title": axis},
                "x2": {"field": "x2"},
                "y": value_axis("% of requests"),
            },
        }
        shown = (
            [(seen.median, "median")]
            if seen.p90 - seen.median < 0.15 * _width(seen.edges)
            else [
                (seen.median, "median"),
                (seen.p90, "90%"),
            ]
        )
        marks = [layer for value, text in shown for layer in level(value, text, vertical=True)]
        missing = f"; TTFT and TPOT are not drawn: {untimed}" if untimed and "ttft" not in times else ""
        yield Picture(title, f"{caption}{beyond}{missing}.", picture([columns, *marks]))
    gpus, from_s = gpu_spans(measurement), measurement.result.measured_from_s
    slow = slow_times(gpus, from_s)
    doubts = unknown(gpus, measurement.measured_s, max(measurement.scenario.hardware.count, len(gpus)))
    for name, series in gpu_series(gpus, from_s, measurement.measured_s).items():
        yield _gpus(name, series, slow, measurement.measured_s, doubts)


def not_drawn(measurement: Measurement) -> Iterator[str]:
    """Yield which pictures of a run are missing for want of data."""
    if not output_rate(measurement):
        why = _untimed(measurement) or "the engine gave no times of requests"
        yield f"Throughput over time and the spread of latencies are not drawn: {why}."
    if measurement.scenario.hardware.gpu is not None and not gpu_spans(measurement):
        yield "Clocks, power and temperatures are not drawn: no samples of the GPUs were recorded."


def _untimed(measurement: Measurement) -> str:
    """Return why the engine did not measure when tokens came; empty if it did, or does not know why."""
    return measurement.result.facts.not_measured.get("average_ttft", "")


def _width(edges: tuple[float, ...]) -> float:
    return edges[-1] - edges[0]


def _cut(window: Steady | str, until_s: float) -> list[Spec]:
    """Shade the time before and after that of the steady figure."""
    if isinstance(window, str):
        return []
    outside = [(0.0, window.from_s), (window.to_s, until_s)]
    return [shade([(begin, end) for begin, end in outside if end > begin], color=DIM)]


def _throughput(measurement: Measurement, rate: list[Point], window: Steady | str) -> Picture:
    whole, unit = measurement.metrics.get(RATE), METRICS[RATE].unit
    caption = [f"The whole run: {number(whole.value)} {unit}" if whole else "Output tokens over time"]
    if isinstance(window, str):
        caption.append(window)
    else:
        found = window.found
        caption.append(
            f"the steady figure, which a gate judges, {from_to(window.from_s, window.to_s)}: "
            f"{number(found.value)} {unit} (standard error {found.se_percent:.2g}%); warm-up and drain "
            "are shaded"
        )
    if measurement.result.records and any(r.first_token_s is None for r in measurement.result.records):
        why = "the times of tokens are unknown" if _untimed(measurement) else "the engine did not stream"
        caption.append(f"{why}, so tokens are spread evenly over each request")
    targets = [t for t in measurement.scenario.targets if t.metric == RATE]
    layers = [
        *_cut(window, measurement.measured_s),
        line(rate, seconds_axis(measurement.measured_s), value_axis(unit)),
        *(layer for target in targets for layer in level(target.value, "target")),
    ]
    return Picture(OVER_TIME, f"{'; '.join(caption)}.", picture(layers))


def _in_flight(measurement: Measurement, flying: list[Point], window: Steady | str) -> Picture:
    load = measurement.scenario.load
    mean = measurement.metrics.get("average_concurrency")
    measured = f"{number(mean.value)} requests in flight on average" if mean else "Requests in flight"
    verb = "allows at most" if load.arrival is not None else "asks for"
    limit = f"{verb} {load.at_once:,}" if load.limited else "sets no limit"
    layers = [
        *_cut(window, measurement.measured_s),
        line(flying, seconds_axis(measurement.measured_s), value_axis("requests")),
        *(level(load.at_once, "load.concurrency") if load.limited else []),
    ]
    caption = f"{measured}; load.concurrency {limit}."
    return Picture("Requests in flight", caption, picture(layers))


def _gpus(
    name: str, series: GpuSeries, slow: Iterable[Slow], until_s: float, doubts: Sequence[str]
) -> Picture:
    title, unit = _GPU[name]
    lines = series.lines
    several = series.gpus > 1
    throttled = [each for each in slow if each.throttled]
    capped = [each for each in slow if not each.throttled]
    caption = [
        f"{series.gpus} GPU{'s' if several else ''}: {_extreme(series.lowest, unit, several=several)} to "
        f"{_extreme(series.highest, unit, several=several)}, {series.mean:,.0f} {unit} on average",
        f"{_lines_of(series)} over {series.point_s:,.1f} s; gray "
        f"band: lowest to highest sample{' of any GPU' if several else ''}",
    ]
    caption += [
        f"{gpu_list([each.gpu])} was throttled {from_to(each.from_s, each.to_s)} ({each.reasons})"
        for each in throttled[:3]
    ]
    if len(throttled) > 3:
        caption.append(f"and {len(throttled) - 3} more times")
    if not throttled:
        caption.append("not throttled as far as seen" if doubts else "not throttled")
    caption += doubts
    if capped and name == "power_w":
        share = sum(each.to_s - each.from_s for each in capped) / (series.gpus * until_s)
        caption.append(f"at the software power cap {share:.0%} of the time")
    layers: list[Spec] = []
    if throttled:
        layers.append(shade([(each.from_s, each.to_s) for each in throttled], color=BAD, opacity=0.25))
    if capped and name == "power_w":
        layers.append(shade([(each.from_s, each.to_s) for each in capped], color=WARN, opacity=0.1))
    x = seconds_axis(until_s)
    y = value_axis(unit, zero=False, scale={"domain": _domain(name, series), "nice": True})
    layers += [
        band(series.band, x, y),
        {
            "data": rows(
                x=(p[0] for points in lines.values() for p in points),
                y=(p[1] for points in lines.values() for p in points),
                gpu=(name for name, points in lines.items() for _ in points),
            ),
            "mark": {"type": "line", "strokeWidth": 1.2},
            "encoding": {
                "x": x,
                "y": y,
                "color": kinds("gpu", dict(zip(lines, cycle(SERIES), strict=False)), columns=4),
            },
        },
    ]
    return Picture(
        f"GPU {title.lower() if title != 'SM clock' else title}", f"{'; '.join(caption)}.", picture(layers)
    )


def _lines_of(series: GpuSeries) -> str:
    if series.gpus == 1:
        return "line: means"
    return f"lines: means of each {'GPU' if len(series.lines) == series.gpus else 'node'}"


def _extreme(found: Extreme, unit: str, *, several: bool) -> str:
    """Return such as ``900 MHz (GPU 3 at 02:46)``; time and GPU only if one GPU alone reached it."""
    text = f"{found.value:,.0f} {unit}"
    if len(found.gpus) > 1:
        return text
    at = clock(found.at_s) if found.at_s >= 60 else f"{found.at_s:.1f} s"
    return f"{text} ({f'{gpu_list(found.gpus)} ' if several else ''}at {at})"


def _domain(name: str, series: GpuSeries) -> list[float]:
    """Return a value range wide enough that a small change looks small."""
    low, high = series.lowest.value, series.highest.value
    if name == "power_w":
        return [0.0, high]
    if name == "sm_clock_mhz":
        return [min(low, 0.8 * high), high]
    return [min(low, high - 20.0), high]


_TWO_COLUMNS = 20
"""Longest names, in characters, for which a legend has room for two columns."""


def overlaid(measurements: Sequence[Measurement], names: Sequence[str]) -> Iterator[Picture]:
    """Yield pictures of several results: throughput over time, and distributions; ``names`` are the labels.

    A picture with data of only one result is left out.
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
    colors = {name: SERIES[index % len(SERIES)] for index, name in enumerate(lines)}
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
            "color": kinds("name", colors, columns=2 if max(map(len, lines)) <= _TWO_COLUMNS else 1),
        },
    }


def _means(runs: Mapping[str, Measurement]) -> dict[str, str]:
    found = {name: run.metrics.get(RATE) for name, run in runs.items()}
    return {name: f"{number(value.value)} {METRICS[RATE].unit}" for name, value in found.items() if value}


def _each(texts: Mapping[str, str]) -> str:
    return f"{'; '.join(f'{name}: {text}' for name, text in texts.items())}."
