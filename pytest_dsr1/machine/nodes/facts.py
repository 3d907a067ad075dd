"""The facts of several nodes as those of one machine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pytest_dsr1.findings import Finding
from pytest_dsr1.machine.values import FactValue

NODES = "nodes"
"""The fact of the nodes' names; a run on one node does not have it."""
_OWN = frozenset({"hostname", "gpu.uuids", "gpu.count"})
"""Facts that every node has for itself."""

Facts = Mapping[str, FactValue]


def merged(of_nodes: Mapping[str, Facts], by_node: Mapping[str, int]) -> dict[str, FactValue]:
    """Return one set of facts.

    A fact that all nodes share stays as it is. Else a fact about GPUs has a value per GPU of all nodes, and
    another fact a value per node, in the order of the nodes.

    Args:
        of_nodes: the facts of each node, by its name.
        by_node: how many GPUs of each node the run uses.
    """
    if len(of_nodes) == 1:
        return dict(next(iter(of_nodes.values())))
    found: dict[str, FactValue] = {}
    for key in _keys(of_nodes):
        values = [facts.get(key) for facts in of_nodes.values()]
        if key == "gpu.count":
            found[key] = sum(value for value in values if isinstance(value, int))
        elif key != "gpu.uuids" and all(value == values[0] for value in values):
            found[key] = values[0]
        elif key.startswith("gpu."):
            each = zip(values, by_node.values(), strict=True)
            found[key] = [one for value, gpus in each for one in _each(value, gpus)]
        else:
            found[key] = [_text(value) for value in values]
    return {**found, NODES: list(of_nodes)}


def differing(of_nodes: Mapping[str, Facts]) -> Iterator[Finding]:
    """Yield a warning for each fact in which nodes differ."""
    for key in _keys(of_nodes):
        if key in _OWN:
            continue
        alike: dict[str, list[str]] = {}
        for node, facts in of_nodes.items():
            alike.setdefault(_text(facts.get(key)), []).append(node)
        if len(alike) > 1:
            values = ", ".join(f"{value} on {', '.join(nodes)}" for value, nodes in alike.items())
            yield Finding("warning", "nodes", f"they differ in {key}: {values}; the slowest one decides")


def _keys(of_nodes: Mapping[str, Facts]) -> list[str]:
    return list(dict.fromkeys(key for facts in of_nodes.values() for key in facts))


def _each(value: FactValue, gpus: int) -> list[str]:
    return value if isinstance(value, list) else [str(value)] * gpus


def _text(value: FactValue) -> str:
    return " ".join(value) if isinstance(value, list) else "none" if value is None else str(value)
