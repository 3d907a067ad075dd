"""The tree of a scenario file: values with their positions, and functions that change a copy of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from pytest_dsr1.scenario.problems import Mark

Path = tuple[str | int, ...]
"""Keys and list indexes from the top of a scenario down to one value."""


def split_key(key: str) -> Path:
    """Return the path of a dotted key; whole numbers are list indexes."""
    return tuple(int(part) if part.isdecimal() else part for part in key.split("."))


def join_key(path: Iterable[str | int]) -> str:
    """Return the dotted key of a path."""
    return ".".join(map(str, path))


@dataclass(frozen=True, slots=True)
class Node:
    """One value of the file.

    Attributes:
        value: text, number, boolean, None, a list of nodes, or a mapping of text to nodes.
        mark: the position of the value.
        keys: for a mapping, the position of each key.
        text: for a scalar, its text in the file.
        quoted: whether a scalar is in quotes or in a block.
    """

    value: str | int | float | bool | list[Node] | dict[str, Node] | None
    mark: Mark
    keys: Mapping[str, Mark] = field(default_factory=dict)
    text: str = ""
    quoted: bool = False

    def plain(self) -> Any:
        """Return the value as plain Python data."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value

    def in_words(self) -> str:
        """Return what the value is, as the end of ``found ...``."""
        value = self.value
        if value is None:
            return "nothing"
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, str):
            return f"the text {value if len(value) <= 60 else value[:57] + '...'!r}"
        if isinstance(value, int | float):
            return f"the number {self.text or value}"
        kind = "list" if isinstance(value, list) else "mapping"
        return f"a {kind}" if value else f"an empty {kind}"

    def child(self, part: str | int) -> Node | None:
        """Return the value of a key or at an index; None if there is none."""
        if isinstance(self.value, dict) and isinstance(part, str):
            return self.value.get(part)
        if isinstance(self.value, list) and isinstance(part, int) and 0 <= part < len(self.value):
            return self.value[part]
        return None

    def find(self, path: Path) -> Node | None:
        """Return the value at the end of a path; None if there is none."""
        node: Node | None = self
        for part in path:
            node = node.child(part) if node else None
        return node

    def children(self) -> Iterator[tuple[str | int, Node]]:
        """Yield keys or indexes with their values."""
        if isinstance(self.value, dict):
            yield from self.value.items()
        elif isinstance(self.value, list):
            yield from enumerate(self.value)

    def walk(self, path: Path = ()) -> Iterator[tuple[Path, Mark, Node]]:
        """Yield every value below this one, with its path and the position of its key or list item."""
        for part, node in self.children():
            here = (*path, part)
            yield here, self.keys.get(part, node.mark) if isinstance(part, str) else node.mark, node
            yield from node.walk(here)


def node_of(value: Any, mark: Mark) -> Node:
    """Return a tree of plain data, all with one position."""
    if isinstance(value, dict):
        return Node(
            {key: node_of(item, mark) for key, item in value.items()}, mark, dict.fromkeys(value, mark)
        )
    if isinstance(value, list):
        return Node([node_of(item, mark) for item in value], mark)
    return Node(value, mark, text=str(value))


def with_value(tree: Node, path: Path, value: Node, key_mark: Mark | None = None) -> Node:
    """Return a copy with ``value`` at ``path``; missing keys on the way are added to their mappings.

    Args:
        tree: the tree to copy.
        path: where the value goes.
        value: the value.
        key_mark: the new position of its key; by default the old one.

    Raises:
        KeyError: ``path`` leads through a single value, or past the end of a list.
    """
    if not path:
        return value
    part, rest = path[0], path[1:]
    child = tree.child(part)
    if isinstance(tree.value, dict) and isinstance(part, str):
        if rest and (child is None or child.value is None):
            child = Node({}, value.mark)
        new = with_value(child, rest, value, key_mark) if rest and child else value
        kept = tree.keys.get(part, value.mark)
        keys = {**tree.keys, part: kept if rest else key_mark or kept}
        return replace(tree, value={**tree.value, part: new}, keys=keys)
    if isinstance(tree.value, list) and child is not None:
        new = with_value(child, rest, value, key_mark)
        items = [new if index == part else item for index, item in tree.children()]
        return replace(tree, value=items)
    raise KeyError(part)


def without(tree: Node, path: Path) -> Node:
    """Return a copy without the key at ``path``."""
    holder = tree.find(path[:-1])
    if holder is None or not isinstance(holder.value, dict):
        return tree
    kept = {key: node for key, node in holder.value.items() if key != path[-1]}
    return with_value(tree, path[:-1], replace(holder, value=kept))


def renamed(tree: Node, path: Path, name: str) -> Node:
    """Return a copy in which the key at ``path`` has another name."""
    holder, node = tree.find(path[:-1]), tree.find(path)
    if holder is None or node is None:
        return tree
    keys = {**holder.keys, name: holder.keys.get(str(path[-1]), node.mark)}
    tree = with_value(without(tree, path), (*path[:-1], name), node)
    holder = tree.find(path[:-1])
    return with_value(tree, path[:-1], replace(holder, keys=keys)) if holder else tree


def merged(base: Node, over: Node, path: Path = ()) -> Node:
    """Return ``base`` with the values of ``over`` on top: mappings are merged, other values are replaced.

    A length is replaced as a whole, and so is an engine of another ``type``: their keys make sense only
    together.
    """
    if not (isinstance(base.value, dict) and isinstance(over.value, dict)) or _is_whole(base, over, path):
        return over
    values = {
        **base.value,
        **{
            key: merged(base.value[key], node, (*path, key)) if key in base.value else node
            for key, node in over.value.items()
        },
    }
    return replace(over, value=values, keys={**base.keys, **over.keys})


def _is_whole(base: Node, over: Node, path: Path) -> bool:
    if path in {("dataset", "input_tokens"), ("dataset", "output_tokens")}:
        return True
    kind, new_kind = base.child("type"), over.child("type")
    return path == ("engine",) and kind is not None and new_kind is not None and kind.value != new_kind.value
