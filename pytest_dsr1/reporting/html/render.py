"""HTML pages of ``--dsr1-report=FILE.html`` and ``pytest-dsr1 compare``; a page needs no other file.

Jinja2 lays it out and escapes everything; Vega-Lite, through vl-convert, draws the pictures as SVG when the
page is made. docs/background/architecture.md gives the reasons for both.
"""

from __future__ import annotations

from base64 import b64encode
from collections import Counter
from collections.abc import Sequence
from importlib import metadata, util
from pathlib import Path
from typing import Any

from pytest_dsr1.case.case import Case, title_of
from pytest_dsr1.errors import UserError
from pytest_dsr1.measurement.measurement import Measurement
from pytest_dsr1.reporting.charts.curve import curve_csv, curve_pictures, curves
from pytest_dsr1.reporting.charts.history import ReportContext
from pytest_dsr1.reporting.charts.run import overlaid
from pytest_dsr1.reporting.compare.comparison import Comparison, short_number
from pytest_dsr1.reporting.html.sections import section
from pytest_dsr1.storage.files import write_atomically
from pytest_dsr1.text import plain
from pytest_dsr1.verdict.verdict import WORST_FIRST

_LINE_LIMIT = 2_000
_TEXT_LIMIT = 600
_NEEDED = {"jinja2": "jinja2", "vl_convert": "vl-convert-python"}


def missing() -> str | None:
    """Return what must be installed before a page can be made, as a message; None if nothing."""
    lacking = [name for module, name in _NEEDED.items() if util.find_spec(module) is None]
    if not lacking:
        return None
    return f"an HTML report needs {' and '.join(lacking)}: pip install 'pytest-dsr1[report]'"


def write_html(path: Path, cases: Sequence[Case], context: ReportContext) -> None:
    """Write the page.

    Args:
        path: the file; replaced atomically.
        cases: in the order of the page.
        context: what they are compared with.

    Raises:
        UserError: the file cannot be written, or a needed package is not installed.
    """
    _check_installed(path)
    from markupsafe import Markup

    sections = [section(case, index, context, path) for index, case in enumerate(cases, 1)]
    counts = Counter(each.status for each in sections)
    order = [status.value for status in WORST_FIRST]
    found = curves(cases)
    data = Markup(b64encode(curve_csv(found).encode()).decode())  # noqa: S704 - letters and digits alone
    text = render(
        "report.html",
        title=title_of(cases),
        curves=list(curve_pictures(found, context.published)),
        csv=data,
        csv_name=f"{path.stem}.csv",
        sections=sections,
        counts=[(status, counts[status]) for status in (*order, "") if counts[status]],
        context=context,
    )
    _write(path, text)


def write_comparison(path: Path, comparison: Comparison, measurements: Sequence[Measurement]) -> None:
    """Write the page of results side by side.

    Args:
        path: the file; replaced atomically.
        comparison: of the measurements.
        measurements: in the same order.

    Raises:
        UserError: the file cannot be written, or a needed package is not installed.
    """
    _check_installed(path)
    names = [result.name for result in comparison.results]
    text = render(
        "compare.html",
        title=f"Side by side: {', '.join(names)}",
        comparison=comparison,
        short_number=short_number,
        pictures=tuple(overlaid(measurements, names)),
    )
    _write(path, text)


def _check_installed(path: Path) -> None:
    lacking = missing()
    if lacking:
        raise UserError(f"{path}: {lacking}")


def _write(path: Path, text: str) -> None:
    try:
        write_atomically(path, text)
    except OSError as error:
        raise UserError(f"{path}: the report cannot be written: {error.strerror}") from None


def render(template: str, **values: Any) -> str:
    """Return a page made from a template of this package.

    Every value is escaped, and control characters are made visible; ``|block`` keeps line breaks, and
    ``|commands`` marks what is between backticks.
    """
    import jinja2
    from markupsafe import Markup

    from pytest_dsr1.reporting.charts.vega import svg

    def shown(value: object) -> object:
        return value if isinstance(value, Markup | int | float) else plain(str(value), _TEXT_LIMIT)

    def block(text: str) -> Markup:
        return Markup("\n").join(plain(line, _LINE_LIMIT) for line in text.splitlines())

    def commands(text: str) -> Markup:
        parts = plain(text, _TEXT_LIMIT).split("`")
        if len(parts) % 2 == 0:  # a backtick without its end
            return Markup("`").join(parts)
        return Markup("").join(
            Markup("<code>{}</code>").format(part) if i % 2 else part for i, part in enumerate(parts)
        )

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pytest_dsr1.reporting.html"),
        autoescape=True,
        finalize=shown,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["block"] = block
    environment.filters["commands"] = commands
    environment.filters["svg"] = lambda spec: Markup(svg(spec))  # noqa: S704 - drawn and escaped by Vega
    return environment.get_template(template).render(
        **values, version=metadata.version("pytest-dsr1"), style=_part("style.css"), script=_part("script.js")
    )


def _part(name: str) -> Any:
    from markupsafe import Markup

    return Markup((Path(__file__).parent / "templates" / name).read_text(encoding="utf-8"))  # noqa: S704 - ours
