"""The YAML reader: it makes a tree in which every value has its position, and refuses harmful input.

The values are those of YAML 1.2's core schema, which editors use too: only ``true`` and ``false`` are
booleans, ``1e5`` is a number, and ``on``, ``12:30`` or ``2025-04-01`` are text.
"""

from __future__ import annotations

import math
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from yaml.events import (
    AliasEvent,
    CollectionStartEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

from pytest_dsr1.scenario.problems import Mark, MistakeError, Problem
from pytest_dsr1.scenario.yaml.tree import Node
from pytest_dsr1.storage.yaml_loaders import loader_for
from pytest_dsr1.text import shown_path

MAX_BYTES = 1_000_000
"""A scenario is a few kilobytes; a larger file is not read."""
MAX_VALUES = 10_000
"""The most values after aliases are expanded."""
MAX_DEPTH = 32
"""The deepest nesting after aliases are expanded."""

_INTEGER = re.compile(r"[-+]?[0-9]{1,30}")
_NUMBER = re.compile(r"[-+]?(\.[0-9]{1,30}|[0-9]{1,30}(\.[0-9]{0,30})?)([eE][-+]?[0-9]{1,3})?")
_WORDS: Mapping[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}


def read(path: Path, *, wanted: str = "scenario") -> str:
    """Return the text of a scenario file, or of another YAML file that messages call ``wanted``.

    Raises:
        MistakeError: the file is missing, not regular, unreadable, larger than 1 MB, empty or not UTF-8.
    """
    name = shown_path(path)
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise _mistake(name, f"is a folder; expected a {wanted} file (choose one of the files in it)")
        if not stat.S_ISREG(status.st_mode):
            raise _mistake(name, f"is a device or pipe; expected a {wanted} file")
        if status.st_size > MAX_BYTES:
            size_mb = status.st_size / 1e6
            raise _mistake(name, f"is {size_mb:.1f} MB; expected a {wanted} file of at most 1 MB (not read)")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES)
    except FileNotFoundError:
        raise _mistake(name, "there is no such file") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise _mistake(name, f"cannot be read: {reason}") from None
    if not data.strip():
        raise _mistake(name, f"is empty; expected a {wanted}")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        good = data[: error.start]
        wide = " (it looks like UTF-16)" if data[:2] in {b"\xff\xfe", b"\xfe\xff"} else ""
        mark = Mark(name, good.count(b"\n") + 1, error.start - (good.rfind(b"\n") + 1) + 1)
        found = f"byte 0x{data[error.start]:02x}{wide}"
        raise MistakeError(
            Problem(mark, "", f"expected UTF-8 text, found {found}; save the file as UTF-8")
        ) from None


def parse(
    text: str,
    source: str,
    problems: list[Problem],
    *,
    wanted: str = "scenario",
    max_values: int = MAX_VALUES,
    merge_keys: bool = False,
) -> Node:
    """Return the tree of a YAML text; mistakes that leave the rest readable are added to ``problems``.

    Args:
        text: the YAML text.
        source: its name in messages.
        problems: where the mistakes go.
        wanted: the kind of file, for messages.
        max_values: the most values after aliases are expanded.
        merge_keys: whether ``<<`` merges a mapping, as in YAML 1.1; else it is a key like any other.

    Raises:
        MistakeError: the text is not YAML, contains several documents, or is too large once expanded.
    """

    def builder_with(loader: Any) -> _Builder:
        events = iter(yaml.parse(text, Loader=loader))
        return _Builder(events, source, problems, wanted, max_values, merge_keys=merge_keys)

    known = len(problems)
    try:
        return builder_with(loader_for(text)).document()
    except (yaml.YAMLError, ValueError, OverflowError):
        del problems[known:]
    builder = builder_with(yaml.SafeLoader)
    try:
        return builder.document()
    except yaml.MarkedYAMLError as error:
        raise MistakeError(Problem(builder.mark_of(error), "", _syntax(error, text))) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        mark = Mark(source, line, error.position - (text.rfind("\n", 0, error.position) + 1) + 1)
        raise MistakeError(
            Problem(mark, "", f"not valid YAML: the character {chr(error.character)!a} is not allowed")
        ) from None
    except (ValueError, OverflowError):  # an escape such as "\U00110000" in quotes
        message = "not valid YAML: an escape in quotes is not a valid character"
        raise MistakeError(Problem(Mark(source), "", message)) from None


