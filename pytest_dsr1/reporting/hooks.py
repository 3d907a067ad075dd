"""Our own report formats: a page, a summary, the results as JSON, and GitLab's Code Quality report."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pytest_dsr1.reporting.formats import CODE_QUALITY, Report, ReportFormat


def pytest_dsr1_reports() -> Iterable[ReportFormat]:
    """List our own formats; their writers are imported only when needed."""
    yield ReportFormat(".html", "a page", _write_page, _missing_for_page)
    yield ReportFormat(".md", "a summary in Markdown", _write_summary)
    yield ReportFormat(".json", "the results as JSON", _write_json)
    yield ReportFormat(CODE_QUALITY, "GitLab's Code Quality report", _write_code_quality)


def _missing_for_page() -> str | None:
    from pytest_dsr1.reporting.html import render

    return render.missing()


def _write_page(path: Path, report: Report) -> None:
    from pytest_dsr1.reporting.charts.history import ReportContext, shipped_points
    from pytest_dsr1.reporting.html.render import write_html

    context = ReportContext(report.history, shipped_points(), report.now)
    write_html(path, report.worst_first, context)


def _write_summary(path: Path, report: Report) -> None:
    from pytest_dsr1.reporting.ci import markdown
    from pytest_dsr1.storage import files

    pieces = markdown.summary(report.worst_first, report.not_run, report.status)
    files.write_atomically(path, markdown.joined(pieces))


def _write_json(path: Path, report: Report) -> None:
    from pytest_dsr1.reporting.ci import document
    from pytest_dsr1.storage import files

    files.write_atomically(path, document.to_json(report))


def _write_code_quality(path: Path, report: Report) -> None:
    from pytest_dsr1.reporting.ci import annotations
    from pytest_dsr1.storage import files

    files.write_atomically(path, annotations.code_quality(report.worst_first, report.root))
