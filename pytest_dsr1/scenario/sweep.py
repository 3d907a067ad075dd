"""The points of a sweep: one scenario file becomes a scenario for each point.

``sweep`` is a mapping of dotted keys to lists of values, whose product is swept, or a list of points.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pytest_dsr1.masking import masked_tree
from pytest_dsr1.scenario.overrides import Override, apply
from pytest_dsr1.scenario.problems import Mark, MistakeError, Problem
from pytest_dsr1.scenario.yaml.reader import parse
from pytest_dsr1.scenario.yaml.tree import Node, join_key, node_of, split_key, with_value, without

MOST_POINTS = 200
"""The most points of a sweep, unless the ini option ``dsr1_max_points`` sets another number."""
_SWEPT = ("dataset", "engine", "gpu_setup", "load", "speculation")
"""Parts of a scenario whose keys can be swept."""
_NOT_SWEPT = ("engine.type",)
_LONGEST_NAME = 100
_NAMED = 5
"""The most points that a message names."""
_FOLLOWS = re.compile(r"([1-9][0-9]*) x load\.concurrency")
"""How ``load.num_requests`` follows the concurrency."""


@dataclass(frozen=True, slots=True)
class Point:
    """One point of a sweep.

    Attributes:
        values: by dotted key, with the position in the file.
        label: its values in words that file systems and pytest's ``-k`` take: ``concurrency-64.tp-8``.
    """

    values: Mapping[str, Node]
    label: str

    @property
    def starts(self) -> tuple[tuple[str, str], ...]:
        """What a started server depends on: points that differ in load alone share one."""
        return tuple((key, _text(node)) for key, node in self.values.items() if not key.startswith("load."))


def from_options(tree: Node, texts: Sequence[str]) -> Node:
    """Return a copy of the tree with the sweep of ``--dsr1-sweep KEY=VALUE,VALUE`` options.

    Raises:
        MistakeError: an option is not such a text, or the scenario is a sweep already.
    """
    for text in texts:
        mark = Mark(f"--dsr1-sweep {text}")
        key, equals, values = text.partition("=")
        if not equals or not values.strip() or "" in split_key(key.strip()):
            message = "expected KEY=VALUE,VALUE with a dotted key, such as load.concurrency=1,4,16"
            raise MistakeError(Problem(mark, "", message))
        known = tree.child("sweep")
        if known is not None and known.mark.line:
            message = "the scenario is a sweep already; add --dsr1-set sweep=null to sweep something else"
            raise MistakeError(Problem(mark, key, message))
        problems: list[Problem] = []
        parsed = parse(f"[{values}]", mark.source, problems)
        if problems:
            raise MistakeError(Problem(mark, key, problems[0].message))
        listed = Node([Node(each.value, mark, text=each.text) for _, each in parsed.children()], mark)
        held = Node({} if known is None else dict(known.children()), mark)  # type: ignore[arg-type]
        swept = with_value(held, (key.strip(),), listed, mark)
        tree = with_value(tree, ("sweep",), swept, mark)
    return tree


def points_of(tree: Node, most: int = MOST_POINTS) -> tuple[Point, ...]:
    """Return the points of a sweep in the order in which they run; none without ``sweep``.

    Servers start as seldom as possible: points that differ in load alone are next to each other.

    Args:
        tree: of the scenario.
        most: the most points.

    Raises:
        MistakeError: the sweep cannot be understood, is empty or too large, or has a point twice.
    """
    sweep = tree.child("sweep")
    if sweep is None or sweep.value is None:
        return ()
    rows = list(_rows(sweep, most))
    short = _short_names({key for row in rows for key in row})
    points = [Point(row, ".".join(_word(key, short[key], node) for key, node in row.items())) for row in rows]
    labels: dict[str, int] = {}
    unique: list[Point] = []
    for point, row in zip(points, rows, strict=True):
        for other in unique:
            if {k: _text(n) for k, n in other.values.items()} == {k: _text(n) for k, n in row.items()}:
                mark = next(iter(row.values())).mark
                raise MistakeError(Problem(mark, "sweep", f"the point {point.label} is there twice"))
        count = labels[point.label] = labels.get(point.label, 0) + 1
        unique.append(point if count == 1 else Point(row, f"{point.label}-{count}"))
    first = {start: number for number, start in reversed(list(enumerate(each.starts for each in unique)))}
    return tuple(sorted(unique, key=lambda point: first[point.starts]))


def _rows(sweep: Node, most: int) -> Iterator[Mapping[str, Node]]:
    if isinstance(sweep.value, dict) and sweep.value:
        for key, node in sweep.value.items():
            mark = sweep.keys.get(key, node.mark)
            _refuse_key(key, mark)
            if not isinstance(node.value, list) or not node.value:
                message = f"expected a list of values, found {node.in_words()}"
                raise MistakeError(Problem(node.mark, f"sweep.{key}", message))
        lists = [list(node.children()) for node in sweep.value.values()]
        _refuse_many(sweep, _product(len(each) for each in lists), most)
        for combined in itertools.product(*lists):
            yield dict(zip(sweep.value, (node for _, node in combined), strict=True))
    elif isinstance(sweep.value, list) and sweep.value:
        _refuse_many(sweep, len(sweep.value), most)
        for number, item in sweep.children():
            if not isinstance(item.value, dict) or not item.value:
                message = f"expected a mapping of keys to values, found {item.in_words()}"
                raise MistakeError(Problem(item.mark, f"sweep.{number}", message))
            for key, node in item.value.items():
                _refuse_key(key, item.keys.get(key, node.mark))
            yield dict(item.value)
    else:
        found = sweep.in_words()
        message = f"expected a mapping of keys to lists of values, or a list of points, found {found}"
        raise MistakeError(Problem(sweep.mark, "sweep", message))


def _product(counts: Iterator[int]) -> int:
    total = 1
    for count in counts:
        total *= count
    return total


def _refuse_many(sweep: Node, count: int, most: int) -> None:
    if count > most:
        message = (
            f"{count:,} points, expected at most {most:,}: leave some out, or set the ini option "
            f"dsr1_max_points = {count}"
        )
        raise MistakeError(Problem(sweep.mark, "sweep", message))


def _refuse_key(key: str, mark: Mark) -> None:
    part = key.partition(".")[0]
    if key != "hardware.count" and (part not in _SWEPT or "." not in key or key in _NOT_SWEPT):
        message = (
            f"cannot be swept; expected `hardware.count`, or a dotted key of {', '.join(_SWEPT[:-1])} or "
            f"{_SWEPT[-1]}, such as load.concurrency"
        )
        raise MistakeError(Problem(mark, f"sweep.{key}", message))


def _short_names(keys: set[str]) -> dict[str, str]:
    """Return the last part of each key; the whole key if two have the same last part."""
    last = [key.rpartition(".")[2] for key in keys]
    return {key: name if last.count(name := key.rpartition(".")[2]) == 1 else key for key in keys}


def _word(key: str, name: str, node: Node) -> str:
    shown = _text(node) if _without_secrets(key, node) == node.plain() else "hidden"
    value = re.sub(r"[^A-Za-z0-9.]+", "_", shown).strip("_.")
    return f"{name}-{value or 'none'}"


def _text(node: Node) -> str:
    return node.text or str(node.plain())


def tree_of(tree: Node, point: Point, index: int, count: int) -> Node:
    """Return the scenario of a point.

    Args:
        tree: of the sweep.
        point: what this point sets.
        index: its place in the sweep, from 0; synthetic prompts differ by it.
        count: how many points there are.

    Raises:
        MistakeError: a value cannot be set there.
    """
    name, swept = tree.child("name"), without(tree, ("sweep",))
    for key, node in point.values.items():
        swept = apply(swept, Override(split_key(key), node))
    swept = _with_gpus(swept, point)
    if count > 1 and "dataset.seed" not in point.values:
        swept = _with_own_prompts(swept, index)
    mark = tree.mark if name is None else name.mark
    if name is not None and isinstance(name.value, str):
        whole = f"{name.value}.{point.label}"
        whole = whole if len(whole) <= _LONGEST_NAME else f"{name.value[:90]}.p{index}"
        swept = with_value(swept, ("name",), node_of(whole, mark))
        said = {
            "sweep": name.value,
            "label": point.label,
            "values": {key: _without_secrets(key, node) for key, node in point.values.items()},
        }
        swept = with_value(swept, ("point",), node_of(said, mark), mark)
    return _with_its_targets(swept, point)


def _without_secrets(key: str, node: Node) -> Any:
    """Return a swept value without secrets: the point is saved as it is."""
    name = key.rpartition(".")[2]
    return masked_tree({name: node.plain()})[name]


def _with_gpus(tree: Node, point: Point) -> Node:
    """Return a copy whose number of GPUs follows the parallel sizes that the point sets."""
    sizes = [tree.find(("engine", key)) for key in ("tp", "pp")]
    follows = {"engine.tp", "engine.pp"} & point.values.keys() and "hardware.count" not in point.values
    numbers = [size.value for size in sizes if size is not None and isinstance(size.value, int)]
    if not follows or tree.find(("hardware", "gpu")) is None:
        return tree
    mark = next(node.mark for key, node in point.values.items() if key in {"engine.tp", "engine.pp"})
    return with_value(tree, ("hardware", "count"), node_of(_product(iter(numbers)), mark))


def _with_own_prompts(tree: Node, index: int) -> Node:
    """Return a copy with a seed of its own: a kept server would answer equal prompts from its cache."""
    dataset, seed = tree.child("dataset"), tree.find(("dataset", "seed"))
    if dataset is None or not isinstance(dataset.value, dict) or tree.find(("dataset", "path")) is not None:
        return tree
    base = 420 if seed is None else seed.value
    if not isinstance(base, int):
        return tree
    mark = dataset.mark if seed is None else seed.mark
    return with_value(tree, ("dataset", "seed"), node_of(base + index, mark))


def _with_its_targets(tree: Node, point: Point) -> Node:
    """Return a copy with the targets of this point alone, without the ``at`` that chose them."""
    targets = tree.child("targets")
    if targets is None or not isinstance(targets.value, list):
        return tree
    kept = [without(item, ("at",)) for _, item in targets.children() if fits(item, point)]
    return with_value(tree, ("targets",), Node(kept, targets.mark))


def fits(target: Node, point: Point) -> bool:
    """Return whether a target is for a point: each value of its ``at`` is the point's."""
    at = target.child("at")
    if at is None or not isinstance(at.value, dict):
        return True
    values = {key: _text(node) for key, node in point.values.items()}
    return all(values.get(key) == _text(node) for key, node in at.value.items())


