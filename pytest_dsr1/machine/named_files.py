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
from pytest_dsr1.storage.files import open_regular

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
_PART = re.compile(r"""[^\s"'`\\=,:;|&<>(){}\[\]]+""")
"""What can be a path in a word of a shell's script, of JSON or YAML, in a list or after a name."""
_MOVES = re.compile(r"(?<![\w./-])(?:cd\s|pushd\s|(?:os\.)?chdir\()")
_PLAIN_PATH = re.compile(r"[\w./@%+-]+")
"""A path that means the same in a shell, in JSON and in a list."""


@dataclass(frozen=True, slots=True)
class _Named:
    """A file or folder that a word names, as a whole or in a part.

    Attributes:
        index: the word's position.
        start: where the path begins in the word.
        text: the path as it is written.
        path: the path, from the folder in which pytest was started.
        movable: whether an absolute path in its place certainly means the same file; None for the name of a
            folder without a separator, which may be a word of another meaning.
    """

    index: int
    start: int
    text: str
    path: Path
    movable: bool | None


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
    """Return the words with an absolute path instead of each relative one that exists in ``folder``.

    A name alone, such as ``pytorch``, is not a path if a folder has it: it may be the value of an option.
    """
    found = list(words)
    for named in reversed(list(_named(words, folder))):  # from the end, so that positions stay
        if named.movable:
            word, end = found[named.index], named.start + len(named.text)
            found[named.index] = f"{word[: named.start]}{folder / named.text}{word[end:]}"
    return found


def left_relative(words: Sequence[str], variables: Iterable[tuple[str, str]], folder: Path) -> list[str]:
    """Return the relative paths that the engine takes for paths in its own folder, each with its place.

    They exist in ``folder``, which is probably meant: a path in a shell's script after ``cd``, in a file of
    options, or in the value of a variable.
    """
    left = []
    for named in _named(words, folder):
        if named.movable is False:
            left.append(f"{named.text} in word {named.index + 1} of the command")
        for key, value in _texts_of(named.path):
            left += [f"{text} in {named.text} ({key})" for _, text, _ in _whole_or_parts(value, folder)]
    for name, value in variables:
        left += [f"{text} in the variable {name}" for _, text, _ in _whole_or_parts(value, folder)]
    return list(dict.fromkeys(left))


def _named(words: Sequence[str], folder: Path) -> Iterator[_Named]:
    """Yield what the words name and what exists.

    A bare name, such as ``serve``, counts only after an option or if it is a file with a suffix. After ``-m``
    it is a module of Python.
    """
    previous = ""
    for index, word in enumerate(words):
        option, equals, value = word.partition("=")
        before, text = (f"{option}=", value) if equals and _OPTION.fullmatch(option) else ("", word)
        if text.startswith("@"):
            before, text = f"{before}@", text[1:]
        after_option = _OPTION.fullmatch(previous) is not None and previous != "-m"
        previous = word
        mode = None if text.startswith("-") and not before else _mode(text, folder)
        if mode is None:
            yield from _in_parts(index, word, folder)
        elif before or after_option or _is_path(text, mode):
            alone = stat.S_ISDIR(mode) and not _is_path(text, mode)
            yield _Named(index, len(before), text, folder / text, None if alone else True)


def _in_parts(index: int, word: str, folder: Path) -> Iterator[_Named]:
    """Yield the paths in parts of a word: of a shell's script, of JSON, after a name, in a list."""
    moved = _MOVES.search(word)
    for start, text, path in _parts(word, folder):
        # The argument of the first `cd` is still relative to the folder where the engine starts.
        elsewhere = (
            moved is not None and start >= moved.end() and word[moved.end() : start].strip(" \"'") != ""
        )
        safe = not elsewhere and _PLAIN_PATH.fullmatch(str(path)) is not None
        yield _Named(index, start, text, path, safe)


def _parts(text: str, folder: Path) -> Iterator[tuple[int, str, Path]]:
    """Yield the relative paths in a text that exist in the folder: position, path as written, path."""
    for found in _PART.finditer(text):
        start, part = found.start(), found[0]
        attached = re.match(r"@|-[A-Za-z](?=[\w.])", part)  # as in -copts.yml
        if attached:
            start, part = start + attached.end(), part[attached.end() :]
        around = text[: found.start()][-1:], text[found.end() :][:1]
        if part.startswith(("-", "/", "~")) or around[0] in {"}", ")"} or around[1] in {"{", "("}:
            continue  # an option, absolute, or the rest of what a shell expands
        mode = _mode(part, folder) if "/" in part or "." in part.strip(".") else None
        if mode is not None and _is_path(part, mode):
            yield start, part, folder / part


def _whole_or_parts(text: str, folder: Path) -> Iterator[tuple[int, str, Path]]:
    mode = None if text.startswith(("/", "~")) else _mode(text, folder)
    if mode is None:
        yield from _parts(text, folder)
    elif _is_path(text, mode):
        yield 0, text, folder / text


def _mode(text: str, folder: Path) -> int | None:
    """Return the mode of a file; None if there is none, or the text cannot be a path."""
    try:
        return (folder / text).stat().st_mode if text else None
    except (OSError, ValueError):
        return None


def _is_path(text: str, mode: int) -> bool:
    """Return whether a text is a path by its form: a separator, or the suffix of a regular file."""
    return "/" in text or text in {".", ".."} or (stat.S_ISREG(mode) and Path(text).suffix != "")


def _texts_of(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the texts in a YAML or JSON file, each with its dotted key; nothing of another file."""
    if path.suffix.lower() not in _READ:
        return
    for key, value in _facts_of("", path).items():
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str):
                yield key.removeprefix("."), text


def _facts_of(key: str, path: Path) -> dict[str, FactValue]:
    try:
        found = path.stat()
        if stat.S_ISDIR(found.st_mode):
            return {key: _folder(path)}
        if not stat.S_ISREG(found.st_mode):
            return {key: "not a regular file"}
        if found.st_size > HASHED_BYTES or path.suffix.lower() in _WEIGHTS:
            return {key: _known_by(path, found.st_size, found.st_mtime)}
        with open_regular(path) as file:
            content = file.read()
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

    from pytest_dsr1.storage.yaml_loaders import load

    try:
        data = json.loads(content) if suffix == ".json" else load(content.decode("utf-8-sig"))
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
