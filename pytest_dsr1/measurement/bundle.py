"""A bundle: the folder of one result as one file, to send it to another person.

It is a tar.gz with the files of ``<profile>/<UTC time>/``. The same result gives the same bytes.
"""

from __future__ import annotations

import atexit
import gzip
import os
import re
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from functools import cache
from io import BytesIO
from pathlib import Path, PurePosixPath

from pytest_dsr1.errors import UserError
from pytest_dsr1.storage.files import PRIVATE, replacing

SUFFIX = ".tar.gz"
_MOST_FILES, _MOST_BYTES = 10_000, 8 * 2**30
"""The most of a bundle that is unpacked: it may come from a stranger."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*/[A-Za-z0-9-]+(?:/(?!\.\.?(?:/|$))[^/\0]+)+")
"""A file's name: profile, time, and a path below them that does not leave them."""


def pack(files: dict[str, Path], folder: str, at_s: float, target: Path) -> None:
    """Write a bundle; only its owner may read it.

    Args:
        files: by their names in the result's folder.
        folder: ``<profile>/<UTC time>``.
        at_s: the time of all files, in seconds since 1970.
        target: the file to write; replaced as a whole.

    Raises:
        OSError: a file cannot be read, or the bundle cannot be written.
    """
    with replacing(target) as part:
        part.touch(PRIVATE)
        with (
            part.open("wb") as raw,
            gzip.GzipFile("", "wb", mtime=0, fileobj=raw) as packed,
            tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
        ):
            for name in sorted(files):
                content = files[name].read_bytes()
                member = tarfile.TarInfo(f"{folder}/{name}")
                member.size, member.mtime, member.mode = len(content), int(at_s), 0o644
                tar.addfile(member, BytesIO(content))


def files_of(folder: Path) -> dict[str, Path]:
    """Return the regular files in a result's folder, by their names in it; links are left out."""
    found = {}
    for at, _, names in os.walk(folder):
        for name in names:
            path = Path(at) / name
            if path.is_file() and not path.is_symlink():
                found[path.relative_to(folder).as_posix()] = path
    return found


def is_bundle(path: Path) -> bool:
    """Return whether this is a file with the name of a bundle."""
    return path.name.endswith(SUFFIX) and path.is_file()


def unpacked(path: Path) -> Path:
    """Return the folder of the result in a bundle; it is deleted when the process ends.

    Raises:
        UserError: the file cannot be read, or is not a bundle.
    """
    return _unpacked(path.absolute())


@cache
def _unpacked(path: Path) -> Path:
    root = Path(tempfile.mkdtemp(prefix="dsr1-bundle-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    try:
        with tarfile.open(path, "r:gz") as tar:
            for member, name in _checked(tar, path):
                file = tar.extractfile(member)
                assert file is not None
                target = root / name
                target.parent.mkdir(parents=True, exist_ok=True)
                with file, target.open("wb") as copy:
                    shutil.copyfileobj(file, copy)
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path}: is cut off or not a bundle ({error}); copy it again") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be unpacked: {error.strerror}") from None
    found = list(root.glob("*/*/measurement.json"))
    if len(found) != 1:
        raise _not_a_bundle(path, f"it has {len(found)} results, expected 1")
    return found[0].parent


def _checked(tar: tarfile.TarFile, path: Path) -> Iterator[tuple[tarfile.TarInfo, PurePosixPath]]:
    """Yield what is unpacked: files that stay in the folder, and not too much.

    Raises:
        UserError: something else is in the bundle.
    """
    files = size = 0
    for member in tar:
        if not member.isreg() or not _NAME.fullmatch(member.name):
            raise _not_a_bundle(path, f"it has {member.name!r}, expected files in <profile>/<UTC time>/")
        files, size = files + 1, size + member.size
        if files > _MOST_FILES or size > _MOST_BYTES:
            raise _not_a_bundle(path, f"it has more than {_MOST_FILES:,} files or {_MOST_BYTES:,} bytes")
        yield member, PurePosixPath(member.name)


def _not_a_bundle(path: Path, why: str) -> UserError:
    return UserError(f"{path}: is not a bundle of `pytest-dsr1 bundle`: {why}")
