"""The points of a sweep: one scenario file becomes a scenario for each point.

``sweep`` is a mapping of dotted keys to lists of values, whose product is swept, or a list of points, each of
which may have a ``label``.
"""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pytest_dsr1.masking import masked_setting, masked_tree
from pytest_dsr1.scenario.overrides import with_mark
from pytest_dsr1.scenario.problems import Mark, MistakeError, Problem
from pytest_dsr1.scenario.schema.sweep import PROBE
from pytest_dsr1.scenario.yaml.reader import parse
from pytest_dsr1.scenario.yaml.tree import Node, split_key, with_value

MOST_POINTS = 200
"""The most points of a sweep, unless the ini option ``dsr1_max_points`` sets another number."""
_SWEPT = ("dataset", "engine", "gpu_setup", "load", "speculation")
"""Parts of a scenario whose keys can be swept."""
_NOT_SWEPT = ("engine.type",)
_LONGEST_VALUE = 40
"""The most characters of a value in a label."""
LABEL = "label"
"""The key of a listed point that is its name, and no value."""
_LABEL_FORM = "^[A-Za-z0-9][A-Za-z0-9._-]{0,59}$"


@dataclass(frozen=True, slots=True)
class Point:
    """One point of a sweep.

    Attributes:
        values: by dotted key, with the position in the file.
        keys: the position of each key.
        label: its own, or its values in words that file systems and pytest's ``-k`` take:
            ``concurrency-64.tp-8``.
    """

    values: Mapping[str, Node]
    keys: Mapping[str, Mark]
    label: str

    @property
    def starts(self) -> frozenset[tuple[str, object]]:
        """What a started server depends on: points that differ in load or requests alone share one."""
        return frozenset(
            (key, identity_of(node.plain()))
            for key, node in self.values.items()
            if not key.startswith(("load.", "dataset."))
        )

    @property
    def identity(self) -> object:
        """Its values as one that can be compared: 1 and 1.0 are the same, 1 and true are not."""
        return frozenset((key, identity_of(node.plain())) for key, node in self.values.items())


def identity_of(value: object) -> object:
    """Return a value as one that can be compared: 1 and 1.0 are the same, 1 and true are not."""
    if isinstance(value, dict):
        return "mapping", frozenset((key, identity_of(item)) for key, item in value.items())
    if isinstance(value, list):
        return "list", tuple(map(identity_of, value))
    return isinstance(value, bool), value


def from_options(tree: Node, texts: Sequence[str], problems: list[Problem]) -> Node:
    """Return a copy of the tree with the sweep of ``--dsr1-sweep KEY=VALUE,VALUE`` options.

    Args:
        tree: of the scenario.
        texts: the options.
        problems: where the mistakes go: an option is not such a text, a key is given twice, or the scenario
            is a sweep already.
    """
    known, given = tree.child("sweep"), Node({}, tree.mark)
    for text in texts:
        mark = Mark(f"--dsr1-sweep {' '.join(masked_setting(text).split())}")
        key, equals, values = (part.strip() for part in text.partition("="))
        if not equals or not values or "" in split_key(key):
            message = "expected KEY=VALUE,VALUE with a dotted key, such as load.concurrency=1,4,16"
            problems.append(Problem(mark, "", message))
        elif known is not None and known.value is not None:
            message = "the scenario is a sweep already; add --dsr1-set sweep=null to sweep something else"
            problems.append(Problem(mark, key, message))
        elif given.child(key) is not None:
            problems.append(Problem(mark, key, "is swept already; give all its values in one --dsr1-sweep"))
        else:
            given = with_value(given, (key,), _values_of(values, key, mark, problems), mark)
    return with_value(tree, ("sweep",), given) if given.value else tree


def _values_of(text: str, key: str, mark: Mark, problems: list[Problem]) -> Node:
    found: list[Problem] = []
    try:
        listed = with_mark(parse(f"[{text}]", mark.source, found), mark)
    except MistakeError as error:
        found, listed = [error.problem], Node([Node(None, mark)], mark)
    problems += [Problem(mark, key, each.message) for each in found]
    return listed


def points_of(tree: Node, most: int, problems: list[Problem]) -> tuple[Point, ...]:
    """Return the points of a sweep in the order in which they run; none without ``sweep``.

    Servers start as seldom as possible: points that share one are next to each other.

    Args:
        tree: of the scenario.
        most: the most points.
        problems: where the mistakes go: the sweep cannot be understood, is empty or too large, or has a point
            twice.
    """
    sweep = tree.child("sweep")
    if sweep is None or sweep.value is None:
        return ()
    known = len(problems)
    problems += _mistakes_in(sweep, most)
    if len(problems) > known and not isinstance(sweep.value, list):
        return ()
    rows = list(_rows(sweep))
    short = _short_names({key for row, _, _ in rows for key in row})
    labels = Counter(given for _, _, given in rows if given)
    unique: dict[object, Point] = {}
    for row, keys, given in rows:
        label = given or ".".join(_word(key, short[key], node) for key, node in row.items())
        point = Point(row, keys, label)
        if point.identity in unique:
            mark = next(iter(row.values())).mark
            problems.append(Problem(mark, "sweep", f"the point {label} is there twice"))
            continue
        labels[label] += not given
        numbered = label if given or labels[label] == 1 else f"{label}-{labels[label]}"
        unique[point.identity] = replace(point, label=numbered)
    points = list(unique.values())
    first = {point.starts: number for number, point in reversed(list(enumerate(points)))}
    return tuple(sorted(points, key=lambda point: first[point.starts]))


