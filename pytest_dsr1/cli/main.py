"""The command ``pytest-dsr1``: its subcommands."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence
from typing import NoReturn

from pytest_dsr1.cli import bisect, bundle, compare, docs, export, importing, probe, references, sbatch
from pytest_dsr1.cli.references import SUITES_HELP
from pytest_dsr1.text import harmless, say, shell_word


def _restore(_: argparse.Namespace) -> int:
    from pytest_dsr1.machine.setup.journal import restore_from_journal

    restoration = restore_from_journal(os.environ)
    for note in (*restoration.notes, *restoration.elsewhere):
        say(note)
    if not restoration.notes:
        places = ", ".join(map(str, restoration.searched)) or "no folder"
        say(
            f"nothing to restore: no journal of a GPU of this machine in {places}; if a run had another "
            "DSR1_STATE_DIR or XDG_STATE_HOME, set DSR1_STATE_DIR to that folder"
        )
    return 0 if restoration.complete else 1


def _dataset(options: argparse.Namespace) -> int:
    from pathlib import Path

    from pytest_dsr1.cli.suites import folders
    from pytest_dsr1.errors import UserError
    from pytest_dsr1.reporting.terminal.progress import Counter
    from pytest_dsr1.scenario.named import load_named
    from pytest_dsr1.storage.files import replacing
    from pytest_dsr1.workload.synthetic import write_synthetic

    scenario = load_named(options.profile, folders(options.suites), options.set)
    if scenario.dataset.path is not None:
        raise UserError(f"{scenario.name}: nothing to write; its requests are in {scenario.dataset.path}")
    terminal, target = sys.stderr.isatty(), Path(options.file)

    def show(line: str) -> None:
        start, end = ("\r\x1b[K", "") if terminal else ("", "\n")
        sys.stderr.write(f"{start}{line}{end}")
        sys.stderr.flush()

    try:
        with replacing(target) as part, Counter("writing requests", show, terminal=terminal) as progress:
            write_synthetic(scenario.dataset, scenario.load, part, progress)
    except OSError as error:
        raise UserError(f"{target}: cannot be written: {error.strerror}") from None
    requests = scenario.load.num_requests
    say(
        f"{target}: {requests:,} requests of {scenario.name}, one per line; for trtllm-bench: --dataset "
        f"{shell_word(str(target))}"
    )
    return 0


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are harmless to print: in CI, arguments can come from outsiders."""

    def error(self, message: str) -> NoReturn:
        super().error(harmless(message))


def _parser() -> argparse.ArgumentParser:
    from importlib.metadata import version

    parser = _Parser(
        prog="pytest-dsr1",
        description="Commands that complement the tests: restore GPU settings, write datasets, compare, "
        "export and bundle results, manage references, bisect, probe GPUs, submit Slurm jobs, read the "
        "documentation.",
    )
    parser.add_argument("--version", action="version", version=f"pytest-dsr1 {version('pytest-dsr1')}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    restore = commands.add_parser(
        "restore",
        help="restore GPU settings that a killed run left changed",
        description="Restore GPU settings that a killed run left changed, from its journal. Needs the right "
        "to change them (root). Exit status 1 if a setting could not be restored.",
    )
    restore.set_defaults(run=_restore)
    dataset = commands.add_parser(
        "dataset",
        help="write the synthetic requests of a profile to a file",
        description="Write the synthetic requests of a profile to a file in trtllm-bench's JSONL format: the "
        "same bytes that a run would send.",
    )
    dataset.add_argument("profile", help="the profile's name, or a scenario file")
    dataset.add_argument("file", help="the file to write")
    dataset.add_argument("--suites", action="append", default=[], help=SUITES_HELP)
    dataset.add_argument("--set", action="append", default=[], help="change a value: KEY=VALUE")
    dataset.set_defaults(run=_dataset)
    bisect.add(commands)
    bundle.add(commands)
    compare.add(commands)
    docs.add(commands)
    export.add(commands)
    importing.add(commands)
    probe.add(commands)
    references.add(commands)
    sbatch.add(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status."""
    from pytest_dsr1.errors import Dsr1Error

    parser = _parser()
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        options, of_pytest = parser.parse_known_args(given)
        if of_pytest and not hasattr(options, "of_pytest"):
            parser.error(f"unrecognized arguments: {' '.join(of_pytest)}")
        options.of_pytest = of_pytest
    except SystemExit as end:
        if given[:1] == ["bisect"] and end.code:
            raise SystemExit(bisect.ABORT) from None  # the status of a mistake would mark a commit as bad
        raise
    # The arguments of a command that bisect runs are not ours; an error would mark a commit as bad.
    for argument in given if given[:1] != ["bisect"] else ():
        # Of an unset variable in a pipeline. `--set=KEY=` is null.
        if not argument.strip() or re.fullmatch(r"--[a-z-]+=\s*", argument):
            what = argument.strip().rstrip("=") or "an argument"
            parser.error(f"{what} is empty: give it a value, or remove it")
    try:
        status: int = options.run(options)
        sys.stdout.flush()
    except Dsr1Error as error:
        say(error, error=True)
        return 1
    except BrokenPipeError:  # the reader stopped reading, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes stdout when it exits
        return 1
    return status
