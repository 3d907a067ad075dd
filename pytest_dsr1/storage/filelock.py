"""Locks between processes: a file locked with flock, which contains a note about the holder.

The kernel releases the lock when the holder ends, in whatever way.
"""

from __future__ import annotations

import errno
import fcntl
import getpass
import json
import os
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import IO


def user() -> str:
    """Return the name of the user who runs this process, or the user id if there is no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user may have no name
        return str(os.getuid())


_ASKED_S = 0.02
"""A process that asks whether a lock is held has it for microseconds; a new try after this time gets it."""

_NOTE_BYTES = 65536

NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)
"""What flock raises on a file system without locks: Lustre without -o flock, NFS without lockd."""


def lock_file(folder: Path, name: str) -> IO[str] | None:
    """Lock the file ``NAME.lock`` and return it; None if another process holds it. Closing it unlocks it.

    Raises:
        OSError: the file cannot be opened; links and read-only files are refused. Or the file system has no
            locks: ``errno`` is one of ``NO_LOCKS``.
    """
    try:
        # In a folder such as /tmp, Linux may refuse O_CREAT for a file of another user, even to root.
        file = _open(folder, name, "r+", os.O_RDWR)
    except FileNotFoundError:
        file = _open(folder, name, "r+", os.O_RDWR | os.O_CREAT)
    for wait_s in (_ASKED_S, 0):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(wait_s)
        except OSError as error:
            file.close()
            why = "this file system has no locks" if error.errno in NO_LOCKS else error.strerror
            raise OSError(error.errno, why, file.name) from None
        else:
            return file
    file.close()
    return None


def _open(folder: Path, name: str, mode: str, flags: int) -> IO[str]:
    """Open a lock file that may be another user's: a link is refused, and a pipe does not block.

    Raises:
        OSError: it cannot be opened.
    """
    flags |= os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    return open(
        folder / f"{name}.lock", mode, encoding="utf-8", opener=lambda path, _: os.open(path, flags, 0o644)
    )


def is_held(folder: Path, name: str) -> bool:
    """Return whether a process holds the lock, without write permission."""
    try:
        with _open(folder, name, "r", os.O_RDONLY) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def holder(folder: Path, name: str) -> str:
    """Return who holds a lock, from the note in it."""
    try:
        with _open(folder, name, "r", os.O_RDONLY) as file:
            note = json.loads(file.read(_NOTE_BYTES))
        return f"pid {note['pid']} of user {note['user']} since {note['since']}: {note['command']}"
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return "a run that is just starting"


def sign(file: IO[str], command: str) -> None:
    """Write the note of a lock: this process holds it from now on, for ``command``.

    Raises:
        OSError: the disk is full; ``filename`` is the lock file, which is closed.
    """
    note = {
        "pid": os.getpid(),
        "user": user(),
        "command": command,
        "since": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
    text = json.dumps(note).encode()
    # Not through the file object: it would keep what a full disk refused, and fail again when it is closed.
    try:
        os.ftruncate(file.fileno(), 0)
        written = 0
        while written < len(text):  # of a disk that is almost full, the first write takes what is left
            written += os.pwrite(file.fileno(), text[written:], written)
    except OSError as error:
        file.close()
        raise OSError(error.errno, error.strerror, file.name) from None
