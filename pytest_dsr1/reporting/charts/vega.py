"""The parts of the pictures: Vega-Lite layers in the report's colors, and how they become SVG.

Colors are the page's CSS variables, so one drawing serves dark and light mode.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Spec = Mapping[str, Any]
"""A Vega-Lite specification, or one of its layers."""

WIDTH, HEIGHT = 360, 165
WIDE = 760
"""The width of a picture that has a row of its own."""
INK, DIM, GRID, ACCENT, BAD, WARN, GOOD = (
    f"var(--{name})" for name in ("ink", "dim", "grid", "accent", "bad", "warn", "good")
)
SERIES = [f"var(--series-{index})" for index in range(8)]
CLOCK = "utcFormat(datum.value * 1000, datum.value < 3600 ? '%M:%S' : '%H:%M:%S')"
"""Axis labels of seconds."""

_CONFIG: Spec = {
    "background": None,
    "font": "system-ui, sans-serif",
    "view": {"stroke": None},
    "axis": {
        "labelColor": DIM,
        "titleColor": DIM,
        "gridColor": GRID,
        "domainColor": GRID,
        "tickColor": GRID,
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "tickCount": 5,
        "labelOverlap": True,
        "labelSeparation": 12,
    },
    "legend": {
        "labelColor": INK,
        "labelFontSize": 12,
        "labelLimit": WIDTH,
        "orient": "bottom",
        "columns": 4,
        "columnPadding": 24,  # for fonts wider than the one of the layout
        "title": None,
    },
    "text": {"fontSize": 12},
}


def picture(layers: Sequence[Spec], *, height: int = HEIGHT, width: int = WIDTH) -> Spec:
    """Return a specification of overlaid layers."""
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
        "width": width,
        "height": height,
        "padding": {"left": 14, "top": 4, "right": 4, "bottom": 4},  # some fonts are wider
        "config": _CONFIG,
        "layer": list(layers),
    }


_ROLES = re.compile(r' (?:role="graphics-[a-z]+"|aria-roledescription="[^"]*"|aria-hidden="true")')
"""Vega's roles of single marks; a screen reader gets the picture as a whole."""


def svg(spec: Spec) -> str:
    """Draw a specification, hidden from screen readers; text in it is escaped."""
    import vl_convert

    drawn: str = vl_convert.vegalite_to_svg(json.dumps(spec))
    return _ROLES.sub("", drawn).replace("<svg ", '<svg aria-hidden="true" ', 1)


def rows(**columns: Iterable[Any]) -> Spec:
    """Return inline data: a row for each index of the columns."""
    names = list(columns)
    return {"values": [dict(zip(names, row, strict=True)) for row in zip(*columns.values(), strict=True)]}


_STEPS_S = (1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400)
"""Steps that people read on a clock."""


def seconds_axis(until_s: float) -> Spec:
    """Return the x axis of a picture over time, from 0 to ``until_s``."""
    step_s = next((step for step in _STEPS_S if until_s / step <= 6), _STEPS_S[-1])
    return {
        "field": "x",
        "type": "quantitative",
        "title": "time since the measurement began",
        "scale": {"domain": [0, until_s], "nice": False},
        "axis": {
            "labelExpr": CLOCK,
            "grid": False,
            "values": [n * step_s for n in range(int(until_s // step_s) + 1)],
        },
    }


def value_axis(title: str, *, field: str = "y", zero: bool = True, scale: Spec | None = None) -> Spec:
    """Return a y axis of values."""
    return {
        "field": field,
        "type": "quantitative",
        "title": title,
        "scale": {"zero": zero, **(scale or {})},
    }


def line(points: Sequence[tuple[float, float]], x: Spec, y: Spec, *, color: str = ACCENT) -> Spec:
    """Return a line through points."""
    return {
        "data": rows(x=(p[0] for p in points), y=(p[1] for p in points)),
        "mark": {"type": "line", "stroke": color, "strokeWidth": 1.5, "interpolate": "linear"},
        "encoding": {"x": x, "y": y},
    }


def band(ranges: Sequence[tuple[float, float, float]], x: Spec, y: Spec) -> Spec:
    """Return a gray band from a lower to an upper value at each x; its edge keeps a narrow band visible."""
    return {
        "data": rows(x=(r[0] for r in ranges), y=(r[1] for r in ranges), y2=(r[2] for r in ranges)),
        "mark": {"type": "area", "fill": DIM, "fillOpacity": 0.25, "stroke": DIM, "strokeWidth": 0.7},
        "encoding": {"x": x, "y": y, "y2": {"field": "y2"}},
    }


def shade(spans: Sequence[tuple[float, float]], *, color: str, opacity: float = 0.14) -> Spec:
    """Return shaded times, from top to bottom."""
    return {
        "data": rows(x=(s[0] for s in spans), x2=(s[1] for s in spans)),
        "mark": {"type": "rect", "fill": color, "opacity": opacity},
        "encoding": {"x": {"field": "x", "type": "quantitative"}, "x2": {"field": "x2"}},
    }


def level(
    value: float, text: str, *, color: str = DIM, vertical: bool = False, align: str = "center"
) -> list[Spec]:
    """Return a dashed line at a value, labeled above the picture, where there is no data.

    Args:
        value: where the line is.
        text: its label; for a horizontal line, one per picture, it is at the right.
        color: of line and label.
        vertical: whether the value is on the x axis.
        align: which part of the label is above a vertical line.
    """
    at = {"x" if vertical else "y": {"datum": value, "type": "quantitative"}}
    over: Spec = at if vertical else {"x": {"value": WIDTH}}
    return [
        {
            "data": {"values": [{}]},
            "mark": {"type": "rule", "stroke": color, "strokeDash": [4, 3], "strokeWidth": 1.2},
            "encoding": at,
        },
        {
            "data": {"values": [{"text": text if vertical else f"dashed: {text}"}]},
            "mark": {"type": "text", "fill": color, "align": align if vertical else "right"},
            "encoding": {**over, "y": {"value": -8}, "text": {"field": "text"}},
        },
    ]


def kinds(field: str, ranges: Mapping[str, str], *, columns: int = 3) -> Spec:
    """Return a color for each kind of point, in this order, and a legend with this number of columns."""
    return {
        "field": field,
        "type": "nominal",
        "scale": {"domain": list(ranges), "range": list(ranges.values())},
        "legend": {"columns": columns} if len(ranges) > 1 else None,
    }
