"""The folder of the journal and the locks: one per machine, shared by all runs."""

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
    """Return the folders of possible journals: $DSR1_STATE_DIR alone, else the machine's and the user's."""
    if environ.get(VARIABLE):
        return (Path(environ[VARIABLE]),)
    return (MACHINE_FOLDER, _user_folder())


def state_dir(environ: Mapping[str, str]) -> Path:
    """Return the folder to write to: the first writable one of ``state_dirs``, created if needed.

    Raises:
        InvalidRunError: none of them is writable.
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
        f"no folder for the GPU journal and locks is writable: tried {', '.join(map(str, folders))}; "
        f"choose one with {VARIABLE}"
    )


def lost_with_container(folder: Path) -> bool:
    """Return whether the folder, with any journal in it, disappears with the container."""
    return host.in_container() and not host.is_mounted(folder)
