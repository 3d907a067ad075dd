"""The points of a sweep on the terminal: a line for each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from pytest_dsr1.case.case import Case
from pytest_dsr1.metrics.catalogue import MetricValue
from pytest_dsr1.text import columns, harmless, number

SHOWN: Mapping[str, str] = {
    "total_output_throughput": "tok/s",
    "per_gpu_output_throughput": "tok/s/GPU",
    "per_user_output_throughput": "tok/s/user",
    "average_ttft": "TTFT ms",
    "average_tpot": "TPOT ms",
    "average_request_latency": "latency ms",
}
"""The metrics of the table and their headings; one that no point has, or that does not fit, is left out."""


def sweep_table(cases: Sequence[Case], width: int) -> Iterable[tuple[str, Case | None]]:
    """Yield the lines of the table: the heading, then each point with its case.

    Args:
        cases: of the points of one sweep.
        width: the columns of the terminal; the last metrics are left out if they do not fit.
    """
    values = [case.run.measurement.metrics if case.run.measurement else {} for case in cases]
    names = [name for name in SHOWN if any(name in each for each in values)]
    while True:
        lines = list(_lines(cases, values, names))
        if not names or max(map(len, lines)) <= width:
            break
        names.pop()
    yield from zip(lines, (None, *cases), strict=True)


def _lines(
    cases: Sequence[Case], values: Sequence[Mapping[str, MetricValue]], names: Sequence[str]
) -> Iterable[str]:
    rows = [("  point", "verdict", "worst", *(SHOWN[name] for name in names))]
    for case, found in zip(cases, values, strict=True):
        assert case.scenario.point is not None
        figures = (number(found[name].value) if name in found else "-" for name in names)
        status = case.judgment.status
        rows.append(
            (
                f"  {harmless(case.scenario.point.label)}",
                "not judged" if status is None else status.value,
                _worst(case),
                *figures,
            )
        )
    return columns(rows, set(range(2, len(rows[0]))))


def _worst(case: Case) -> str:
    """Return the smallest margin to a target; a dash without targets."""
    margins = [each.margin_percent for each in case.judgment.verdicts if each.margin_percent is not None]
    return f"{min(margins):+.1f}%" if margins else "-"
