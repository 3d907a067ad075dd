"""Files that survive a kill and a power loss, whole as they were or as they are meant to be, and folders."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile

PART = ".part"
"""How the name of a file ends that is being written."""


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield the path of a file to write, which replaces ``path`` at once and for good when the block ends.

    A reader sees the old file or the new one, never a part of it, and the new one is on the disk after the
    block. If the block raises, the file is as it was. A kill may leave a temporary ``.NAME.PID-DIGITS.part``
    beside the file, which nothing reads.

    Raises:
        OSError: it cannot be written; the file is as it was.
    """
    # Containers that share a folder have processes of the same id.
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}{PART}")
    try:
        yield temporary
        _sync(temporary, os.O_RDONLY)
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    sync_folder(path.parent)


def write_atomically(path: Path, text: str) -> None:
    """Replace a file by this text, as :func:`replacing` does.

    Raises:
        OSError: it cannot be written; the file is as it was.
    """
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def entries(folder: Path) -> list[os.DirEntry[str]]:
    """What is in a folder, in order of names; nothing where there is no folder.

    ``Path.glob`` takes a folder that cannot be listed for an empty one.

    Raises:
        OSError: it cannot be listed.
    """
    try:
        with os.scandir(folder) as found:
            return sorted(found, key=lambda entry: entry.name)
    except FileNotFoundError:
        return []


def try_to_write(folder: Path) -> None:
    """Try whether files can be made in a folder, which need not be there yet. Nothing is left of it.

    Raises:
        OSError: they cannot; ``filename`` is what is in the way, or has no room.
    """
    there = next(place for place in (folder, *folder.parents) if os.path.lexists(place))
    try:
        with TemporaryFile(dir=there) as file:
            file.write(b"x")
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(there)) from None


def sync_folder(folder: Path) -> None:
    """Bring the folder's names, new ones and deleted ones, to the disk."""
    _sync(folder, os.O_RDONLY | os.O_DIRECTORY)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
