"""The command ``pytest-dsr1 import``: configurations of other projects become scenario files."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_dsr1.cli.git import git, is_committed
from pytest_dsr1.text import say, shown_path

if TYPE_CHECKING:
    from pytest_dsr1.importing.served import Origin


def add(commands: Any) -> None:
    """Add the command to those of ``pytest-dsr1``."""
    command = commands.add_parser(
        "import",
        help="make scenario files of NVIDIA's and InferenceX's configurations",
        description="Make a scenario file of each DeepSeek-R1 run in perf-sanity and options files of "
        "TensorRT-LLM, and of each search space in master configurations of InferenceX. What cannot be "
        "imported is named with the reason. After a mistake nothing is written. See `pytest-dsr1 docs "
        "import`. Exit status 1 if nothing was written.",
    )
    command.add_argument(
        "path",
        type=Path,
        metavar="FILE_OR_FOLDER",
        help="a YAML file, or a folder of them with its subfolders",
    )
    command.add_argument(
        "--out",
        type=Path,
        default=Path("imported"),
        metavar="DIR",
        help="the folder of the new scenarios (default: imported)",
    )
    command.add_argument(
        "--commit",
        metavar="COMMIT",
        help="the commit of the files (default: that of their git checkout, if any)",
    )
    command.add_argument("--force", action="store_true", help="overwrite scenarios that exist in DIR")
    command.set_defaults(run=_import)


def _import(options: argparse.Namespace) -> int:
    from pytest_dsr1.errors import UserError
    from pytest_dsr1.importing.reading import harvest
    from pytest_dsr1.importing.writing import refuse_impossible, write_all

    found = harvest(options.path, lambda path: _origin(path, options.commit))
    if found.problems:
        lines = [f"  {problem}" for problem in dict.fromkeys(map(str, found.problems))]
        count = "1 mistake" if len(lines) == 1 else f"{len(lines)} mistakes"
        raise UserError("\n".join([f"{shown_path(options.path)}: {count}; nothing was written", *lines]))
    refuse_impossible(found)
    for refusal in found.refusals:
        say(refusal)
    if not found.cases:
        raise UserError(f"{shown_path(options.path)}: there is no run to import; nothing was written")
    write_all(found.cases, options.out, force=options.force)
    for case in found.cases:
        points = "1 point" if case.points == 1 else f"{case.points} points"
        say(f"{case.mark.file_line}: imported as {case.name}{f', {points}' if case.points else ''}")
    count = "1 scenario" if len(found.cases) == 1 else f"{len(found.cases)} scenarios"
    say(f"{count} in {shown_path(options.out)}: pytest --dsr1-suites={shown_path(options.out)} --dsr1-list")
    return 0


def _origin(path: Path, commit: str | None) -> Origin:
    """Return the file's path in its git checkout, and the commit unless the file was changed since."""
    from pytest_dsr1.importing.served import Origin

    inside = git(path.parent, "rev-parse", "--show-prefix", "--show-toplevel")
    document = (inside.splitlines()[0] + path.name) if inside and "\n" in inside else path.name
    if commit is None and is_committed(path):
        commit = git(path.parent, "log", "-1", "--format=%H", "--", path.name)
    return Origin(document, commit)
