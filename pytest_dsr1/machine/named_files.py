"""Files that the words of an engine's command name: their content is a fact, like the words themselves.

A relative path means the folder in which pytest was started, for us and for the engine.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import islice
from pathlib import Path
from typing import Any

from pytest_dsr1.machine.values import FactValue
from pytest_dsr1.masking import masked_tree

READ_BYTES = 256 * 1024
"""A YAML or JSON file below this size is read, so comments and the order of its keys do not count."""
HASHED_BYTES = 64 * 1024**2
"""A larger file is known by its path, size and time: reading weights would take minutes."""
MOST_VALUES = 500
"""A file with more values has one fact, its checksum: a person cannot read that many."""
MOST_ENTRIES = 10_000
"""Entries of a folder that are looked at for its size and time."""

_READ = {".yaml", ".yml", ".json"}
_WEIGHTS = {".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".gguf", ".onnx", ".engine", ".npz"}
_OPTION = re.compile(r"--?[A-Za-z][\w.-]*")


@dataclass(frozen=True, slots=True)
class _Named:
    """A word that names a file or a folder: its position, the text before the path, and the path."""

    index: int
    before: str
    text: str
    path: Path


def file_facts(words: Sequence[str], folder: Path) -> dict[str, FactValue]:
    """Return facts about the files and folders that the words of a command name.

    A value of a YAML or JSON file has its own fact, ``file.<path>.<key>``, without secrets. Other files have
    one fact with size and checksum; folders, weights and large files one with path, size and time.

    Args:
        words: of the command.
        folder: what relative paths are relative to.
    """
    facts: dict[str, FactValue] = {}
    for named in _named(words, folder):
        facts |= _facts_of(f"file.{named.text}", named.path)
    return dict(sorted(facts.items()))


def rewritten(before: Mapping[str, FactValue], after: Mapping[str, FactValue]) -> list[str]:
    """Return the facts about files that differ after a run: the run wrote them, as it writes a log."""
    return [key for key, value in before.items() if key.startswith("file.") and after.get(key) != value]


def absolute_words(words: Sequence[str], folder: Path) -> list[str]:
    """Return the words with an absolute path instead of each relative one that exists in ``folder``."""
    found = {named.index: f"{named.before}{folder / named.text}" for named in _named(words, folder)}
    return [found.get(index, word) for index, word in enumerate(words)]


def _named(words: Sequence[str], folder: Path) -> Iterator[_Named]:
    """Yield the words that name something which exists.

    A bare name, such as ``serve``, counts only after an option or if it is a file with a suffix.
    """
    previous = ""
    for index, word in enumerate(words):
        option, equals, value = word.partition("=")
        before, text = (f"{option}=", value) if equals and _OPTION.fullmatch(option) else ("", word)
        if text.startswith("@"):
            before, text = f"{before}@", text[1:]
        plain = before or "/" in text or _OPTION.fullmatch(previous)
        previous = word
        if not text or (text.startswith("-") and not before):
            continue
        path = folder / text
        try:
            mode = path.stat().st_mode
        except (OSError, ValueError):  # there is none, or the word cannot be a path
            continue
        if plain or (stat.S_ISREG(mode) and path.suffix):
            yield _Named(index, before, text, path)


def _facts_of(key: str, path: Path) -> dict[str, FactValue]:
    try:
        found = path.stat()
        if stat.S_ISDIR(found.st_mode):
            return {key: _folder(path)}
        if not stat.S_ISREG(found.st_mode):
            return {key: "not a regular file"}
        if found.st_size > HASHED_BYTES or path.suffix.lower() in _WEIGHTS:
            return {key: _known_by(path, found.st_size, found.st_mtime)}
        content = path.read_bytes()
    except OSError as error:
        return {key: f"cannot be read: {error.strerror}"}
    if len(content) < READ_BYTES and path.suffix.lower() in _READ:
        values = _values(content, path.suffix.lower())
        if values is not None:
            return {f"{key}.{name}" if name else key: value for name, value in values.items()}
    return {key: f"{len(content):,} bytes, sha256 {hashlib.sha256(content).hexdigest()}"}


def _folder(path: Path) -> str:
    """Return path, size and time of a folder: those of the files in it."""
    size, newest_s = 0, path.stat().st_mtime
    for entry in islice(path.rglob("*"), MOST_ENTRIES):
        with suppress(OSError):  # it is gone already, as a lock may be
            found = entry.lstat()
            size += found.st_size if stat.S_ISREG(found.st_mode) else 0
            newest_s = max(newest_s, found.st_mtime)
    return _known_by(path, size, newest_s)


def _known_by(path: Path, size: int, time_s: float) -> str:
    at = datetime.fromtimestamp(time_s, timezone.utc)
    return f"{path.absolute()}, {size:,} bytes, changed {at:%Y-%m-%d %H:%M:%S} UTC"


def _values(content: bytes, suffix: str) -> dict[str, FactValue] | None:
    """Return every value of a YAML or JSON file by its dotted key; None if it cannot be read as such."""
    import yaml

    try:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # 30 times as fast, if it was built
        data = json.loads(content) if suffix == ".json" else yaml.load(content, loader)  # noqa: S506 - safe
        leaves = list(islice(_leaves("", data), MOST_VALUES + 1))
    except (ValueError, yaml.YAMLError, RecursionError):
        return None
    # Only now: masking would first build a tree that is larger than its file, as aliases make it.
    return dict(_leaves("", masked_tree(data))) if len(leaves) <= MOST_VALUES else None


def _leaves(key: str, value: Any) -> Iterable[tuple[str, FactValue]]:
    if isinstance(value, dict) and value:
        for name, inner in sorted(value.items(), key=lambda item: str(item[0])):
            yield from _leaves(f"{key}.{name}" if key else str(name), inner)
    elif isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        for index, inner in enumerate(value):
            yield from _leaves(f"{key}.{index}" if key else str(index), inner)
    elif isinstance(value, list):
        yield key, [str(_plain(item)) for item in value]
    else:
        yield key, _plain(value)


def _plain(value: Any) -> str | int | float | bool:
    """Return a value that is equal to itself and can be saved; null and an empty mapping are text."""
    if isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if value is None or isinstance(value, dict):
        return "null" if value is None else "{}"
    return str(value)
