"""The command ``pytest-dsr1``: what is no test run."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence


def _restore(_: argparse.Namespace) -> int:
    from pytest_dsr1.environment.journal import restore_from_journal

    restoration = restore_from_journal(os.environ)
    for note in restoration.notes:
        print(note)
    if not restoration.notes:
        print("nothing to put back: no run has left a GPU changed")
    return 0 if restoration.complete else 1


def _parser() -> argparse.ArgumentParser:
    from importlib.metadata import version

    parser = argparse.ArgumentParser(prog="pytest-dsr1", description="What is no test run.")
    parser.add_argument("--version", action="version", version=f"pytest-dsr1 {version('pytest-dsr1')}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    restore = commands.add_parser(
        "restore",
        help="put GPU settings back that a killed run left changed",
        description="Put GPU settings back that a killed run left changed, from its journal. Needs the "
        "rights to change them (root). Exit status 1 if something could not be put back.",
    )
    restore.set_defaults(run=_restore)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    from pytest_dsr1.errors import Dsr1Error

    options = _parser().parse_args(arguments)
    try:
        status: int = options.run(options)
    except Dsr1Error as error:
        print(error, file=sys.stderr)
        return 1
    return status
