"""The check of a file's tree: the result is a :class:`Scenario`, or every mistake in the file.

A mistake can hide others: a misspelled ``type`` hides all mistakes in the engine's keys. So a copy of the
tree is corrected after each pass (a misspelled word becomes the nearest valid one, a missing or wrong value
gets a placeholder) and checked again. Values that depend on a guess are marked as doubtful and not judged
further.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from typing import Any, TypeVar, get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from pydantic_core.core_schema import ErrorType

from pytest_dsr1.masking import NOT_SHOWN, without_secrets
from pytest_dsr1.metrics.catalogue import METRICS
from pytest_dsr1.scenario.problems import Problem
from pytest_dsr1.scenario.schema import json_schema
from pytest_dsr1.scenario.schema.engine import engines
from pytest_dsr1.scenario.schema.json_schema import Schema
from pytest_dsr1.scenario.schema.scenario import Scenario
from pytest_dsr1.scenario.schema.site import Site
from pytest_dsr1.scenario.schema.validators import validating
from pytest_dsr1.scenario.yaml.tree import (
    Node,
    Path,
    join_key,
    node_of,
    renamed,
    split_key,
    with_value,
    without,
)
from pytest_dsr1.secret_names import names_secret
from pytest_dsr1.storage.documents import FIND_PLUGIN, UNKNOWN_METRIC
from pytest_dsr1.text import did_you_mean, nearest

_ROUNDS = 6
"""The most passes over a tree; each pass reaches at least one level of nesting deeper."""

_Made = TypeVar("_Made")
_BOOLEANS = {"on": "true", "yes": "true", "y": "true", "off": "false", "no": "false", "n": "false"}


@dataclass(frozen=True, slots=True)
class ParsedTree:
    """The result of checking a tree.

    Attributes:
        scenario: the scenario, with its mistakes corrected; None if no correction helped.
        tree: the tree after these corrections.
        problems: the mistakes.
        doubtful: the paths whose value is a guess.
    """

    scenario: Scenario | None
    tree: Node
    problems: tuple[Problem, ...]
    doubtful: frozenset[Path]

    @property
    def knows_engine(self) -> bool:
        """Whether the settings are those of the file's engine, and not of another one as a placeholder."""
        return ("engine",) not in self.doubtful

    def is_certain(self, key: str) -> bool:
        """Return whether the value of this dotted key, and everything in it, is as the file says."""
        path = split_key(key)
        return not any(path[: len(other)] == other[: len(path)] for other in self.doubtful)


def validate(tree: Node) -> ParsedTree:
    """Check the tree and find all mistakes that the schema can show."""

    def made(tree: Node) -> Scenario:
        kind = tree.find(("engine", "type"))
        with validating(kind.value if kind else None):
            return Scenario.model_validate(tree.plain())

    return ParsedTree(*_passes(_with_meaning_of_null(tree), made, json_schema.scenario_schema()))


def validate_site(tree: Node) -> tuple[Site | None, tuple[Problem, ...]]:
    """Return the site of a tree, with its mistakes corrected, and all mistakes."""
    root = json_schema.site_schema()
    site, _, problems, _ = _passes(tree, lambda tree: Site.model_validate(tree.plain()), root)
    return site, problems


def _passes(
    tree: Node, made: Callable[[Node], _Made], root: Schema
) -> tuple[_Made | None, Node, tuple[Problem, ...], frozenset[Path]]:
    """Return the fields of a :class:`ParsedTree`: ``made`` of the tree, which has the schema ``root``."""
    problems: list[Problem] = []
    doubtful: set[Path] = set()
    replaced: set[Path] = set()
    for _ in range(_ROUNDS):
        try:
            value = made(tree)
        except ValidationError as error:
            faults = [_Fault.of(detail, root) for detail in error.errors(include_url=False)]
        else:
            return value, tree, tuple(problems), frozenset(doubtful)
        before = tree
        meant = {fault.meant(before) for fault in faults if fault.kind == "unknown"}
        faults = [fault for fault in faults if fault.kind != "missing" or fault.path not in meant]
        for fault in faults:
            guessed = any(fault.path[: len(path)] == path for path in doubtful)
            placeholder = any(fault.path[: len(path)] == path for path in replaced)
            if not (guessed and fault.kind == "missing") and not placeholder:
                problems.append(fault.problem(before))
        for fault in faults:
            tree = fault.corrected(tree)
            doubtful.add(fault.guessed(before))
            if fault.kind != "unknown":
                replaced.add(fault.guessed(before))
    return None, tree, tuple(problems), frozenset(doubtful)


