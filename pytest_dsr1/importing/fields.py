"""The values of a mapping by their types: what does not fit is a mistake, and all mistakes are kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import UnionType
from typing import Any, TypeVar, cast

import yaml

from pytest_dsr1.scenario.problems import Mark, Problem
from pytest_dsr1.scenario.yaml.tree import Node

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Fields:
    """A mapping of a file.

    A method for a key returns its value, and the default if there is no key or its value is wrong.

    Attributes:
        node: the mapping.
        key: its dotted key, for messages.
        problems: where mistakes go.
    """

    node: Node
    key: str
    problems: list[Problem]

    @property
    def names(self) -> tuple[str, ...]:
        """The keys."""
        return tuple(self.node.keys)

    def __contains__(self, key: str) -> bool:
        return key in self.node.keys

    def mark_of(self, key: str) -> Mark:
        """Return the position of a key, or of the mapping."""
        return self.node.keys.get(key, self.node.mark)

    def mistake(self, key: str, message: str) -> None:
        """Add a mistake at a key."""
        child = self.node.child(key)
        self.problems.append(Problem(child.mark if child else self.node.mark, self._dotted(key), message))

    def whole(self, key: str, default: int | None = None, *, least: int = 1) -> int | None:
        """Return a whole number of at least ``least``."""
        words = f"a whole number of at least {least}"
        return self._value(key, default, words, lambda value: _is(value, int) and value >= least)

    def whole_or_null(self, key: str, default: int | None = None) -> int | None:
        """Return a whole number of at least 1; null is as if there were no key."""
        child = self.node.child(key)
        return default if child is not None and child.value is None else self.whole(key, default)

    def needed(self, key: str) -> int | None:
        """Return a whole number above 0 that must be there."""
        if key not in self:
            self.mistake(key, "missing; expected a whole number of at least 1")
        return self.whole(key)

    def number(self, key: str, default: float) -> float:
        """Return a number of at least 0."""
        words = "a number of at least 0"
        return self._value(key, default, words, lambda value: _is(value, int | float) and value >= 0)

    def flag(self, key: str, *, default: bool = False) -> bool:
        """Return true or false."""
        return self._value(key, default, "true or false", lambda value: isinstance(value, bool))

    def text(self, key: str, default: str = "") -> str:
        """Return a text."""
        return self._value(key, default, "a text", lambda value: isinstance(value, str))

    def _value(self, key: str, default: T, words: str, fits: Callable[[Any], bool]) -> T:
        """Return the value of a key if it fits its description in words."""
        child = self.node.child(key)
        if child is None:
            return default
        if fits(child.value):
            return cast("T", child.value)
        self.mistake(key, f"expected {words}, found {child.in_words()}")
        return default

    def fields(self, key: str) -> Fields:
        """Return a mapping; an empty one if there is none, or null."""
        child = self.node.child(key)
        if child is not None and isinstance(child.value, dict):
            return Fields(child, self._dotted(key), self.problems)
        if child is not None and child.value is not None:
            self.mistake(key, f"expected a mapping, found {child.in_words()}")
        return Fields(Node({}, self.node.mark), self._dotted(key), self.problems)

    def items(self, key: str) -> Iterator[Fields]:
        """Yield the mappings of a list that must be there and have at least one."""
        child = self.node.child(key)
        if child is None or not isinstance(child.value, list) or not child.value:
            found = "nothing" if child is None else child.in_words()
            self.mistake(key, f"expected a list of mappings, found {found}")
            return
        for index, item in enumerate(child.value):
            dotted = f"{self._dotted(key)}.{index}"
            if isinstance(item.value, dict):
                yield Fields(item, dotted, self.problems)
            else:
                self.problems.append(
                    Problem(item.mark, dotted, f"expected a mapping, found {item.in_words()}")
                )

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of texts; an empty one if there is none."""
        child = self.node.child(key)
        if child is None:
            return ()
        items = child.value if isinstance(child.value, list) else []
        if items and all(isinstance(item.value, str) for item in items):
            return tuple(str(item.value) for item in items)
        self.mistake(key, f"expected a list of texts, found {child.in_words()}")
        return ()

    def refuse_other_words(self) -> None:
        """Add a mistake for each plain word that TensorRT-LLM's YAML reader takes for another value.

        It is PyYAML, with YAML 1.1: ``yes`` is true, ``010`` is 8, ``1_000`` is 1000.
        """
        for path, _, node in self.node.walk():
            if node.quoted or isinstance(node.value, dict | list):
                continue
            theirs = _as_in_yaml_1_1(node.text)
            if type(theirs) is not type(node.value) or theirs != node.value:
                dotted = ".".join(filter(None, (self.key, *map(str, path))))
                message = f"TensorRT-LLM reads {node.text} as {theirs!r}, pytest-dsr1 as {node.value!r}"
                self.problems.append(Problem(node.mark, dotted, f"{message}: write it in another form"))

    def _dotted(self, key: str) -> str:
        return f"{self.key}.{key}" if self.key else key


def _as_in_yaml_1_1(text: str) -> object:
    """Return the value that PyYAML gives a plain scalar."""
    try:
        return yaml.safe_load(text) if text else None
    except (yaml.YAMLError, ValueError):
        return text


def _is(value: object, kind: type | UnionType) -> bool:
    """Return whether a value is a number of this kind; true and false are none."""
    return isinstance(value, kind) and not isinstance(value, bool)
