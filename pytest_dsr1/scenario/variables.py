"""Variables such as ``${NAME}`` in paths: kept while a scenario is only shown, expanded when it runs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pytest_dsr1.errors import UserError
from pytest_dsr1.scenario.problems import Problem
from pytest_dsr1.scenario.schema import json_schema
from pytest_dsr1.scenario.schema.scenario import Scenario
from pytest_dsr1.scenario.yaml.tree import Node, Path, join_key

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_MISWRITTEN = re.compile(r"\$\{|\$[A-Za-z_]")


def misplaced(tree: Node) -> Iterator[Problem]:
    """Yield a problem for every variable with the wrong form, or in a value where none is expanded."""
    allowed = ", ".join(sorted(join_key(path) for path in json_schema.expanded_paths()))
    for path, _, node in tree.walk():
        if not isinstance(node.value, str):
            continue
        if path in json_schema.expanded_paths():
            rest = _MISWRITTEN.search(_VARIABLE.sub("", node.value))
            if rest:
                message = f"expected variables of the form ${{NAME}}, found {node.value[:60]!r}"
                yield Problem(node.mark, join_key(path), message)
        elif "${" in node.value:
            message = f"variables (${{...}}) are expanded only in {allowed}; write the value itself"
            yield Problem(node.mark, join_key(path), message)


def unset_variables(scenario: Scenario, environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the variables that the scenario needs and that are unset or empty in ``environ``."""
    return tuple(dict.fromkeys(name for _, _, name in _unset(scenario, environ)))


def resolve(scenario: Scenario, environ: Mapping[str, str]) -> Scenario:
    """Return the scenario with every variable expanded.

    Raises:
        UserError: variables are not set; the message names all of them and shows how to set each.
    """
    missing = list(_unset(scenario, environ))
    if missing:
        names = unset_variables(scenario, environ)
        what = f"the variable {names[0]} is" if len(names) == 1 else f"the variables {', '.join(names)} are"
        needs = [f"  {join_key(path)}: {value} needs {name}" for path, value, name in missing]
        example = {
            name: "dataset.jsonl" if path[0] == "dataset" and value == f"${{{name}}}" else "folder"
            for path, value, name in missing
        }
        exports = [f"  export {name}=/path/to/{end}" for name, end in example.items()]
        raise UserError(
            "\n".join([f"scenario {scenario.name}: {what} not set", *needs, "Set with:", *exports])
        )
    data: dict[str, Any] = scenario.model_dump()
    for path, value in _places(scenario):
        holder = data
        for part in path[:-1]:
            holder = holder[str(part)]
        holder[str(path[-1])] = _VARIABLE.sub(lambda match: environ[match[1]], value)
    return Scenario.model_validate(data)


def _unset(scenario: Scenario, environ: Mapping[str, str]) -> Iterator[tuple[Path, str, str]]:
    for path, value in _places(scenario):
        for name in _VARIABLE.findall(value):
            if not environ.get(name):
                yield path, value, name


def _places(scenario: Scenario) -> Iterator[tuple[Path, str]]:
    """Yield the paths and hosts that have a value, in the order of the schema."""
    for path in json_schema.expanded_paths():
        value: object = scenario
        for part in path:
            value = getattr(value, str(part), None)
        if isinstance(value, str):
            yield path, value
