"""A disk that is full for chosen files: what is written to them fails as the kernel lets it fail."""

from __future__ import annotations

import builtins
import errno
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest


class Disk:
    """The names of files written below a folder; there is no space for those that end with ``full``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.full: str | None = None
        self.written: set[str] = set()
        self.refused = 0

    def refuses(self, path: object) -> bool:
        """Note a file that is about to be written; return whether there is no space for it."""
        if isinstance(path, int) or self.folder not in (place := Path(os.fsdecode(path)).absolute()).parents:  # type: ignore[arg-type]
            return False
        if place.parent.name == "__pycache__":  # compiled code, which Python and pytest may leave unwritten
            return False
        # `.NAME.PID-DIGITS.part` becomes NAME.
        name = place.name.removeprefix(".").rsplit(".", 2)[0] if place.name.endswith(".part") else place.name
        self.written.add(name)
        if self.full is None or not name.endswith(self.full):
            return False
        self.refused += 1
        return True


@contextmanager
def disk(folder: Path) -> Iterator[Disk]:
    """Watch what this process writes below a folder while the block runs."""
    watched, real, real_os = Disk(folder), io.open, os.open

    def opened(file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        if set(mode) & set("wax+") and "opener" not in options and watched.refuses(file):
            file = "/dev/full"
        return real(file, mode, *arguments, **options)

    def opened_by_os(path: Any, flags: int, *arguments: Any, **options: Any) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR) and watched.refuses(path):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), os.fspath(path))
        return real_os(path, flags, *arguments, **options)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(io, "open", opened)
        patched.setattr(builtins, "open", opened)
        patched.setattr(os, "open", opened_by_os)
        yield watched
