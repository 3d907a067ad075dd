"""Several served runs as one sweep: what they share stands once, and each is a point that sets the rest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pytest_dsr1.importing.harvest import RefusedError
from pytest_dsr1.importing.served import Origin, ServedRun
from pytest_dsr1.scenario.sweep import LABEL, identity_of

_OF_POINTS = ("dataset", "engine", "load")
"""The parts of a scenario in which points may differ."""
_ALWAYS = (("engine", "tp"), ("engine", "ep"), ("load", "concurrency"))
"""What each point sets first, also where all have the same: it says what the point is."""
_SERVED_ONCE = "The source starts a server for each point; here points that differ in load alone share one."


def sweep_of(
    name: str, what: str, runs: Mapping[str, ServedRun], origin: Origin, notes: Iterable[str] = ()
) -> dict[str, Any]:
    """Return the scenario of a sweep.

    Args:
        name: of the scenario.
        what: its name in the source.
        runs: by the label of their point, at least one, of one model, GPU and number of tokens.
        origin: their source.
        notes: more about the sweep as a whole.

    Raises:
        RefusedError: a run needs several nodes, or an unknown GPU.
    """
    trees = {label: point_of(run, origin) for label, run in runs.items()}
    for label, tree in trees.items():
        tree["load"]["num_requests"] = f"{runs[label].rounds} x load.concurrency"
    first = next(iter(trees.values()))
    shared = _shared([{part: tree[part] for part in _OF_POINTS} for tree in trees.values()])
    for part, key in _ALWAYS:
        shared[part].pop(key, None)
    points = [{LABEL: label, **_values(tree, shared)} for label, tree in trees.items()]
    about = [*_notes(trees), *([_SERVED_ONCE] if _share_a_server(points) else []), *notes]
    gpus = [run.gpus for run in runs.values()]
    in_flight = [run.concurrency for run in runs.values()]
    described = next(iter(runs.values())).described(_span(gpus), _span(in_flight), what)
    return {
        **first,
        "name": name,
        "description": described,
        "source": {**first["source"], "document": f"{origin.document}: {what}", "notes": about},
        "hardware": {**first["hardware"], "count": max(gpus)},
        **_without_empty(shared, first),
        "sweep": points,
    }


def point_of(run: ServedRun, origin: Origin) -> dict[str, Any]:
    """Return the scenario of a run that can be a point of a sweep.

    Raises:
        RefusedError: it needs several nodes, or an unknown GPU.
    """
    tree = run.tree(origin)
    if nodes := tree["hardware"].get("nodes"):
        raise RefusedError(
            f"it needs {run.gpus} GPUs, which are {nodes} nodes; sweeps of several nodes are not imported"
        )
    return tree


def _shared(trees: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what all mappings have in common; of mappings in them, empty ones too."""
    found: dict[str, Any] = {}
    for key in trees[0]:
        values = [tree[key] for tree in trees if key in tree]
        if len(values) < len(trees):
            continue
        if all(isinstance(value, dict) for value in values):
            found[key] = _shared(values)
        elif len({identity_of(value) for value in values}) == 1:
            found[key] = values[0]
    return found


def _values(tree: Mapping[str, Any], shared: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a point sets, by dotted key."""
    always = {f"{part}.{key}": tree[part][key] for part, key in _ALWAYS if key in tree[part]}
    return always | {key: value for key, value in _rest(tree, shared) if key not in always}


def _rest(tree: Mapping[str, Any], shared: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values that are not shared, by dotted key."""
    for key, value in tree.items():
        dotted = f"{above}{key}"
        if key in shared and isinstance(value, dict):
            yield from _rest(value, shared[key], f"{dotted}.")
        elif key not in shared and (above or key in _OF_POINTS):
            yield dotted, value


def _without_empty(shared: Mapping[str, Any], tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy without the mappings in which nothing is shared; one that is empty itself stays."""
    kept = {
        key: _without_empty(value, tree[key]) if isinstance(value, dict) else value
        for key, value in shared.items()
    }
    return {key: value for key, value in kept.items() if value != {} or tree[key] == {}}


def _notes(trees: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Yield the notes of all points; one that is not of all names its points."""
    labels: dict[str, list[str]] = {}
    for label, tree in trees.items():
        for note in tree["source"]["notes"]:
            labels.setdefault(note, []).append(label)
    for note, named in labels.items():
        yield note if len(named) == len(trees) else f"{', '.join(named)}: {note}"


def _share_a_server(points: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether points differ in load alone."""
    alone = (LABEL, "load.", "dataset.")
    starts = {
        frozenset((key, identity_of(value)) for key, value in point.items() if not key.startswith(alone))
        for point in points
    }
    return len(starts) < len(points)


def _span(numbers: Sequence[int]) -> str:
    """Return the smallest and the largest number in words."""
    least, most = min(numbers), max(numbers)
    return str(least) if least == most else f"{least} to {most}"
