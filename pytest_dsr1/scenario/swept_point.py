"""A point of a sweep as a scenario: what it sets, and what is its own of the rest."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from typing import TypeGuard
from zlib import crc32

from pytest_dsr1.scenario.overrides import Override, apply
from pytest_dsr1.scenario.problems import Problem
from pytest_dsr1.scenario.schema.base import NAME
from pytest_dsr1.scenario.sweep import Point, identity_of, without_secrets_of
from pytest_dsr1.scenario.yaml.tree import Node, join_key, node_of, split_key, with_value, without
from pytest_dsr1.text import did_you_mean

_LONGEST_NAME = 100
LONGEST_OF_SWEEP = _LONGEST_NAME - len(".01234567")
"""The longest name of a sweep, in characters."""
_SEEDS = 100_000_000
"""The number of seeds: of 200 points, two have the same one in 1 of 5,000 sweeps."""
_SEED = 420
"""The seed of a dataset that has none."""
_NAMED = 5
"""The most points that a message names."""
_FOLLOWS = re.compile(r"([1-9][0-9]{0,17}) x load\.concurrency")
"""How ``load.num_requests`` follows the concurrency."""


def tree_of(tree: Node, point: Point) -> Node:
    """Return the scenario of a point.

    Args:
        tree: of the sweep.
        point: what this point sets.

    Raises:
        MistakeError: a value cannot be set there.
    """
    name, swept = tree.child("name"), without(tree, ("sweep",))
    for key, node in point.values.items():
        swept = apply(swept, Override(split_key(key), node, point.keys.get(key)))
    swept = _with_gpus(swept, point)
    mark = tree.mark if name is None else name.mark
    given = name.value if name is not None and isinstance(name.value, str) else ""
    if len(given) <= LONGEST_OF_SWEEP and re.fullmatch(NAME, given):  # else it is refused, once
        whole = f"{given}.{point.label}"
        if len(whole) > _LONGEST_NAME:
            whole = f"{given}.{crc32(point.label.encode()):08x}"
        swept = with_value(swept, ("name",), node_of(whole, mark))
    said = {
        "sweep": given,
        "label": point.label,
        "values": {key: without_secrets_of(key, node) for key, node in point.values.items()},
    }
    return _with_its_own(with_value(swept, ("point",), node_of(said, mark), mark), point)


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


def idle_gpus(tree: Node, used: int) -> Iterator[str]:
    """Yield a warning if a point uses fewer GPUs than its sweep names.

    Args:
        tree: of the sweep.
        used: the point's number of GPUs.
    """
    whole = tree.find(("hardware", "count"))
    if whole is None or not isinstance(whole.value, int):
        return
    idle = whole.value - used
    if idle > 0:
        where = f"{whole.mark.file_line}: hardware.count"
        yield f"{where}: the point uses {used} of these GPUs; {idle} stay idle"


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def with_own_prompts(tree: Node, point: Point) -> Node:
    """Return a copy with a seed of its own: a kept server would answer equal prompts from its cache.

    The seed follows from the point's label, so a point is the same in a sweep with more points.

    Args:
        tree: of the point.
        point: which may set the seed itself.
    """
    dataset, seed = tree.child("dataset"), tree.find(("dataset", "seed"))
    if dataset is None or not isinstance(dataset.value, dict) or tree.find(("dataset", "path")) is not None:
        return tree
    base = _SEED if seed is None else seed.value
    if "dataset.seed" in point.values or not isinstance(base, int) or isinstance(base, bool):
        return tree
    mark = dataset.mark if seed is None else seed.mark
    return with_value(tree, ("dataset", "seed"), node_of(base + crc32(point.label.encode()) % _SEEDS, mark))


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
        key in point.values and identity_of(point.values[key].plain()) == identity_of(node.plain())
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


def without_points(tree: Node) -> Node:
    """Return a copy of a scenario whose ``sweep`` is null, without what is for a curve or for some points."""
    sweep = tree.child("sweep")
    if sweep is None or sweep.value is not None:
        return tree
    tree = without(without(tree, ("sweep",)), ("frontier",))
    for key in _CHOSEN:
        listed = tree.child(key)
        if listed is not None and isinstance(listed.value, list):
            kept = [item for _, item in listed.children() if item.child("at") is None]
            tree = with_value(tree, (key,), Node(kept, listed.mark))
    return tree


def mistakes(tree: Node, points: Sequence[Point]) -> Iterator[Problem]:
    """Yield what is wrong between a sweep and the rest of its scenario.

    A target's ``at`` is not a mapping, or matches no point; ``--dsr1-set`` sets a key that is swept; the name
    leaves no room for those of points.
    """
    name = tree.child("name")
    length = len(name.value) if name is not None and isinstance(name.value, str) else 0
    if points and name is not None and LONGEST_OF_SWEEP < length <= _LONGEST_NAME:
        message = (
            f"expected at most {LONGEST_OF_SWEEP} characters for a sweep, whose points have longer names, "
            f"found {length}"
        )
        yield Problem(name.mark, "name", message)
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
        message = f"matches no point of the sweep; its points are {labels}{more}"
        yield Problem(at.mark, key, "; ".join([message, *_not_swept(at, points)]))


def _not_swept(at: Node, points: Sequence[Point]) -> Iterator[str]:
    """Yield each key of an ``at`` that is not swept, if one that is has a similar name."""
    swept = dict.fromkeys(name for point in points for name in point.values)
    last = {name.rpartition(".")[2]: name for name in swept}
    for name in at.value if isinstance(at.value, dict) else ():
        if name not in swept:
            meant = did_you_mean(last.get(name, name), swept)
            yield from [f"{name} is not swept{meant}"] if meant else []
