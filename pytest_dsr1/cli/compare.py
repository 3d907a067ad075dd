"""The command ``pytest-dsr1 compare``: saved results side by side."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_dsr1.session.options import STORE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_dsr1.measurement.measurement import Measurement


def add_results(parser: argparse.ArgumentParser) -> None:
    """Add the option with the folder in which a profile's results are looked for."""
    parser.add_argument(
        "--results",
        type=Path,
        default=Path(".dsr1"),
        metavar="DIR",
        help="the folder of the profiles' results (default: .dsr1)",
    )


def add(commands: Any) -> None:
    """Add the command to those of ``pytest-dsr1``."""
    compare = commands.add_parser(
        "compare",
        help="show saved results side by side",
        description="Show two or more saved results side by side: every metric, and the differences in "
        "options, software and machine. All results are compared with the first one. See "
        "`pytest-dsr1 docs results`.",
    )
    compare.add_argument(
        "first", metavar="A", help="a result's folder, a bundle, or a profile (its newest result)"
    )
    compare.add_argument("others", metavar="B", nargs="+", help="the results to compare with A")
    add_results(compare)
    compare.add_argument("--report", type=Path, metavar="FILE", help="also write an HTML page")
    compare.set_defaults(run=_compare)


def _compare(options: argparse.Namespace) -> int:
    from datetime import datetime, timezone

    from pytest_dsr1.gate.reference_file import noise_of
    from pytest_dsr1.reporting.compare.comparison import compare
    from pytest_dsr1.reporting.compare.text import to_text

    measurements = _load([options.first, *options.others], options.results)
    now, first = datetime.now(timezone.utc), measurements[0]
    facts = first.fingerprint.facts
    comparison = compare(
        measurements, lambda metric: noise_of(Path(STORE), first.scenario, facts, metric, now)
    )
    if options.report is not None:
        from pytest_dsr1.reporting.html.render import write_comparison

        write_comparison(options.report, comparison, measurements)
    sys.stdout.write(to_text(comparison, shutil.get_terminal_size().columns, color=_wants_color()))
    return 0


def _load(names: Sequence[str], results: Path) -> list[Measurement]:
    """Return the results of these names.

    Raises:
        UserError: some are not results; the message lists them all.
    """
    from pytest_dsr1.errors import UserError
    from pytest_dsr1.measurement.finding import find
    from pytest_dsr1.measurement.store import load

    loaded: list[Measurement] = []
    problems: dict[str, None] = {}
    for name in names:
        try:
            loaded += [load(folder) for folder in find(name, results)]
        except UserError as error:
            problems[str(error)] = None
        except OSError as error:
            problems[f"{name}: cannot be read: {error.strerror}"] = None
    if problems:
        raise UserError("\n".join(problems))
    return loaded


def _wants_color() -> bool:
    """Return whether to use color: on a terminal, unless the user opts out (https://no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
