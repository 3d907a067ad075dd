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


def add(commands: Any) -> None:
    """Add the command to those of ``pytest-dsr1``."""
    compare = commands.add_parser(
        "compare",
        help="show saved results side by side",
        description="Show two or more saved results side by side: every metric, and what differs in options, "
        "software and machine. The first result is what the others are compared with. See "
        "`pytest-dsr1 docs results`.",
    )
    compare.add_argument("first", metavar="A", help="a result's folder, or a profile for its newest result")
    compare.add_argument("others", metavar="B", nargs="+", help="what is compared with it")
    compare.add_argument(
        "--results",
        type=Path,
        default=Path(".dsr1"),
        metavar="DIR",
        help="where the results of profiles are saved (default: .dsr1)",
    )
    compare.add_argument("--report", type=Path, metavar="FILE", help="write it as an HTML page as well")
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
    sys.stdout.write(to_text(comparison, shutil.get_terminal_size().columns, colour=_coloured()))
    return 0


def _load(names: Sequence[str], results: Path) -> list[Measurement]:
    """The results of these names.

    Raises:
        UserError: some are none; tells all of them.
    """
    from pytest_dsr1.errors import UserError
    from pytest_dsr1.measurement.store import load

    loaded: list[Measurement] = []
    problems: dict[str, None] = {}
    for name in names:
        try:
            loaded.append(load(_folder(name, results)))
        except UserError as error:
            problems[str(error)] = None
        except OSError as error:
            problems[f"{name}: cannot be read: {error.strerror}"] = None
    if problems:
        raise UserError("\n".join(problems))
    return loaded


def _folder(name: str, results: Path) -> Path:
    """The folder that is meant: the one of that path, else the newest result of a profile of that name."""
    from pytest_dsr1.errors import UserError
    from pytest_dsr1.measurement.store import newest

    if (Path(name) / "measurement.json").exists():
        return Path(name)
    profile = results / name
    if profile.is_dir():
        found = newest(profile)
        if found is None:
            raise UserError(f"{profile}: holds no complete result")
        return found
    if Path(name).exists():
        return Path(name)  # where something is, loading tells what it lacks
    raise UserError(f"{name}: there is no such folder, and no profile of that name in {results}")


def _coloured() -> bool:
    """Whether there is somebody to see colours, who wants them (https://no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