def idle_nulls(tree: Node) -> Iterator[Problem]:
    """Yield a mistake for each key whose null says the same as no key; ``extends`` gives it a meaning.

    Args:
        tree: a file that extends no other.
    """
    for path, _, node in tree.walk():
        if node.value is None:
            schema = _schema_at(tree, path)
            optional = any(option.get("type") == "null" for option in schema.get("anyOf", ()))
            if optional and _NULL not in schema:
                expected = json_schema.describe(schema)
                message = f"expected {expected}, found nothing; remove the key, which does the same"
                yield Problem(node.mark, join_key(path), message)


_NULL = "x-dsr1-null"
"""In the schema of a key: the value for which null stands."""


def _with_meaning_of_null(tree: Node) -> Node:
    """Return the tree with every null that means something replaced by what it stands for."""
    for path, _, node in tree.walk():
        if node.value is None and _NULL in (schema := _schema_at(tree, path)):
            tree = with_value(tree, path, node_of(schema[_NULL], node.mark))
    return tree


def _schema_at(tree: Node, path: Path) -> Schema:
    """Return the schema of a value in the tree; empty in a free mapping and below an unknown key."""
    schema = json_schema.scenario_schema()
    for depth, part in enumerate(path):
        holder = json_schema.resolve(schema)
        if "discriminator" in holder:
            tag = tree.find((*path[:depth], "type"))
            options = json_schema.options_of(holder)
            holder = json_schema.resolve(options.get(str(tag.value), {}) if tag else {})
        known = holder.get("properties", {})
        schema = holder.get("items", {}) if isinstance(part, int) else known.get(part, {})
    return schema


