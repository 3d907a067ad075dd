"""Profiles: all scenarios by name. Only the ``name:`` of each file is read."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from pytest_dsr1.errors import UserError
from pytest_dsr1.scenario import SUFFIXES
from pytest_dsr1.text import did_you_mean, shown_path

_HEAD_BYTES = 65_536
_NAME = re.compile(rb"^name:[ \t]*([\"']?)([A-Za-z0-9][A-Za-z0-9._-]*)\1[ \t]*(?:#.*)?\r?$", re.MULTILINE)


def shipped_suites() -> Path:
    """Return the folder of the scenarios that ship: in the package if installed, else next to it."""
    package = Path(__file__).parents[1]
    installed = package / "suites"
    return installed if installed.is_dir() else package.parent / "suites"


@dataclass(frozen=True, slots=True)
class Profile:
    """A scenario's name and file. The file may turn out to be broken when it is loaded."""

    name: str
    path: Path


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The user's own profiles and those that ship; an own one hides a shipped one with the same name."""

    own: tuple[Profile, ...]
    shipped: tuple[Profile, ...]

    @property
    def profiles(self) -> tuple[Profile, ...]:
        """Every profile that can be chosen."""
        hidden = {profile.name for profile in self.own}
        return (*self.own, *(profile for profile in self.shipped if profile.name not in hidden))

    @property
    def names(self) -> tuple[str, ...]:
        """Every name that can be chosen."""
        return tuple(profile.name for profile in self.profiles)

    def find(self, name: str, *, other_than: Path | None = None) -> Path | None:
        """Return the file of a name; ``other_than`` lets an own profile extend the shipped one it hides."""
        for profile in (*self.own, *self.shipped):
            if profile.name == name and (other_than is None or not profile.path.samefile(other_than)):
                return profile.path
        return None

    def select(self, expression: str) -> list[Path]:
        """Return the files of comma-separated names and globs, each once, in the given order.

        Raises:
            UserError: a name or glob matches nothing; the message suggests the nearest names.
        """
        chosen: dict[Path, None] = {}
        unknown = []
        for pattern in filter(None, (part.strip() for part in expression.split(","))):
            found = [profile.path for profile in self.profiles if fnmatchcase(profile.name, pattern)]
            found = found or [profile.path for profile in self._sweeps(pattern)]
            chosen.update(dict.fromkeys(found))
            if not found:
                unknown.append(self.unknown(pattern))
        if unknown or not chosen:
            unknown = unknown or ["--dsr1-profile names no scenario"]
            raise UserError("\n".join([*unknown, "`pytest --dsr1-list` lists the scenarios."]))
        return list(chosen)

    def points(self, expression: str) -> dict[Path, list[str]]:
        """Return by file the names and globs that can only mean points of a sweep, such as ``NAME.tp-8``."""
        found: dict[Path, list[str]] = {}
        for pattern in filter(None, (part.strip() for part in expression.split(","))):
            if not any(fnmatchcase(profile.name, pattern) for profile in self.profiles):
                for profile in self._sweeps(pattern):
                    found.setdefault(profile.path, []).append(pattern)
        return found

    def _sweeps(self, pattern: str) -> list[Profile]:
        """Return the profile of whose points this is a name or a glob; the one with the longest name."""
        fits = [profile for profile in self.profiles if pattern.startswith(f"{profile.name}.")]
        return sorted(fits, key=lambda profile: len(profile.name))[-1:]

    def unknown(self, name: str) -> str:
        """Return the message that there is no such scenario, with the nearest names."""
        what = "no scenario matches" if any(char in name for char in "*?[") else "no scenario is named"
        return f"{what} '{name}'{did_you_mean(name, self.names, most=3)}"


def named(names: Sequence[str], patterns: Sequence[str]) -> set[str]:
    """Return the names that are chosen by names or globs.

    Raises:
        UserError: a pattern matches nothing; the message suggests the nearest names.
    """
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            meant = did_you_mean(pattern, names, most=3)
            raise UserError(
                f"no scenario is named '{pattern}'{meant}\n`pytest --dsr1-list` lists the scenarios."
            )
    return {name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)}


def discover(folders: Sequence[Path]) -> Catalogue:
    """Return the profiles in these folders and below, and those that ship.

    Raises:
        UserError: a folder is missing or is a file, or two scenarios in these folders have the same name.
    """
    return Catalogue(_named(folders), _named([shipped_suites()]))


def _named(folders: Sequence[Path]) -> tuple[Profile, ...]:
    profiles: dict[str, Profile] = {}
    for folder in folders:
        if not folder.is_dir():
            is_file = "is a file; expected a folder (run a single scenario with: pytest FILE)"
            reason = is_file if folder.exists() else "there is no such folder"
            raise UserError(
                f"{shown_path(folder)}: {reason}; check --dsr1-suites and the ini option dsr1_suites"
            )
        for path in _files(folder):
            name = _declared_name(path) or "-".join(path.relative_to(folder).with_suffix("").parts)
            known = profiles.setdefault(name, Profile(name, path))
            if not known.path.samefile(path):
                both = f"{shown_path(known.path)} and {shown_path(path)}"
                raise UserError(f"two scenarios are named '{name}': {both}; change the `name:` of one")
    return tuple(profiles.values())


def _files(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = Path(parent, name)
            if path.suffix in SUFFIXES and not name.startswith(".") and path.is_file():
                yield path


def _declared_name(path: Path) -> str | None:
    """Return the value of the file's ``name:`` without parsing YAML; None if there is none."""
    try:
        with path.open("rb") as file:
            match = _NAME.search(file.read(_HEAD_BYTES))
    except OSError:
        return None
    return match[2].decode() if match else None
