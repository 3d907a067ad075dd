"""The points of a sweep: one scenario file becomes a scenario for each point.

``sweep`` is a mapping of dotted keys to lists of values, whose product is swept, or a list of points.
"""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeGuard

from pytest_dsr1.masking import masked_setting, masked_tree
from pytest_dsr1.scenario.overrides import Override, apply, with_mark
from pytest_dsr1.scenario.problems import Mark, MistakeError, Problem
from pytest_dsr1.scenario.schema.base import NAME
from pytest_dsr1.scenario.yaml.reader import parse
from pytest_dsr1.scenario.yaml.tree import Node, join_key, node_of, split_key, with_value, without

MOST_POINTS = 200
"""The most points of a sweep, unless the ini option ``dsr1_max_points`` sets another number."""
_SWEPT = ("dataset", "engine", "gpu_setup", "load", "speculation")
"""Parts of a scenario whose keys can be swept."""
_NOT_SWEPT = ("engine.type",)
_LONGEST_NAME = 100
_KEPT_OF_NAME = 90
"""So much of the name of a sweep is left in the name of a point that would be too long."""
_LONGEST_VALUE = 40
"""The most characters of a value in a label."""
_SEED = 420
"""The seed of a dataset that has none."""
_NAMED = 5
"""The most points that a message names."""
_FOLLOWS = re.compile(r"([1-9][0-9]{0,17}) x load\.concurrency")
"""How ``load.num_requests`` follows the concurrency."""


@dataclass(frozen=True, slots=True)
class Point:
    """One point of a sweep.

    Attributes:
        values: by dotted key, with the position in the file.
        keys: the position of each key.
        label: its values in words that file systems and pytest's ``-k`` take: ``concurrency-64.tp-8``.
    """

    values: Mapping[str, Node]
    keys: Mapping[str, Mark]
    label: str

    @property
    def starts(self) -> frozenset[tuple[str, object]]:
        """What a started server depends on: points that differ in load or requests alone share one."""
        return frozenset(
            (key, _identity(node.plain()))
            for key, node in self.values.items()
            if not key.startswith(("load.", "dataset."))
        )

    @property
    def identity(self) -> object:
        """Its values as one that can be compared: 1 and 1.0 are the same, 1 and true are not."""
        return frozenset((key, _identity(node.plain())) for key, node in self.values.items())


def _identity(value: object) -> object:
    if isinstance(value, dict):
        return "mapping", frozenset((key, _identity(item)) for key, item in value.items())
    if isinstance(value, list):
        return "list", tuple(map(_identity, value))
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
    if len(problems) > known:
        return ()
    rows = list(_rows(sweep))
    short = _short_names({key for row, _ in rows for key in row})
    labels: Counter[str] = Counter()
    unique: dict[object, Point] = {}
    for row, keys in rows:
        label = ".".join(_word(key, short[key], node) for key, node in row.items())
        point = Point(row, keys, label)
        if point.identity in unique:
            mark = next(iter(row.values())).mark
            problems.append(Problem(mark, "sweep", f"the point {label} is there twice"))
            continue
        labels[label] += 1
        numbered = label if labels[label] == 1 else f"{label}-{labels[label]}"
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
                message = f"expected a list of values, found {node.in_words()}"
                yield Problem(node.mark, f"sweep.{key}", message)
            else:
                yield from _repeated(node, key)
        sizes = (len(node.value) for node in sweep.value.values() if isinstance(node.value, list))
        count = math.prod(sizes)
    elif isinstance(sweep.value, list) and sweep.value:
        count = len(sweep.value)
        for number, item in sweep.children():
            if not isinstance(item.value, dict) or not item.value:
                message = f"expected a mapping of keys to values, found {item.in_words()}"
                yield Problem(item.mark, f"sweep.{number}", message)
                continue
            for key, node in item.value.items():
                yield from _refused(key, f"sweep.{number}.{key}", item.keys.get(key, node.mark))
    else:
        found = sweep.in_words()
        message = f"expected a mapping of keys to lists of values, or a list of points, found {found}"
        yield Problem(sweep.mark, "sweep", message)
    if count > most:
        message = (
            f"{count:,} points, expected at most {most:,}: leave some out, or set the ini option "
            f"dsr1_max_points = {count}"
        )
        yield Problem(sweep.mark, "sweep", message)


