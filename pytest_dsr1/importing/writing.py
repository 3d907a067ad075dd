"""The writer of imported scenarios: all files are written, or none."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from pytest_dsr1.errors import UserError, on_failure
from pytest_dsr1.importing.harvest import Case, Harvest, Refusal
from pytest_dsr1.scenario.loading import mistakes_in
from pytest_dsr1.scenario.writer import dump_tree
from pytest_dsr1.scenario.yaml.tree import node_of
from pytest_dsr1.storage.files import temporary_of, write_atomically
from pytest_dsr1.text import shown_path


def refuse_impossible(found: Harvest) -> None:
    """Move every case that is not a valid scenario to the refusals."""
    possible = []
    for case in found.cases:
        mistakes = mistakes_in(node_of(case.tree, case.mark))
        if mistakes:
            words = "; ".join(f"{mistake.key}: {mistake.message}" for mistake in mistakes)
            reason = f"as a scenario it would be wrong: {words}"
            found.refusals.append(Refusal(case.mark, case.name, reason))
        else:
            possible.append(case)
    found.cases = possible


def write_all(cases: Sequence[Case], folder: Path, *, force: bool) -> list[Path]:
    """Write a file per case and return them; after a failure the folder is as before.

    Args:
        cases: their names are safe as names of files, and unique.
        folder: made if it does not exist.
        force: overwrite files that exist.

    Raises:
        UserError: files exist already, or one cannot be written.
    """
    paths = [folder / f"{case.name}.yaml" for case in cases]
    taken = [path for path in paths if os.path.lexists(path)]
    if taken and not force:
        lines = [f"  {shown_path(path)}: exists already" for path in taken]
        raise UserError("\n".join(["nothing was written (--force overwrites):", *lines]))
    if blocked := [path for path in taken if not path.is_file() or path.is_symlink()]:
        lines = [f"  {shown_path(path)}: is not a file" for path in blocked]
        raise UserError("\n".join(["nothing was written:", *lines]))
    before: dict[Path, bytes] = {}
    made: list[Path] = []

    def undo() -> None:
        for path in made:
            with suppress(OSError):
                if path in before:
                    _put_back(path, before[path])
                else:
                    path.unlink()

    try:
        before |= {path: path.read_bytes() for path in taken}
        folder.mkdir(parents=True, exist_ok=True)
        with on_failure(undo):
            for path, case in zip(paths, cases, strict=True):
                made.append(path)
                write_atomically(path, dump_tree(case.tree))
    except OSError as error:
        where = shown_path(Path(error.filename or folder))
        raise UserError(f"{where}: cannot be written: {error.strerror}; nothing was written") from None
    return paths


def _put_back(path: Path, content: bytes) -> None:
    temporary = temporary_of(path)
    temporary.write_bytes(content)
    temporary.replace(path)
