"""The options ``--dsr1-set`` and ``--dsr1-against``: ``KEY=VALUE`` changes one value of a scenario."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_dsr1.masking import masked_setting
from pytest_dsr1.scenario.problems import Mark, MistakeError, Problem
from pytest_dsr1.scenario.yaml.reader import parse
from pytest_dsr1.scenario.yaml.tree import Node, Path, join_key, split_key, with_value
from pytest_dsr1.text import did_you_mean

_FIXED = {
    "name": "a scenario keeps its name; copy the file to give it another",
    "extends": "choose a scenario with --dsr1-profile",
}


@dataclass(frozen=True, slots=True)
class Override:
    """A value and its path; in ``targets`` a metric's name may replace an index.

    Attributes:
        path: where the value goes.
        value: the value.
        key_mark: the position of the path; by default that of the value.
    """

    path: Path
    value: Node
    key_mark: Mark | None = None


def parse_override(text: str, option: str = "--dsr1-set") -> Override:
    """Parse a text such as ``load.concurrency=64``, given to an option; the value is YAML.

    Raises:
        MistakeError: there is no ``=``, the key is empty or may not be set, or the value is not YAML.
    """
    mark = Mark(f"{option} {' '.join(masked_setting(text).split())}")
    key, equals, value = text.partition("=")
    path = split_key(key.strip())
    if not equals or "" in path:
        message = "expected KEY=VALUE with a dotted key, such as load.concurrency=64"
        raise MistakeError(Problem(mark, "", message))
    _refuse_fixed(key, mark)
    problems: list[Problem] = []
    try:
        node = parse(value, mark.source, problems) if value.strip() else Node(None, mark)
    except MistakeError as error:
        problems.append(error.problem)
    if problems:
        raise MistakeError(Problem(mark, key, problems[0].message))
    return Override(path, with_mark(node, mark))


def of_key(key: str, value: Node, mark: Mark) -> Override:
    """Return the override of a dotted key in a file, at its position there.

    Raises:
        MistakeError: a part of the key is empty, or the key may not be set.
    """
    if "" in split_key(key):
        raise MistakeError(Problem(mark, key, "expected a dotted key, such as load.concurrency"))
    _refuse_fixed(key, mark)
    return Override(split_key(key), value)


def _refuse_fixed(key: str, mark: Mark) -> None:
    first = split_key(key.strip())[0]
    if first in _FIXED:
        raise MistakeError(Problem(mark, key, f"cannot be set for a run: {_FIXED[str(first)]}"))


def apply(tree: Node, override: Override) -> Node:
    """Return a copy of the tree with the value set.

    Raises:
        MistakeError: a list has no such index or target, or the path leads through a single value.
    """
    path: list[str | int] = []
    mark = override.key_mark or override.value.mark
    for part in override.path:
        holder = tree.find(tuple(path))
        if holder is None or isinstance(holder.value, dict) or holder.value is None:
            path.append(str(part))
        elif holder.child(index := _index_of_target(holder, part)) is not None:
            path.append(index)
        else:
            key = join_key(override.path)
            raise MistakeError(Problem(mark, key, _no_such_key(holder, join_key(path), part)))
    return with_value(tree, tuple(path), override.value, mark)


def with_mark(node: Node, mark: Mark) -> Node:
    """Return the same value with one position for all of it: the option."""
    if isinstance(node.value, dict):
        values = {key: with_mark(child, mark) for key, child in node.value.items()}
        return Node(values, mark, dict.fromkeys(values, mark))
    if isinstance(node.value, list):
        return Node([with_mark(child, mark) for child in node.value], mark)
    return Node(node.value, mark, text=node.text, quoted=node.quoted)


def _index_of_target(holder: Node, part: str | int) -> str | int:
    """Return the index of the target with this metric; if there is none, the part itself."""
    for index, item in holder.children():
        metric = item.child("metric")
        if metric is not None and metric.value == part:
            return index
    return part


def _no_such_key(holder: Node, key: str, part: str | int) -> str:
    if not isinstance(holder.value, list):
        return f"`{key}` is a single value and has no key '{part}'"
    metrics = [metric.text for _, item in holder.children() if (metric := item.child("metric"))]
    known = f"one of {', '.join(metrics)} or an" if metrics else "an"
    meant = did_you_mean(str(part), metrics)
    return f"expected {known} index from 0 to {len(holder.value) - 1}, found '{part}'{meant}"
