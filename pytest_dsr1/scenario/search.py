"""The probes of a search: a scenario for each load."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_dsr1.scenario.problems import Problem
from pytest_dsr1.scenario.schema.load import Slo, TraceArrival
from pytest_dsr1.scenario.schema.scenario import Scenario
from pytest_dsr1.scenario.schema.search import Search
from pytest_dsr1.scenario.schema.sweep import PROBE, Point
from pytest_dsr1.scenario.yaml.tree import Node, node_of, with_value, without

_KEPT_OF_NAME = 70
"""So much of the name of a search is left in the names of its probes."""
_DOTTED = {"load.concurrency": ("load", "concurrency"), "load.rate": ("load", "rate")}
_LEFT_OUT = ("search", "targets", "published", "accuracy", "gate")
"""What a probe does not have: it is not judged."""


def nested(tree: Node) -> Node:
    """Return a copy in which the dotted keys of ``search`` are those of a mapping ``load``."""
    search = tree.child("search")
    if search is None or not isinstance(search.value, dict):
        return tree
    for key, path in _DOTTED.items():
        node, load = search.child(key), search.child("load")
        if node is None or (load is not None and not isinstance(load.value, dict)):
            continue
        mark = search.keys.get(key, node.mark)
        if load is None:
            search = with_value(search, ("load",), Node({}, mark), mark)
        search = with_value(without(search, (key,)), path, node, mark)
    return with_value(tree, ("search",), search)


def mistakes(tree: Node) -> Iterator[Problem]:
    """Yield that a scenario is a search and a sweep."""
    search, sweep = tree.child("search"), tree.child("sweep")
    if search is not None and search.value is not None and sweep is not None and sweep.value is not None:
        message = "cannot be combined with `sweep`; remove one of them"
        yield Problem(search.mark, "search", message)


def ends(tree: Node, search: Search) -> Iterator[Node]:
    """Yield the probes at both ends of the range, to be checked before anything runs.

    Args:
        tree: of the scenario.
        search: of the same scenario, without mistakes.
    """
    where = ("concurrency",) if search.whole else ("arrival", "rate_req_s")
    found = tree.find(("search", "load"))
    mark = tree.mark if found is None else found.mark
    for key in _LEFT_OUT:
        tree = without(tree, (key,))
    for load in search.ends:
        value = node_of(int(load) if search.whole else load, mark)
        probe = with_value(tree, ("load", *where), value, mark)
        yield with_value(probe, ("load", "num_requests"), node_of(search.most_requests, mark), mark)


def label_of(load: float, again: int) -> str:
    """Return the name of a probe in its search; ``again`` counts those at this load before."""
    return f"{PROBE}{load:.6g}{f'-{again + 1}' if again else ''}"


def probe_of(
    scenario: Scenario, search: Search, load: float, *, again: int, run: int, requests: int
) -> Scenario:
    """Return the scenario of a probe, with prompts of its own: a kept server would know those before it.

    Args:
        scenario: that is searched.
        search: its search.
        load: concurrency, or requests per second.
        again: how many probes that count had this load before.
        run: the number of runs of this search before.
        requests: the most that it sends.
    """
    label = label_of(load, again)
    arrival = scenario.load.arrival
    changed: dict[str, object] = {"num_requests": requests, "duration_s": None}
    if search.whole:
        values: dict[str, float] = {"load.concurrency": int(load)}
        changed["concurrency"] = int(load)
    else:
        assert arrival is not None
        assert not isinstance(arrival, TraceArrival)
        values = {"load.arrival.rate_req_s": load}
        changed["arrival"] = arrival.model_copy(update={"rate_req_s": load})
    seed = scenario.dataset.seed + (0 if scenario.dataset.path else 1 + run)
    return scenario.model_copy(
        update={
            "name": f"{scenario.name[:_KEPT_OF_NAME]}.{label}",
            "point": Point(sweep=scenario.name, label=label, values=values),
            "load": scenario.load.model_copy(update=changed),
            "dataset": scenario.dataset.model_copy(update={"seed": seed}),
            "slo": Slo(preset=search.slo) if search.slo else scenario.slo,
            "search": None,
            "targets": [],
            "gate": scenario.gate.model_copy(update={"metric": None}),
            "published": [],
            "accuracy": None,
        }
    )
