"""The command ``pytest-dsr1 bundle``: one result as one file, for another person."""

from __future__ import annotations

import argparse
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any

from pytest_dsr1.cli.compare import add_results
from pytest_dsr1.text import say


def add(commands: Any) -> None:
    """Add the command to those of ``pytest-dsr1``."""
    bundle = commands.add_parser(
        "bundle",
        help="put one result into one file",
        description="Put one result into one file (tar.gz), for another person. `pytest --dsr1-replay=FILE`, "
        "`pytest-dsr1 compare`, `export` and load_results() read it. See `pytest-dsr1 docs "
        "analyze#send-a-result`.",
    )
    bundle.add_argument(
        "result", metavar="RESULT", help="a result's folder, or a profile (its newest result)"
    )
    bundle.add_argument(
        "--anonymous",
        action="store_true",
        help="leave out host and user names, absolute paths, the environment, the engine's files and logs",
    )
    bundle.add_argument(
        "--output", type=Path, metavar="FILE", help="the file to write (default: <profile>-<UTC time>.tar.gz)"
    )
    add_results(bundle)
    bundle.set_defaults(run=_bundle)


def _bundle(options: argparse.Namespace) -> int:
    from pytest_dsr1.errors import UserError
    from pytest_dsr1.measurement.anonymous import write_anonymous
    from pytest_dsr1.measurement.bundle import SUFFIX, files_of, pack
    from pytest_dsr1.measurement.finding import find
    from pytest_dsr1.measurement.store import load

    folder, *others = find(options.result, options.results)
    if others:
        raise UserError(
            f"{options.result}: means {1 + len(others)} results; name one of them, such as {folder}"
        )
    measurement = load(folder)
    name = f"{measurement.scenario.name}/{folder.resolve().name}"
    output: Path = options.output or Path(f"{name.replace('/', '-')}{SUFFIX}")
    if not output.name.endswith(SUFFIX):
        raise UserError(f"--output {output}: expected a file name that ends in {SUFFIX}")
    try:
        with tempfile.TemporaryDirectory(prefix="dsr1-bundle-") as copy:
            if options.anonymous:
                write_anonymous(folder, Path(copy))
            files = files_of(Path(copy) if options.anonymous else folder)
            pack(files, name, datetime.fromisoformat(measurement.started_utc).timestamp(), output)
    except OSError as error:
        unread = error.filename is not None and Path(error.filename).is_relative_to(folder)
        what = f"{error.filename}: cannot be read" if unread else f"{output}: cannot be written"
        raise UserError(f"{what}: {error.strerror}") from None
    warning = (
        "look through it before you publish it: messages may have names that pytest-dsr1 does not know"
        if options.anonymous
        else "it has host name, paths and logs, which may show secrets: send it only to people who may see "
        "them, or use --anonymous"
    )
    say(f"{output}: {len(files)} files, {output.stat().st_size / 1e6:.1f} MB; {warning}")
    return 0
