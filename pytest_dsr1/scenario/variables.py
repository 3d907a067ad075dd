"""Variables such as ``${NAME}``: kept while a scenario is only shown, expanded when it runs, never secret."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from pytest_dsr1 import masking
from pytest_dsr1.errors import UserError
from pytest_dsr1.scenario.problems import Mark, Problem
from pytest_dsr1.scenario.schema import json_schema
from pytest_dsr1.scenario.schema.base import Part
from pytest_dsr1.scenario.schema.engine import EngineSettings
from pytest_dsr1.scenario.schema.scenario import Scenario
from pytest_dsr1.scenario.schema.validators import validating
from pytest_dsr1.scenario.yaml.tree import Node, Path, join_key, node_of
from pytest_dsr1.secret_names import names_secret
from pytest_dsr1.text import VARIABLE

_MISWRITTEN = re.compile(r"\$\{|\$[A-Za-z_]")
_UNCLOSED = "${"
"""In words and environment variables a ``$`` may mean something to the program, as in ``$ORIGIN/lib``."""


def misplaced(tree: Node) -> Iterator[Problem]:
    """Yield a problem for every variable with the wrong form, or in a value where none is expanded."""
    allowed = ", ".join(sorted(json_schema.expanded_keys()))
    for path, _, node in tree.walk():
        if not isinstance(node.value, str) or path[0] == "point":  # a copy of what is checked where it is set
            continue
        if json_schema.is_expanded(path):
            rest = VARIABLE.sub("", node.value)
            if _MISWRITTEN.search(rest) if json_schema.is_expanded_whole(path) else _UNCLOSED in rest:
                shown = masking.masked_at(path, node.value)[:60]
                message = f"expected variables of the form ${{NAME}}, found {shown!r}"
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
        UserError: variables are not set, or the values of secrets are missing because the scenario comes from
            a result; the message names all of them and shows how to set each. Or a plugin refuses a value.
    """
    _refuse_marks(scenario)
    missing = list(_unset(scenario, environ))
    if missing:
        names = unset_variables(scenario, environ)
        what = f"the variable {names[0]} is" if len(names) == 1 else f"the variables {', '.join(names)} are"
        needs = [f"  {join_key(path)}: {value} needs {name}" for path, value, name in missing]
        example = {
            name: "dataset.jsonl" if path[0] == "dataset" and value == f"${{{name}}}" else "folder"
            for path, value, name in missing
        }
        words = {name for path, _, name in missing if not json_schema.is_expanded_whole(path)}
        exports = [
            f"  export {name}=" + ("VALUE" if name in words else f"/path/to/{end}")
            for name, end in example.items()
        ]
        raise UserError(
            "\n".join([f"scenario {scenario.name}: {what} not set", *needs, "Set with:", *exports])
        )
    data: dict[str, Any] = scenario.model_dump()
    for path, value in _places(scenario):
        holder: Any = data
        for part in path[:-1]:
            holder = holder[part]
        holder[path[-1]] = VARIABLE.sub(lambda match: environ[match[1]], value)
    try:
        with validating(scenario.engine.type):
            return Scenario.model_validate(data)
    except ValidationError as error:  # a plugin's validator may refuse what a variable stands for
        first = error.errors(include_url=False)[0]
        key, said = ".".join(map(str, first["loc"])), masking.without_secrets(first["msg"])
        raise UserError(f"scenario {scenario.name}: with the variables expanded, {key}: {said}") from None


def _refuse_marks(scenario: Scenario) -> None:
    """Raise for what stands for secrets in a saved scenario: a run would send it to the server."""
    marked = [
        f"  {join_key(path)}"
        for path, _, node in node_of(scenario.engine.model_dump(), Mark("")).walk(("engine",))
        if isinstance(node.value, str) and masking.NOT_SHOWN in node.value
    ]
    if marked:
        what = f"scenario {scenario.name}: {masking.NOT_SHOWN} stands for a secret, which is never saved"
        advice = "Write each value into the file, or set it with --dsr1-set KEY=VALUE"
        raise UserError("\n".join([what, *marked, advice]))


def _unset(scenario: Scenario, environ: Mapping[str, str]) -> Iterator[tuple[Path, str, str]]:
    for path, value in _places(scenario):
        for name in VARIABLE.findall(value):
            if not environ.get(name):
                yield path, value, name


def _places(scenario: Scenario) -> Iterator[tuple[Path, str]]:
    """Yield the values in which variables are expanded, in the order of the schema."""
    for path in json_schema.expanded_paths():
        whole = path[-1] != json_schema.ANY
        for found, value in _values(scenario, path if whole else path[:-1]):
            if whole and isinstance(value, str):
                yield found, value
            elif not whole and isinstance(value, list | dict):
                items = value.items() if isinstance(value, dict) else enumerate(value)
                yield from (((*found, key), item) for key, item in items)


def _values(holder: object, path: Path, before: Path = ()) -> Iterator[tuple[Path, object]]:
    """Yield path and value of what a path of the schema stands for, in which 0 is every item of a list."""
    if not path:
        yield before, holder
    elif isinstance(holder, list):
        for index, item in enumerate(holder):
            yield from _values(item, path[1:], (*before, index))
    else:
        yield from _values(getattr(holder, str(path[0]), None), path[1:], (*before, path[0]))


def without_secrets(scenario: Scenario) -> Scenario:
    """Return the scenario without the secrets of its engine, so that it can still be read.

    ``${NAME}`` stands for a secret where variables are expanded, :data:`~pytest_dsr1.masking.NOT_SHOWN`
    elsewhere.
    """
    engine: EngineSettings = _masked(scenario.engine, ("engine",))
    return scenario if engine == scenario.engine else scenario.model_copy(update={"engine": engine})


def _masked(value: Any, path: Path) -> Any:
    if isinstance(value, Part):
        return value.model_copy(update={name: _masked(inner, (*path, name)) for name, inner in value})
    mark: masking.Mark = masking.not_shown
    if json_schema.is_expanded(path) or json_schema.is_expanded((*path, json_schema.ANY)):
        if isinstance(value, dict):
            return {key: _masked_variable(key, inner) for key, inner in value.items()}
        mark = masking.exported
    if isinstance(value, tuple):
        return tuple(_masked(list(value), path))
    name = str(path[-1]) if names_secret(str(path[-1])) else ""
    return masking.masked_tree(value, mark, name)


def _masked_variable(name: str, value: str) -> str:
    if masking.hides(name, value):
        return masking.variable(name)
    return masking.without_secrets(value, masking.exported)
