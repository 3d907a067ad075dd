"""Results in long form: a row for each metric of each run, with the facts of the run."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from pytest_dsr1.text import shown_path, writable

if TYPE_CHECKING:
    from pytest_dsr1.results.result import Result

Cell = str | int | float | None
COLUMNS = (
    "profile",
    "started_utc",
    "metric",
    "value",
    "unit",
    "target",
    "verdict",
    "run_verdict",
    "gpu",
    "gpu_count",
    "driver",
    "engine",
    "engine_version",
    "model",
    "quantization",
    "isl",
    "osl",
    "concurrency",
    "request_rate",
    "folder",
)
"""The names of the columns, in their order. Others may be added at the end."""


def facts_of(result: Result) -> dict[str, Cell]:
    """Return the cells that are the same for each metric of a run."""
    return {
        "profile": result.profile,
        "started_utc": result.started.isoformat(),
        "run_verdict": result.verdict,
        "gpu": result.gpu,
        "gpu_count": result.gpu_count,
        "driver": result.driver,
        "engine": result.engine,
        "engine_version": result.engine_version,
        "model": result.model,
        "quantization": result.quantization,
        "isl": result.isl,
        "osl": result.osl,
        "concurrency": result.concurrency,
        "request_rate": result.request_rate,
        "folder": shown_path(result.folder),
    }


def rows(results: Iterable[Result]) -> Iterator[dict[str, Cell]]:
    """Yield a row for each metric that a run measured or has a target for; the keys are :data:`COLUMNS`."""
    for result in results:
        facts = facts_of(result)
        for metric in result.metrics.values():
            row = {
                **facts,
                "metric": metric.name,
                "value": finite(metric.value),
                "unit": metric.unit,
                "target": metric.target,
                "verdict": metric.verdict,
            }
            yield {name: row[name] for name in COLUMNS}


def finite(value: float | None) -> float | None:
    """Return the value; None if it is not finite, which JSON does not have and an INVALID run may."""
    return value if value is not None and math.isfinite(value) else None


def to_csv(results: Iterable[Result]) -> str:
    """Return the table as CSV with a line of names; an empty cell has no value."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(row.values() for row in rows(results))
    return writable(file.getvalue())


def to_jsonl(results: Iterable[Result]) -> str:
    """Return the table as JSON lines: an object per row."""
    return "".join(f"{json.dumps(row)}\n" for row in rows(results))
