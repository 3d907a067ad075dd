"""Atomic writes, so that a kill or a power loss leaves the old file or the new one, and folders."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO

PRIVATE = 0o600
PART = ".part"
"""The suffix of a file that is still being written."""


def temporary_of(path: Path) -> Path:
    """Return a new name for the temporary file that will replace ``path``: ``.NAME.PID-DIGITS.part``."""
    # Processes in different containers may have the same id and share the folder.
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}{PART}")


def open_regular(path: Path) -> BinaryIO:
    """Open a file to read it. Anything else is refused: reading a pipe would wait for ever.

    Raises:
        OSError: there is no such file, or it is not a regular file.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        why = os.strerror(errno.EISDIR) if stat.S_ISDIR(mode) else "it is a device or pipe"
        raise OSError(errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL, why, str(path))
    return os.fdopen(descriptor, "rb")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield the path of a temporary file, which replaces ``path`` atomically when the block ends.

    A reader sees the old file or the new one, never a part of it, and the new one is on the disk after the
    block. If the block raises, the old file stays. A kill may leave the temporary file of
    :func:`temporary_of` in the folder; nothing reads it.

    Raises:
        OSError: the file cannot be written; the old one stays.
    """
    temporary = temporary_of(path)
    try:
        yield temporary
        _sync(temporary, os.O_RDONLY)
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    sync_folder(path.parent)


def write_atomically(path: Path, text: str, *, private: bool = False) -> None:
    """Replace the text of a file, as :func:`replacing` does.

    Args:
        path: the file.
        text: its new text.
        private: only its owner may read it.

    Raises:
        OSError: the file cannot be written; the old one stays.
    """
    with replacing(path) as temporary:
        if private:
            temporary.touch(PRIVATE)
        temporary.write_text(text, encoding="utf-8")


def entries(folder: Path) -> list[os.DirEntry[str]]:
    """Return the entries of a folder, sorted by name; nothing if the folder does not exist.

    ``Path.glob`` would return nothing for a folder that cannot be listed.

    Raises:
        OSError: the folder cannot be listed.
    """
    try:
        with os.scandir(folder) as found:
            return sorted(found, key=lambda entry: entry.name)
    except FileNotFoundError:
        return []


def try_to_write(folder: Path) -> None:
    """Check that files can be created in a folder, which may not exist yet. Leaves nothing behind.

    Raises:
        OSError: they cannot; ``filename`` is the path that prevents it.
    """
    existing = next(path for path in (folder, *folder.parents) if os.path.lexists(path))
    try:
        with TemporaryFile(dir=existing) as file:
            file.write(b"x")
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(existing)) from None


def sync_folder(folder: Path) -> None:
    """Sync the folder's entries, new and deleted, to the disk."""
    _sync(folder, os.O_RDONLY | os.O_DIRECTORY)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
