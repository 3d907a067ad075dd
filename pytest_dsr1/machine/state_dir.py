"""The folder of the journal and the locks: one per machine, shared by all runs."""

from __future__ import annotations

import errno
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
    tried = []
    for folder in state_dirs(environ):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            tried.append(f"{folder} ({error.strerror})")
            continue
        if os.access(folder, os.W_OK):
            return folder
        tried.append(f"{folder} ({os.strerror(errno.EACCES)})")
    raise InvalidRunError(
        f"no folder for the GPU journal and locks is writable: tried {', '.join(tried)}; choose one with "
        f"{VARIABLE}"
    )


def lock_folders(environ: Mapping[str, str]) -> tuple[Path, ...]:
    """Return the folders in which a run of any user on this machine may hold a lock.

    Runs of root and of another user write to different folders. Only users with a process can hold a lock, so
    no other home folder is looked at: it might have to be mounted.
    """
    own = (*state_dirs(environ), MACHINE_FOLDER)
    return tuple(dict.fromkeys((*own, *map(_in_home, host.homes_in_use()))))


def restore_folders(environ: Mapping[str, str]) -> tuple[Path, ...]:
    """Return the folders whose journals this process restores: its own, and for root those of other users.

    These are the users with a process, and the one whose job Slurm's Epilog ends. $DSR1_STATE_DIR is searched
    alone. A folder of a user must belong to the user: a link to another place is not followed.
    """
    own = state_dirs(environ)
    if environ.get(VARIABLE) or os.geteuid() != 0:
        return own
    of_job = host.home_of(environ.get("SLURM_JOB_USER", ""))
    homes = [*host.homes_in_use(), *([of_job] if of_job else [])]
    return tuple(dict.fromkeys((*own, *(_in_home(home) for home in homes if _is_of_user(home)))))


def _in_home(home: Path) -> Path:
    return home / ".local" / "state" / "pytest-dsr1"


def _is_of_user(home: Path) -> bool:
    """Return whether a user has a state folder; also True if that cannot be known."""
    try:
        return _in_home(home).stat().st_uid == home.stat().st_uid
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True


def lost_with_container(folder: Path) -> bool:
    """Return whether the folder, with any journal in it, disappears with the container."""
    return host.in_container() and not host.is_mounted(folder)
