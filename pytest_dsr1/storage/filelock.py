"""Locks between processes: a file locked with flock, which contains a note about the holder.

The kernel releases the lock when the holder ends, in whatever way.
"""

from __future__ import annotations

import fcntl
import getpass
import json
import os
from datetime import datetime, timezone
from pathlib import Path
from typing import IO


def user() -> str:
    """Return the name of the user who runs this process, or the user id if there is no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return str(os.getuid())


def lock_file(folder: Path, name: str) -> IO[str] | None:
    """Lock the file ``NAME.lock`` and return it; None if another process holds it. Closing it unlocks it.

    Raises:
        OSError: the file cannot be opened; links and read-only files are refused.
    """
    descriptor = os.open(
        folder / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644
    )
    file = os.fdopen(descriptor, "r+", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def is_held(folder: Path, name: str) -> bool:
    """Return whether a process holds the lock, without write permission."""
    try:
        file = (folder / f"{name}.lock").open(encoding="utf-8")
    except OSError:
        return False
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def holder(folder: Path, name: str) -> str:
    """Return who holds a lock, from the note in it."""
    try:
        note = json.loads((folder / f"{name}.lock").read_text(encoding="utf-8"))
        return f"pid {note['pid']} of user {note['user']} since {note['since']}: {note['command']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "a run that is just starting"


def sign(file: IO[str], command: str) -> None:
    """Write the note of a lock: this process holds it from now on, for ``command``."""
    note = {
        "pid": os.getpid(),
        "user": user(),
        "command": command,
        "since": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
    file.truncate()
    json.dump(note, file)
    file.flush()
