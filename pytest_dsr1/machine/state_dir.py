"""Where the journal and the locks are kept: one folder for the machine, so that all runs meet there."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from pytest_dsr1.errors import InvalidRunError
from pytest_dsr1.machine import host

MACHINE_FOLDER = Path("/var/lib/pytest-dsr1")
VARIABLE = "DSR1_STATE_DIR"


def _user_folder() -> Path:
    import platformdirs

    return platformdirs.user_state_path("pytest-dsr1")


def state_dirs(environ: Mapping[str, str]) -> tuple[Path, ...]:
    """The folders that may hold a journal: $DSR1_STATE_DIR alone, else the machine's and the user's."""
    if environ.get(VARIABLE):
        return (Path(environ[VARIABLE]),)
    return (MACHINE_FOLDER, _user_folder())


def state_dir(environ: Mapping[str, str]) -> Path:
    """The folder to write to: the first of ``state_dirs`` that can be written; it is made if needed.

    Raises:
        InvalidRunError: none can.
    """
    folders = state_dirs(environ)
    for folder in folders:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(folder, os.W_OK):
            return folder
    raise InvalidRunError(
        f"no folder for the GPU journal and locks can be written: tried {', '.join(map(str, folders))}; "
        f"name one with {VARIABLE}"
    )


def lost_with_container(folder: Path) -> bool:
    """Whether the folder goes when the container goes, and a journal in it too."""
    return host.in_container() and not host.is_mounted(folder)