def _repeated(values: Node, key: str) -> Iterator[Problem]:
    """Yield each value of a list that stands there before; with it whole points would be there twice."""
    seen: set[object] = set()
    for _, node in values.children():
        identity = _identity(node.plain())
        if identity in seen:
            shown = node.in_words() if _without_secrets(key, node) == node.plain() else "a value"
            yield Problem(node.mark, f"sweep.{key}", f"{shown} is there twice")
        seen.add(identity)


def _rows(sweep: Node) -> Iterator[tuple[Mapping[str, Node], Mapping[str, Mark]]]:
    """Yield the values and the positions of their keys, of each point of a sweep without mistakes."""
    if isinstance(sweep.value, dict):
        lists = [[node for _, node in each.children()] for each in sweep.value.values()]
        for combined in itertools.product(*lists):
            yield dict(zip(sweep.value, combined, strict=True)), sweep.keys
    for _, item in sweep.children():
        if isinstance(sweep.value, list) and isinstance(item.value, dict):
            yield item.value, item.keys


def _refused(key: str, where: str, mark: Mark) -> Iterator[Problem]:
    path = key.split(".")
    if key != "hardware.count" and (
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
    shown = _text(node) if _without_secrets(key, node) == node.plain() else "hidden"
    value = _plain_word(shown)[:_LONGEST_VALUE].strip("_.")
    return f"{_plain_word(name)}-{value or 'none'}"


def _plain_word(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9.]+", "_", text).strip("_.")


def _text(node: Node) -> str:
    return node.text or str(node.plain())


def tree_of(tree: Node, point: Point, index: int) -> Node:
    """Return the scenario of a point.

    Args:
        tree: of the sweep.
        point: what this point sets.
        index: its place in the sweep, from 0.

    Raises:
        MistakeError: a value cannot be set there.
    """
    name, swept = tree.child("name"), without(tree, ("sweep",))
    for key, node in point.values.items():
        swept = apply(swept, Override(split_key(key), node, point.keys.get(key)))
    swept = _with_gpus(swept, point)
    mark = tree.mark if name is None else name.mark
    given = name.value if name is not None and isinstance(name.value, str) else ""
    if len(given) <= _LONGEST_NAME and re.fullmatch(NAME, given):  # else the schema refuses it, once
        whole = f"{given}.{point.label}"
        whole = whole if len(whole) <= _LONGEST_NAME else f"{given[:_KEPT_OF_NAME]}.p{index}"
        swept = with_value(swept, ("name",), node_of(whole, mark))
    said = {
        "sweep": given,
        "label": point.label,
        "values": {key: _without_secrets(key, node) for key, node in point.values.items()},
    }
    return _with_its_own(with_value(swept, ("point",), node_of(said, mark), mark), point)


def _without_secrets(key: str, node: Node) -> Any:
    """Return a swept value without secrets: the point is saved as it is."""
    name = key.rpartition(".")[2]
    return masked_tree({name: node.plain()})[name]


def _with_gpus(tree: Node, point: Point) -> Node:
    """Return a copy whose number of GPUs follows the parallel sizes that the point sets."""
    sizes = [tree.find(("engine", key)) for key in ("tp", "pp")]
    follows = {"engine.tp", "engine.pp"} & point.values.keys() and "hardware.count" not in point.values
    numbers = [size.value for size in sizes if size is not None]
    gpus = math.prod(number for number in numbers if _is_count(number))  # other values are mistakes
    if not follows or tree.find(("hardware", "gpu")) is None:
        return tree
    mark = next(node.mark for key, node in point.values.items() if key in {"engine.tp", "engine.pp"})
    return with_value(tree, ("hardware", "count"), node_of(gpus, mark))


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def with_own_prompts(tree: Node, point: Point, index: int) -> Node:
    """Return a copy with a seed of its own: a kept server would answer equal prompts from its cache.

    Args:
        tree: of the point.
        point: which may set the seed itself.
        index: its place in the sweep, from 0.
    """
    dataset, seed = tree.child("dataset"), tree.find(("dataset", "seed"))
    if dataset is None or not isinstance(dataset.value, dict) or tree.find(("dataset", "path")) is not None:
        return tree
    base = _SEED if seed is None else seed.value
    if "dataset.seed" in point.values or not isinstance(base, int) or isinstance(base, bool):
        return tree
    mark = dataset.mark if seed is None else seed.mark
    return with_value(tree, ("dataset", "seed"), node_of(base + index, mark))


_CHOSEN = ("targets", "published")
"""Lists whose items may be for some points alone, with ``at``."""


def _with_its_own(tree: Node, point: Point) -> Node:
    """Return a copy with the targets and published results of this point, without the ``at`` of each."""
    for key in _CHOSEN:
        listed = tree.child(key)
        if listed is not None and isinstance(listed.value, list):
            kept = [without(item, ("at",)) for _, item in listed.children() if fits(item, point)]
            tree = with_value(tree, (key,), Node(kept, listed.mark))
    return tree


def fits(item: Node, point: Point) -> bool:
    """Return whether an item is for a point: each value of its ``at`` is the point's."""
    at = item.child("at")
    if at is None or not isinstance(at.value, dict):
        return True
    return all(
        key in point.values and _identity(point.values[key].plain()) == _identity(node.plain())
        for key, node in at.value.items()
    )


def with_requests(tree: Node) -> Node:
    """Return a copy in which ``load.num_requests`` that follows the concurrency is a number."""
    wanted, factor, users = _following(tree)
    if wanted is None or users is None or not _is_count(users.value):
        return tree
    return with_value(tree, ("load", "num_requests"), node_of(factor * users.value, wanted.mark))


def explained(tree: Node, problems: Sequence[Problem]) -> tuple[Problem, ...]:
    """Return the problems of a scenario; of requests that follow no number, why.

    Args:
        tree: of :func:`with_requests`.
        problems: those that the schema found.
    """
    wanted, _, users = _following(tree)
    if wanted is None:
        return tuple(problems)
    key = "load.num_requests"
    others = tuple(problem for problem in problems if problem.key != key)
    if users is None or users.value != "all":
        return others  # the concurrency is a mistake itself
    message = "follows load.concurrency, which is 'all'; expected a whole number of at least 1"
    return (*others, Problem(wanted.mark, key, message))


def _following(tree: Node) -> tuple[Node | None, int, Node | None]:
    """Return the number of requests if it follows the concurrency, by which factor, and the concurrency."""
    wanted, users = tree.find(("load", "num_requests")), tree.find(("load", "concurrency"))
    found = _FOLLOWS.fullmatch(wanted.value) if wanted and isinstance(wanted.value, str) else None
    return (wanted, int(found[1]), users) if found else (None, 0, users)


def mistakes(tree: Node, points: Sequence[Point]) -> Iterator[Problem]:
    """Yield what is wrong between a sweep and the rest of its scenario.

    A target's ``at`` is not a mapping, or matches no point; ``--dsr1-set`` sets a key that is swept.
    """
    for key in _CHOSEN:
        listed = tree.child(key)
        for number, item in listed.children() if listed else ():
            if at := item.child("at"):
                yield from _mistakes_of(item, at, join_key((key, number, "at")), points)
    for key in dict.fromkeys(key for point in points for key in point.values):
        node = tree.find(split_key(key))
        below = [] if node is None else [node.mark, *(mark for _, mark, _ in node.walk())]
        options = ("--dsr1-set ", "--dsr1-against ")
        for mark in dict.fromkeys(mark for mark in below if mark.source.startswith(options)):
            message = "is swept, so one value of it cannot be set; select points with -k instead"
            yield Problem(mark, key, message)


def _mistakes_of(item: Node, at: Node, key: str, points: Sequence[Point]) -> Iterator[Problem]:
    if not points:
        yield Problem(at.mark, key, "chooses points of a sweep, but the scenario has no `sweep`")
    elif not isinstance(at.value, dict) or not at.value:
        yield Problem(at.mark, key, f"expected a mapping of swept keys to values, found {at.in_words()}")
    elif not any(fits(item, point) for point in points):
        labels = ", ".join(point.label for point in points[:_NAMED])
        more = f" and {len(points) - _NAMED} more" if len(points) > _NAMED else ""
        yield Problem(at.mark, key, f"matches no point of the sweep; its points are {labels}{more}")
