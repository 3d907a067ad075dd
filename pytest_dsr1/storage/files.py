"""Files that survive a kill and a power loss, whole as they were or as they are meant to be, and folders."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile


def write_atomically(path: Path, text: str) -> None:
    """Replace the file at once and for good.

    A reader sees the old text or the new, never a part of it, and the new one is on the disk when this
    returns. A kill may leave a temporary ``.NAME.PID`` beside the file, which nothing reads.

    Raises:
        OSError: it cannot be written; the file is as it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    sync_folder(path.parent)


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
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