@dataclass(frozen=True, slots=True)
class _Fault:
    """One fault that pydantic found: its path in the file, the schema there, and the schema around it.

    ``root`` is the schema of the file, ``own`` the message of a plugin's validator; empty for other faults.
    """

    kind: str
    path: Path
    schema: Schema
    holder: Schema
    root: Schema
    own: str = ""

    @classmethod
    def of(cls, detail: ErrorDetails, root: Schema) -> _Fault:
        kind, location = detail["type"], detail["loc"]
        spot = json_schema.locate(location, root)
        if kind.startswith("union_tag"):
            tags = {"type": "string", "enum": list(json_schema.options_of(spot.schema))}
            return cls("tag", (*spot.path, "type"), tags, spot.schema, root)
        if location[-1] == "[key]":
            return cls("key", spot.path, spot.schema, spot.holder, root)
        known = {"missing": "missing", "extra_forbidden": "unknown", UNKNOWN_METRIC: "metric"}
        own = "" if kind in known else _own_message(detail)
        return cls(known.get(kind, "value"), spot.path, spot.schema, spot.holder, root, own)

    def guessed(self, tree: Node) -> Path:
        """Return the path whose value is a guess in the corrected tree."""
        if self.kind == "unknown":
            return self.meant(tree) or self.path
        return self.path[:-1] if self._is_foreign_engine(tree.find(self.path)) else self.path

    def _is_foreign_engine(self, node: Node | None) -> bool:
        """Return whether the value is an engine's type, and none of those that are known."""
        if node is None or self.kind != "tag" or self.path != ("engine", "type"):
            return False
        return nearest(node.text, self.schema["enum"]) is None

    def meant(self, tree: Node) -> Path | None:
        """Return the path that was probably meant by an unknown key; None for one that has a replacement."""
        if str(self.path[-1]) in _former_names() or json_schema.is_misplaced(self.path, self.root):
            return None
        close = nearest(str(self.path[-1]), self._fitting(tree))
        return (*self.path[:-1], close) if close else None

    def problem(self, tree: Node) -> Problem:
        """Return the mistake in words, with its position in ``tree``."""
        holder = tree.find(self.path[:-1]) or tree
        node = tree.find(self.path)
        key = str(self.path[-1])
        mark = holder.mark if node is None else node.mark
        if self.kind == "unknown":
            mark, message = holder.keys.get(key, mark), self._unknown_key(tree, holder)
        elif self.kind == "key":
            mark, message = holder.keys.get(key, mark), self._wrong(Node(key, mark, text=key, quoted=True))
        elif self.own:
            own = "refused by a validator of the engine's plugin" if self._is_secret(node) else self.own
            message = without_secrets(own) + (f"; found {self._found(node)}" if node else "")
        elif node is None:
            message = f"missing; expected {json_schema.describe(self.schema)}"
        else:
            message = self._wrong(node) + self._unchecked_value(tree, node)
        return Problem(mark, join_key(self.path), message)

    def _unknown_key(self, tree: Node, holder: Node) -> str:
        key, siblings = str(self.path[-1]), self._siblings()
        if now := _former_names().get(key):
            return f"unknown key; {now}"
        if key == "<<":
            return (
                "unknown key; YAML merge keys are not supported: use `extends: NAME` to build on a scenario"
            )
        fitting = self._fitting(tree)
        elsewhere = "" if _is_misspelling(key, fitting) else _elsewhere(self.path, tree)
        of_option = not holder.keys.get(key, holder.mark).line  # which means to change what is there
        present = () if of_option else dict(holder.children())
        meant = did_you_mean(key, fitting, present=present)
        if meant and not json_schema.is_misplaced(self.path, self.root):
            return f"unknown key{meant}{elsewhere}"
        if homes := json_schema.homes(self.path, self.root):
            return f"unknown key here; it belongs in {' or '.join(f'`{home}`' for home in homes)}"
        return f"unknown key; expected one of {', '.join(repr(name) for name in siblings)}{elsewhere}"

    def _siblings(self) -> tuple[str, ...]:
        return json_schema.keys_of(self.holder)

    def _unchecked_value(self, tree: Node, node: Node) -> str:
        """Return where a value can be given that is not in the schema's list, as the end of a message."""
        listed = self.schema.get("enum") or [self.schema[key] for key in ("const",) if key in self.schema]
        if not listed or not isinstance(node.value, str) or _is_misspelling(node.value, listed):
            return ""
        return _elsewhere(self.path, tree)

    def _fitting(self, tree: Node) -> list[str]:
        """Return the known keys that may be meant: for a mapping, those that have one of its keys."""
        node = tree.find(self.path)
        if node is None or not isinstance(node.value, dict) or not node.value:
            return list(self._siblings())
        holder = json_schema.resolve(self.holder)
        forms = [json_schema.resolve(form) for form in json_schema.options_of(holder).values()] or [holder]
        return [
            key
            for form in forms
            for key, schema in form.get("properties", {}).items()
            if not set(node.value).isdisjoint(json_schema.keys_of(schema))
        ]

    def _wrong(self, node: Node) -> str:
        quotes = "; put it in quotes" if self.schema.get("type") == "string" else ""
        hint = quotes if self._is_secret(node) else self._hint(node)
        return f"expected {json_schema.describe(self.schema)}, found {self._found(node)}{hint}"

    def _found(self, node: Node) -> str:
        return f"a value that is {NOT_SHOWN}" if self._is_secret(node) else without_secrets(node.in_words())

    def _is_secret(self, node: Node | None) -> bool:
        is_value = node is not None and isinstance(node.value, str | int | float)
        return is_value and any(map(names_secret, map(str, self.path)))

    def _hint(self, node: Node) -> str:
        forms = json_schema.options_of(self.schema).values() or [self.schema]
        near = next(filter(None, (_hint_of(form, node) for form in forms)), "")
        of_plugin = (self.kind == "metric" and node.value not in METRICS) or self._is_foreign_engine(node)
        return near or (f"; {FIND_PLUGIN}" if of_plugin else "")

    def corrected(self, tree: Node) -> Node:
        """Return the tree as it was probably meant, or with a placeholder for the faulty value."""
        node, key = tree.find(self.path), self.path[-1]
        if self.kind == "unknown":
            meant = self.meant(tree)
            if meant is None or tree.find(meant):
                return without(tree, self.path)
            return renamed(tree, self.path, str(meant[-1]))
        if self.kind == "key":
            return without(tree, self.path)
        if self.kind == "tag":
            return self._with_tag(tree, node)
        required = isinstance(key, int) or key in self.holder.get("required", ())
        if not required:
            return without(tree, self.path)
        close = nearest(node.text, self.schema.get("enum", ())) if node else None
        return self._with(tree, close or json_schema.placeholder(self.schema))

    def _with(self, tree: Node, value: Any) -> Node:
        mark = (tree.find(self.path) or tree.find(self.path[:-1]) or tree).mark
        return with_value(tree, self.path, node_of(value, mark))

    def _with_tag(self, tree: Node, node: Node | None) -> Node:
        """Return the tree with the nearest type, or without one the type that shares most keys with the file.

        Of equal ones, the type with fewer keys of its own is nearer. An engine of an unknown type is replaced
        as a whole: its keys say nothing about another engine.
        """
        if self._is_foreign_engine(node):
            return replace(self, path=self.path[:-1])._with(tree, json_schema.placeholder(self.holder))
        close = nearest(node.text, self.schema["enum"]) if node else None
        holder = tree.find(self.path[:-1])
        given = set(holder.value) if holder and isinstance(holder.value, dict) else set()
        options = json_schema.options_of(self.holder)
        keys = {tag: json_schema.keys_of(schema) for tag, schema in options.items()}
        likely = max(options, key=lambda tag: (len(given.intersection(keys[tag])), -len(keys[tag])))
        return self._with(tree, close or likely)


