"""A comparison of results as text, for a terminal or a file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from pytest_dsr1.gate.comparability import Role
from pytest_dsr1.reporting.compare.comparison import Comparison, Difference, Row, short_number
from pytest_dsr1.text import columns, harmless, padded, plain, wrapped

Style = Literal["", "good", "bad", "caution"]
Paint = Callable[[str, Style], str]

_CODES: dict[Style, str] = {"good": "32", "bad": "31", "caution": "33"}
_STYLES: dict[str, Style] = {"better": "good", "worse": "bad"}
_TITLES: dict[Role, str] = {
    "fixed": "machine and workload, which must be equal for a gate",
    "under test": "software, which gates test",
    "shown": "facts that gates ignore",
}
_NAME = 24
"""The widest heading of a column; a longer one continues on the next line."""

_LABEL = 30
"""The least width of a label with its unit, on any terminal; wider than a heading."""

_SENSE = len("better")
"""The width of the word behind a change."""

_GAP = "  "


def to_text(comparison: Comparison, width: int, *, color: bool) -> str:
    """Return the text in lines of at most ``width`` columns (80 or more); only a folder's path may be longer.

    No line is a command to the terminal or to a CI server, whatever the results contain.
    If there are more results than fit side by side, the table continues below.
    """
    paint = _painted if color else _unpainted
    names = [result.name for result in comparison.results]
    parts: list[Iterable[str]] = [
        _warnings(comparison, width, paint),
        _results(comparison, width, paint),
        *_blocks(comparison, width, paint),
        (line for sentence in comparison.notes for line in wrapped(sentence, width)),
        _differences("the scenario's options", comparison.options, names, width),
        *(
            _differences(title, [one for one in comparison.facts if one.role == role], names, width)
            for role, title in _TITLES.items()
        ),
    ]
    return "\n\n".join(text for part in parts if (text := "\n".join(part))) + "\n"


def _painted(text: str, style: Style) -> str:
    return f"\x1b[{_CODES[style]}m{text}\x1b[0m" if style else text


def _unpainted(text: str, _: Style) -> str:
    return text


def _warnings(comparison: Comparison, width: int, paint: Paint) -> Iterator[str]:
    for warning in comparison.warnings:
        for line in wrapped(f"not comparable: {warning}", width, rest=_GAP):
            yield paint(line, "caution")


def _results(comparison: Comparison, width: int, paint: Paint) -> Iterator[str]:
    for result in comparison.results:
        about = f"{result.name}: {result.profile}, {result.started_utc} UTC, engine {result.engine}"
        yield from wrapped(about, width, rest=_GAP)
        yield harmless(f"{_GAP}{plain(str(result.folder), 4096)}")
        if result.invalid:
            for line in wrapped(f"INVALID: {result.invalid}", width, first=_GAP, rest=_GAP):
                yield paint(line, "caution")


@dataclass(frozen=True, slots=True)
class _Column:
    """One result in the table; all its cells have the same width."""

    heading: tuple[str, ...]
    cells: tuple[tuple[str, Style], ...]
    width: int


def _blocks(comparison: Comparison, width: int, paint: Paint) -> Iterator[Iterator[str]]:
    """Yield the table in as many blocks as the width needs; each begins with the first result."""
    if not comparison.rows:
        return
    first, *others = (_column(comparison, index) for index in range(len(comparison.results)))
    room = width - len(_GAP) - first.width
    labels = _labels(comparison.rows, room - max(len(_GAP) + column.width for column in others))
    here: list[_Column] = []
    for column in others:
        taken = sum(len(_GAP) + one.width for one in (*here, column))
        if here and labels.width + taken > room:
            yield _block(labels, first, here, paint)
            here = []
        here.append(column)
    yield _block(labels, first, here, paint)


def _labels(rows: Sequence[Row], room: int) -> _Column:
    """Return the metrics with their units at the right edge; cut short if values leave no room."""
    wanted = max(len(row.metric.label) + len(_GAP) + len(row.metric.unit) for row in rows)
    width = max(min(wanted, room), _LABEL)
    cells = tuple(
        plain(row.metric.label, width - len(_GAP) - len(row.metric.unit)).ljust(width - len(row.metric.unit))
        + row.metric.unit
        for row in rows
    )
    return _Column((), tuple((cell, "") for cell in cells), width)


def _column(comparison: Comparison, index: int) -> _Column:
    heading = tuple(wrapped(comparison.results[index].name, _NAME, hyphens=True))
    values = ["-" if (value := row.values[index]) is None else short_number(value) for row in comparison.rows]
    if index == 0:  # its heading can extend over the labels
        right = [cell for (cell,) in padded([(value,) for value in values], right={0})]
        return _Column(heading, tuple((cell, "") for cell in right), len(right[0]))
    changes = [row.changes[index] for row in comparison.rows]
    parts = [
        (value, change.text if change else "", change.sense if change else "")
        for value, change in zip(values, changes, strict=True)
    ]
    cells = [" ".join(row) for row in padded(parts, right={0, 1}, least=(0, 0, _SENSE))]
    width = max(map(len, [*heading, *cells]))
    return _Column(
        heading,
        tuple(
            (cell.ljust(width), _STYLES.get(change.sense, "") if change else "")
            for cell, change in zip(cells, changes, strict=True)
        ),
        width,
    )


def _block(labels: _Column, first: _Column, others: Sequence[_Column], paint: Paint) -> Iterator[str]:
    left = labels.width + len(_GAP) + first.width
    for index in range(max(len(column.heading) for column in (first, *others))):
        texts = [column.heading[index] if index < len(column.heading) else "" for column in (first, *others)]
        widths = [column.width for column in others]
        rest = (text.ljust(width) for text, width in zip(texts[1:], widths, strict=True))
        yield _GAP.join([texts[0].rjust(left), *rest]).rstrip()
    for row in zip(labels.cells, first.cells, *(column.cells for column in others), strict=True):
        *cells, last = row
        yield _GAP.join([paint(*cell) for cell in cells] + [paint(last[0].rstrip(), last[1])])


def _differences(
    title: str, differences: Sequence[Difference], names: Sequence[str], width: int
) -> Iterator[str]:
    """Yield a table if it fits, else a line for each value."""
    if not differences:
        return
    rows = [(title, *names), *((f"{_GAP}{one.key}", *one.values) for one in differences)]
    lines = list(columns([tuple(map(harmless, row)) for row in rows]))
    if max(map(len, lines)) <= width:
        yield from lines
        return
    yield title
    for one in differences:
        yield from wrapped(one.key, width, first=_GAP, rest=_GAP)
        for text in columns(list(zip(names, one.values, strict=True))):
            yield from wrapped(text, width, first=_GAP * 2, rest=_GAP * 3)
