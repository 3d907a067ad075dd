"""The hooks of pytest-dsr1. A plugin implements one to add something; ``pytest-dsr1 docs extend`` shows how.

Each hook is called once, when it is first needed, and lists what the plugin adds. Our own engines, metrics,
checks, clues and report formats are added the same way.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from pytest_dsr1.reporting.formats import ReportFormat

hookspec = pluggy.HookspecMarker("pytest_dsr1")


@hookspec
def pytest_dsr1_engines() -> Iterable[object]:  # type: ignore[empty-body]
    """List engines: what can answer a scenario's requests."""


@hookspec
def pytest_dsr1_metrics() -> Iterable[object]:  # type: ignore[empty-body]
    """List metrics: what can be measured, targeted and gated."""


@hookspec
def pytest_dsr1_checks() -> Iterable[object]:  # type: ignore[empty-body]
    """List preflight checks: what a machine must have before a run."""


@hookspec
def pytest_dsr1_clues() -> Iterable[object]:  # type: ignore[empty-body]
    """List clues: why a figure may be low."""


@hookspec
def pytest_dsr1_reports() -> Iterable[ReportFormat]:  # type: ignore[empty-body]
    r"""List report formats: what ``--dsr1-report`` can write, by file name suffix.

    A format that writes one line for each verdict, in a conftest.py::

        from pytest_dsr1.reporting.formats import Report, ReportFormat

        def write(path, report: Report):
            lines = [
                f"{case.scenario.name},{verdict.metric},{verdict.word.value}"
                for case in report.cases
                for verdict in case.judgement.judged
            ]
            path.write_text("\n".join(lines))

        def pytest_dsr1_reports():
            yield ReportFormat(".csv", "a table", write)
    """
