"""Where saved results are: what the name of a result, a profile or a folder means."""

from __future__ import annotations

import os
from collections.abc import Iterator
from fnmatch import fnmatchcase
from glob import glob
from pathlib import Path

from pytest_dsr1.errors import UserError
from pytest_dsr1.measurement.bundle import is_bundle, unpacked
from pytest_dsr1.measurement.store import newest
from pytest_dsr1.storage.files import entries
from pytest_dsr1.text import by_numbers, shown_path

_DEPTH = 3
"""A folder of results has jobs of Slurm, profiles, runs."""


def find(name: str, results: Path, base: Path = Path()) -> list[Path]:
    """Return the folders of the saved results that a person names.

    Args:
        name: a result's folder or bundle, a profile for its newest result, or a glob of folders of either.
        results: the folder of the profiles' results.
        base: the folder that a relative path starts from.

    Raises:
        UserError: there is no such result, or a newer one of the profile cannot be read.
    """
    named = base / name
    if is_bundle(named):
        return [unpacked(named)]
    if _is_result(named):
        return [named]
    profiles = [each for each in _folders(results) if fnmatchcase(each.name, name)]
    latest = [run for profile in profiles if (run := newest(profile)) is not None]
    matching = glob(str(named))  # noqa: PTH207 - the name may be absolute
    found = [*latest, *(Path(each) for each in sorted(matching, key=by_numbers) if _is_result(Path(each)))]
    if found:
        return found
    if profiles:
        points = f"{profiles[0].name}."
        is_sweep = any(each.name.startswith(points) for each in _folders(results))
        hint = f"; give the points of this sweep: '{points}*'" if is_sweep else ""
        raise UserError(f"{profiles[0]}: contains no complete result{hint}")
    if named.exists():
        return [named]  # loading reports what is missing in it
    raise UserError(f"{name}: is neither a folder nor a profile with results in {shown_path(results)}")


def find_all(name: str, results: Path) -> list[Path]:
    """Return the folders of every saved result, complete or not, that a person names.

    Args:
        name: a result's folder or bundle; a profile, its folder or a folder of results for all results in it;
            a glob of folders.
        results: the folder of the profiles' results.

    Raises:
        UserError: the name means no folder with results.
        OSError: a folder cannot be listed.
    """
    named = Path(name)
    if is_bundle(named):
        return [unpacked(named)]
    if named.is_dir():
        folders = [named]
    else:
        profiles = [each for each in _folders(results) if fnmatchcase(each.name, name)]
        globbed = sorted(glob(name), key=by_numbers)  # noqa: PTH207 - the name may be absolute
        folders = profiles or [Path(each) for each in globbed if Path(each).is_dir()]
    if not folders:
        raise UserError(f"{name}: is neither a folder nor a profile with results in {shown_path(results)}")
    found = [run for folder in folders for run in _below(folder, _DEPTH)]
    if not found:
        raise UserError(
            f"{name}: contains no result; a run of pytest --dsr1-profile=NAME saves one in "
            "DIR/<profile>/<UTC time>, and --dsr1-results=DIR names the folder"
        )
    return found


def _below(folder: Path, depth: int) -> Iterator[Path]:
    """Yield the results in a folder, which may be one itself."""
    if _is_result(folder):
        yield folder
    elif depth:
        for entry in entries(folder):
            if entry.is_dir():
                yield from _below(Path(entry.path), depth - 1)


def _is_result(folder: Path) -> bool:
    return os.path.lexists(folder / "measurement.json")


def _folders(results: Path) -> list[Path]:
    folders = (each for each in results.glob("*") if each.is_dir())
    return sorted(folders, key=lambda folder: by_numbers(folder.name))