class _Builder:
    """The builder of the tree. It takes the parser's events one by one, so deep and large texts are safe."""

    def __init__(
        self,
        events: Iterator[Event],
        source: str,
        problems: list[Problem],
        wanted: str,
        max_values: int,
        *,
        merge_keys: bool,
    ) -> None:
        self._events = events
        self._source = source
        self._problems = problems
        self._wanted = wanted
        self._max_values = max_values
        self._merge_keys = merge_keys
        self._anchors: dict[str, tuple[Node, int, int]] = {}
        self._values = 0

    def document(self) -> Node:
        """Return the top value of the only document."""
        next(self._events)  # the stream's start
        if isinstance(next(self._events), StreamEndEvent):
            raise _mistake(self._source, f"contains no value; expected a {self._wanted}")
        node = self._node(next(self._events), 0)[0]
        next(self._events)  # the document's end
        following = next(self._events)
        if isinstance(following, DocumentStartEvent):
            message = f"a second document begins here; expected one {self._wanted} per file"
            raise MistakeError(Problem(self._mark(following), "", message))
        return node

    def mark_of(self, error: yaml.MarkedYAMLError) -> Mark:
        """Return the position of a syntax error."""
        mark = error.problem_mark or error.context_mark
        return Mark(self._source, mark.line + 1, mark.column + 1) if mark else Mark(self._source)

    def _mark(self, event: Event) -> Mark:
        start = event.start_mark
        assert start is not None
        return Mark(self._source, start.line + 1, start.column + 1)

    def _node(self, event: Event, depth: int) -> tuple[Node, int]:
        """Return a value and its height (0 for a scalar)."""
        mark = self._mark(event)
        self._count(1, depth, mark)
        if isinstance(event, AliasEvent):
            return self._alias(event, depth, mark)
        before = self._values
        assert isinstance(event, ScalarEvent | CollectionStartEvent)
        if event.tag is not None:
            tag = event.tag.replace("tag:yaml.org,2002:", "!!")
            message = f"the tag '{tag}' is not allowed; write the plain value (quotes make it text)"
            self._problems.append(Problem(mark, "", message))
        if isinstance(event, ScalarEvent):
            node, height = self._scalar(event, mark), 0
        else:
            sequence = isinstance(event, SequenceStartEvent)
            node, height = self._list(mark, depth) if sequence else self._mapping(mark, depth)
        if event.anchor is not None:
            self._anchors[event.anchor] = (node, self._values - before, height)
        return node, height

    def _count(self, values: int, depth: int, mark: Mark) -> None:
        self._values += values
        if self._values > self._max_values:
            message = (
                f"the file expands to more than {self._max_values} values (are its aliases an alias bomb?)"
            )
            raise MistakeError(Problem(mark, "", message))
        if depth > MAX_DEPTH:
            raise MistakeError(Problem(mark, "", f"values are nested more than {MAX_DEPTH} levels deep"))

    def _alias(self, event: AliasEvent, depth: int, mark: Mark) -> tuple[Node, int]:
        if event.anchor not in self._anchors:
            message = f"the alias '*{event.anchor}' has no anchor above it"
            raise MistakeError(Problem(mark, "", message))
        node, size, height = self._anchors[event.anchor]
        self._count(size, depth + height, mark)
        return node, height

    def _scalar(self, event: ScalarEvent, mark: Mark) -> Node:
        text = event.value
        if "\0" in text or any("\ud800" <= char <= "\udfff" for char in text):
            message = f"the text {text[:40]!a} contains a character that is not allowed in a path or option"
            self._problems.append(Problem(mark, "", message))
            text = text.encode("ascii", "replace").decode().replace("\0", "?")
        quoted = bool(event.style)  # of a plain scalar: None from Python's parser, "" from libyaml
        return Node(text if quoted else plain_scalar(text), mark, text=text, quoted=quoted)

    def _list(self, mark: Mark, depth: int) -> tuple[Node, int]:
        items = []
        height = 0
        while not isinstance(event := next(self._events), SequenceEndEvent):
            node, below = self._node(event, depth + 1)
            items.append(node)
            height = max(height, below + 1)
        return Node(items, mark), height

    def _mapping(self, mark: Mark, depth: int) -> tuple[Node, int]:
        values: dict[str, Node] = {}
        keys: dict[str, Mark] = {}
        merges = False
        height = 0
        while not isinstance(event := next(self._events), MappingEndEvent):
            key_mark = self._mark(event)
            key_node, _ = self._node(event, depth + 1)
            value, below = self._node(next(self._events), depth + 1)
            height = max(height, below + 1)
            key = key_node.text
            if isinstance(key_node.value, dict | list):
                self._problems.append(
                    Problem(key_mark, "", "expected text as a key, found a list or mapping")
                )
            elif key in values:
                message = f"the key {key!r} appears a second time; it is already on line {keys[key].line}"
                self._problems.append(Problem(key_mark, "", message))
            else:
                values[key], keys[key] = value, key_mark
                merges |= key == "<<" and self._merge_keys and not key_node.quoted
        if merges:
            values, keys = self._merged(values, keys)
        return Node(values, mark, keys), height

    def _merged(
        self, values: dict[str, Node], keys: dict[str, Mark]
    ) -> tuple[dict[str, Node], dict[str, Mark]]:
        """Return a mapping with that of its key ``<<`` below it.

        A list is refused: versions of PyYAML differ on which of its mappings wins (6.0.4 takes either).
        """
        base = values.pop("<<")
        del keys["<<"]
        if isinstance(base.value, dict):
            return base.value | values, {**base.keys, **keys}
        message = f"expected a mapping to merge, found {base.in_words()}"
        self._problems.append(Problem(base.mark, "<<", message))
        return values, keys


def plain_scalar(text: str) -> str | int | float | bool | None:
    """Return the value of an unquoted scalar in YAML 1.2's core schema."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    number = float(text) if _NUMBER.fullmatch(text) else math.inf
    return number if math.isfinite(number) else text


def _syntax(error: yaml.MarkedYAMLError, text: str) -> str:
    problem = " ".join(part for part in (error.context, error.problem) if part)
    line = text.splitlines()[error.problem_mark.line] if _has_line(error, text) else ""  # type: ignore[union-attr]
    if "'\\t'" in problem:
        problem += "; indent with spaces, not tabs"
    elif "<stream end>" in problem or "end of stream" in problem:
        problem += "; a bracket or quote is not closed"
    elif "${" in line:
        problem += "; put a value with ${...} in quotes"
    return f"not valid YAML: {problem}"


def _has_line(error: yaml.MarkedYAMLError, text: str) -> bool:
    return error.problem_mark is not None and error.problem_mark.line < len(text.splitlines())


def _mistake(source: str, message: str) -> MistakeError:
    return MistakeError(Problem(Mark(source), "", message))
