"""The command ``pytest-dsr1 export``: saved results as a table for other programs."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from pytest_dsr1.cli.compare import add_results
from pytest_dsr1.text import say

FORMATS = ("csv", "jsonl")


def add(commands: Any) -> None:
    """Add the command to those of ``pytest-dsr1``."""
    export = commands.add_parser(
        "export",
        help="write saved results as CSV or JSON lines",
        description="Write saved results as a table in long form, with a row for each metric of each run and "
        "the facts of the run in each row. Runs without a result are named on stderr. See `pytest-dsr1 docs "
        "analyze#columns`.",
    )
    export.add_argument(
        "names",
        metavar="NAME",
        nargs="*",
        help="a profile for all of its results, a result's folder, a folder of results, a bundle, or a glob "
        "(default: all results)",
    )
    export.add_argument("--format", choices=FORMATS, default="csv", help="default: csv")
    export.add_argument("--output", type=Path, metavar="FILE", help="the file to write (default: stdout)")
    add_results(export)
    export.set_defaults(run=_export)


def _export(options: argparse.Namespace) -> int:
    from pytest_dsr1.results.loading import load_results
    from pytest_dsr1.results.table import to_csv, to_jsonl

    output: Path | None = options.output
    if output is not None:
        _refuse_what_is_not_a_file(output)
    found = load_results(*options.names, results=options.results)
    text = {"csv": to_csv, "jsonl": to_jsonl}[options.format](found)
    for why in found.left_out:
        say(f"left out: {why}", error=True)
    if output is None:
        sys.stdout.write(text)  # data for a file or a program, so it is not made harmless
    else:
        _write(output, text)
    return 0


def _refuse_what_is_not_a_file(output: Path) -> None:
    from pytest_dsr1.errors import UserError

    if os.path.isdir(output):  # noqa: PTH112 - a name that is too long is reported when it is written
        raise UserError(f"--output {output}: is a folder; expected a file name, such as {output}/results.csv")
    if os.path.exists(output) and not os.path.isfile(output):  # noqa: PTH110, PTH113
        raise UserError(f"--output {output}: is a device or pipe; omit --output to write to stdout")


def _write(output: Path, text: str) -> None:
    from pytest_dsr1.errors import UserError
    from pytest_dsr1.storage.files import write_atomically

    try:
        write_atomically(output, text)
    except OSError as error:
        raise UserError(
            f"--output {output}: cannot be written: {error.strerror}; expected a file in a writable folder"
        ) from None