def _mistakes_in(sweep: Node, most: int) -> Iterator[Problem]:
    """Yield what is wrong in the sweep itself; no point is made to count them."""
    count = 0
    if isinstance(sweep.value, dict) and sweep.value:
        for key, node in sweep.value.items():
            yield from _refused(key, f"sweep.{key}", sweep.keys.get(key, node.mark))
            if not isinstance(node.value, list) or not node.value:
                message = f"expected a list of values, found {_shown(key, node)}"
                yield Problem(node.mark, f"sweep.{key}", message)
            else:
                yield from _repeated(node, key)
        sizes = (len(node.value) for node in sweep.value.values() if isinstance(node.value, list))
        count = math.prod(sizes)
    elif isinstance(sweep.value, list) and sweep.value:
        count = len(sweep.value)
        yield from _mistakes_in_points(sweep)
    else:
        message = f"expected a mapping of keys to lists of values, or a list of points, found {_kind(sweep)}"
        yield Problem(sweep.mark, "sweep", message)
    if count > most:
        message = (
            f"{count:,} points, expected at most {most:,}: leave some out, or set the ini option "
            f"dsr1_max_points = {count}"
        )
        yield Problem(sweep.mark, "sweep", message)


def _mistakes_in_points(sweep: Node) -> Iterator[Problem]:
    """Yield what is wrong in each point of a list."""
    labels: set[object] = set()
    for number, item in sweep.children():
        mistakes = list(_mistakes_in_point(item, f"sweep.{number}"))
        yield from mistakes
        label = item.child(LABEL)
        if mistakes or label is None:
            continue
        if label.value in labels:
            yield Problem(label.mark, f"sweep.{number}.{LABEL}", f"the label {label.value} is there twice")
        labels.add(label.value)


def _mistakes_in_point(item: Node, where: str) -> Iterator[Problem]:
    """Yield what is wrong in one point of a list, whatever the others are."""
    if not isinstance(item.value, dict) or not item.value.keys() - {LABEL}:
        found = "only a label" if isinstance(item.value, dict) and item.value else _kind(item)
        yield Problem(item.mark, where, f"expected a mapping of keys to values, found {found}")
        return
    for key, node in item.value.items():
        if key != LABEL:
            yield from _refused(key, f"{where}.{key}", item.keys.get(key, node.mark))
        elif not _is_label(node.value):
            message = (
                f"expected text of the form `{_LABEL_FORM}` that does not begin with `{PROBE}`, "
                f"found {node.in_words()}"
            )
            yield Problem(node.mark, f"{where}.{key}", message)


def _is_label(value: object) -> bool:
    return isinstance(value, str) and bool(re.fullmatch(_LABEL_FORM, value)) and not value.startswith(PROBE)


def _repeated(values: Node, key: str) -> Iterator[Problem]:
    """Yield each value of a list that stands there before; with it whole points would be there twice."""
    seen: set[object] = set()
    for _, node in values.children():
        identity = identity_of(node.plain())
        if identity in seen:
            yield Problem(node.mark, f"sweep.{key}", f"{_shown(key, node)} is there twice")
        seen.add(identity)


def _shown(key: str, node: Node) -> str:
    """Return a value in words, unless it may be a secret."""
    return node.in_words() if without_secrets_of(key, node) == node.plain() else "a value"


def _kind(node: Node) -> str:
    """Return what stands where keys are expected, without a text: it may be a secret next to its name."""
    return "a text" if isinstance(node.value, str) else node.in_words()


def _rows(sweep: Node) -> Iterator[tuple[Mapping[str, Node], Mapping[str, Mark], str]]:
    """Yield the values, the positions of their keys and the label, of each point that has no mistakes.

    The label is empty where the file gives none.
    """
    if isinstance(sweep.value, dict):
        lists = [[node for _, node in each.children()] for each in sweep.value.values()]
        for combined in itertools.product(*lists):
            yield dict(zip(sweep.value, combined, strict=True)), sweep.keys, ""
        return
    for number, item in sweep.children():
        if isinstance(item.value, dict) and not any(_mistakes_in_point(item, f"sweep.{number}")):
            row = {key: node for key, node in item.value.items() if key != LABEL}
            yield row, item.keys, str(item.value[LABEL].value) if LABEL in item.value else ""


def _refused(key: str, where: str, mark: Mark) -> Iterator[Problem]:
    path = key.split(".")
    if "=" in key:
        message = "expected a dotted key and a colon, such as `load.concurrency: [1, 4]`"
        yield Problem(mark, where.partition("=")[0], message)
    elif key != "hardware.count" and (
        path[0] not in _SWEPT or len(path) == 1 or "" in path or key in _NOT_SWEPT
    ):
        message = (
            f"cannot be swept; expected `hardware.count`, or a dotted key of {', '.join(_SWEPT[:-1])} or "
            f"{_SWEPT[-1]}, such as load.concurrency"
        )
        yield Problem(mark, where, message)


def _short_names(keys: set[str]) -> dict[str, str]:
    """Return the last part of each key; the whole key if two have the same last part."""
    last = [key.rpartition(".")[2] for key in keys]
    return {key: name if last.count(name := key.rpartition(".")[2]) == 1 else key for key in keys}


def _word(key: str, name: str, node: Node) -> str:
    shown = _text(node) if without_secrets_of(key, node) == node.plain() else "hidden"
    value = _plain_word(shown)[:_LONGEST_VALUE].strip("_.")
    return f"{_plain_word(name)}-{value or 'none'}"


def _plain_word(text: str) -> str:
    word = re.sub(r"[^A-Za-z0-9.-]+", "_", text).strip("_.")
    return word if re.match(r"-[0-9]", word) else word.lstrip("-_.")


def _text(node: Node) -> str:
    return node.text or str(node.plain())


def without_secrets_of(key: str, node: Node) -> Any:
    """Return a swept value without secrets: the point is saved as it is."""
    name = key.rpartition(".")[2]
    return masked_tree({name: node.plain()})[name]