def with_requests(tree: Node) -> Node:
    """Return a copy in which ``load.num_requests`` that follows the concurrency is a number."""
    wanted, users = tree.find(("load", "num_requests")), tree.find(("load", "concurrency"))
    found = _FOLLOWS.fullmatch(wanted.value) if wanted and isinstance(wanted.value, str) else None
    if wanted is None or found is None or users is None or not isinstance(users.value, int):
        return tree
    return with_value(tree, ("load", "num_requests"), node_of(int(found[1]) * users.value, wanted.mark))


def mistakes(tree: Node, points: Sequence[Point]) -> Iterator[Problem]:
    """Yield what is wrong between a sweep and the rest of its scenario.

    A target's ``at`` is not a mapping, or matches no point; ``--dsr1-set`` sets a key that is swept.
    """
    targets = tree.child("targets")
    for number, item in targets.children() if targets else ():
        if at := item.child("at"):
            yield from _mistakes_of(item, at, join_key(("targets", number, "at")), points)
    for key in dict.fromkeys(key for point in points for key in point.values):
        node = tree.find(split_key(key))
        if (
            node is not None
            and not node.mark.line
            and node.mark.source.startswith(("--dsr1-set", "--dsr1-against"))
        ):
            message = "is swept, so one value of it cannot be set; select points with -k instead"
            yield Problem(node.mark, key, message)


def _mistakes_of(target: Node, at: Node, key: str, points: Sequence[Point]) -> Iterator[Problem]:
    if not points:
        yield Problem(at.mark, key, "chooses points of a sweep, but the scenario has no `sweep`")
    elif not isinstance(at.value, dict) or not at.value:
        yield Problem(at.mark, key, f"expected a mapping of swept keys to values, found {at.in_words()}")
    elif not any(fits(target, point) for point in points):
        labels = ", ".join(point.label for point in points[:_NAMED])
        more = f" and {len(points) - _NAMED} more" if len(points) > _NAMED else ""
        yield Problem(at.mark, key, f"matches no point of the sweep; its points are {labels}{more}")