def _own_message(detail: ErrorDetails) -> str:
    """Return what a validator of a plugin says about a value; empty if pydantic itself found the fault."""
    if detail["type"] in {"value_error", "assertion_error"}:
        return str(detail["ctx"]["error"]) or "refused by a validator of the engine's plugin"
    return "" if detail["type"] in get_args(ErrorType) else detail["msg"]


def _hint_of(schema: Schema, node: Node) -> str:
    """Return what was probably meant by a wrong value, as the end of a message; empty if nothing is near."""
    kind, value, text = schema.get("type"), node.value, node.text
    if isinstance(value, str) and "enum" in schema:
        return did_you_mean(value, schema["enum"])
    if isinstance(value, str) and "const" in schema:
        return did_you_mean(value, [str(schema["const"])])
    if kind == "boolean" and isinstance(value, str) and value.lower() in _BOOLEANS:
        return f"; write {_BOOLEANS[value.lower()]}"
    if kind in {"integer", "number"} and isinstance(value, str):
        return _number_hint(node, whole=kind == "integer")
    if kind == "integer" and isinstance(value, float) and value.is_integer():
        return f"; write {int(value)}"
    fits = not {"const", "enum"} & schema.keys() and re.search(schema.get("pattern", ""), text)
    if kind == "string" and fits and isinstance(value, bool | int | float):
        return f'; put it in quotes: "{text}"'
    return ""


def _is_misspelling(word: str, known: Sequence[str]) -> bool:
    """Return whether an unknown word is surely a known one: the same letters, or nine tenths alike."""
    near = nearest(word, known)
    if near is None:
        return False
    ours, theirs = word.lower().replace("-", "_"), near.lower()
    return sorted(ours) == sorted(theirs) or SequenceMatcher(None, ours, theirs).ratio() >= _SURE


_SURE = 0.9
"""The similarity from which a word is a misspelling: of the options of public configurations that are unknown
here, DENSEGEMM is most like a known word, with 0.82 for DEEPGEMM."""


def _elsewhere(path: Path, tree: Node) -> str:
    """Return where an unknown option of the engine can be given unchecked, as the end of a message."""
    kind = tree.find(("engine", "type"))
    schema = engines().get(str(kind.value)) if kind else None
    for holder, place in (schema.settings.unchecked_in if schema else {}).items():
        around = split_key(holder)
        if path[: len(around)] == around:
            return f"; if your version has it, put it into `{place}`"
    return ""


def _former_names() -> dict[str, str]:
    return {old: now for schema in engines().values() for old, now in schema.settings.former_names.items()}


def _number_hint(node: Node, *, whole: bool) -> str:
    text = str(node.value)
    if re.fullmatch(r"[-+]?[0-9]{1,3}([_, '][0-9]{3})+", text):
        return f"; write {re.sub('[^-+0-9]', '', text)}"
    if re.fullmatch(r"[-+]?[0-9]+,[0-9]+", text) and not whole:
        return f"; write {text.replace(',', '.')}"
    if re.fullmatch(r"[-+]?[0-9.]+([, ]+[-+]?[0-9.]+)+", text):
        return "; it takes one number: for several, start a run with each"
    if node.quoted and re.fullmatch(r"[-+]?[0-9.]+", text):
        return "; remove the quotes"
    return ""
