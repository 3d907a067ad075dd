"""The schemas of files as JSON Schema, and functions that walk them and describe expected values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

from pytest_dsr1 import extensions
from pytest_dsr1.scenario.schema.base import WORDS
from pytest_dsr1.scenario.schema.engine import HOOK, EngineSchema
from pytest_dsr1.scenario.schema.scenario import Scenario
from pytest_dsr1.scenario.schema.site import Site
from pytest_dsr1.scenario.yaml.tree import Path, join_key

Schema = dict[str, Any]

ANY = "*"
"""Stands for each item of a list, and for each key of a mapping with free keys."""


@cache
def scenario_schema() -> Schema:
    """Return the JSON Schema of :class:`~pytest_dsr1.scenario.schema.scenario.Scenario`."""
    return Scenario.model_json_schema()


@cache
def site_schema() -> Schema:
    """Return the JSON Schema of :class:`~pytest_dsr1.scenario.schema.site.Site`."""
    return Site.model_json_schema()


def resolve(schema: Schema) -> Schema:
    """Return the schema without its reference and without the null of an optional value."""
    options = [option for option in schema.get("anyOf", ()) if option.get("type") != "null"]
    if len(options) == 1:
        return resolve(options[0])
    if "$ref" in schema:
        name, known = schema["$ref"].rpartition("/")[2], scenario_schema()["$defs"]
        return cast("Schema", known[name] if name in known else site_schema()["$defs"][name])
    return schema


def options_of(schema: Schema) -> dict[str, Schema]:
    """Return the forms that a value may take, by their tags in pydantic's errors; empty for a single form."""
    mapping = schema.get("discriminator", {}).get("mapping")
    if mapping:
        return {tag: {"$ref": reference} for tag, reference in mapping.items()}
    return {
        option["$ref"].rpartition("/")[2] if "$ref" in option else option["type"]: option
        for option in schema.get("oneOf", ())
    }


@dataclass(frozen=True, slots=True)
class Spot:
    """The position of a pydantic error.

    Attributes:
        path: the path in the file.
        schema: the schema of the value there; empty outside the schema, as for an unknown key.
        holder: the schema of the mapping or list around it.
    """

    path: Path
    schema: Schema
    holder: Schema


def locate(location: Sequence[str | int], root: Schema) -> Spot:
    """Return the position in the file of a pydantic error's location, which also contains tags of unions.

    Args:
        location: of the error.
        root: the schema of the file.
    """
    path: list[str | int] = []
    schema = holder = root
    for part in location:
        schema = resolve(schema)
        options = options_of(schema)
        if part in options:
            # If no form is a mapping, each is an answer to any wrong value.
            mappings = any("properties" in resolve(option) for option in options.values())
            schema = options[part] if mappings else schema
        elif part == "[key]":
            schema = _schema_of_keys(holder)
        else:
            path.append(part)
            schema, holder = _step(schema, part), schema
    return Spot(tuple(path), resolve(schema), holder)


def _schema_of_keys(holder: Schema) -> Schema:
    """Return the schema of a mapping's keys."""
    if "propertyNames" in holder:
        return resolve(holder["propertyNames"])
    return {"type": "string", "pattern": "|".join(holder.get("patternProperties", ()))}


def _step(schema: Schema, part: str | int) -> Schema:
    if isinstance(part, int):
        forms = [schema, *map(resolve, options_of(schema).values())]
        return cast("Schema", next((form["items"] for form in forms if "items" in form), {}))
    known = schema.get("properties", {})
    if part in known:
        return cast("Schema", known[part])
    return _other_values(schema)


def keys_of(schema: Schema) -> tuple[str, ...]:
    """Return the keys of a mapping; if it has several forms, those of all forms."""
    schema = resolve(schema)
    forms = [resolve(option) for option in options_of(schema).values()] or [schema]
    return tuple(dict.fromkeys(key for form in forms for key in form.get("properties", ())))


def fields(schema: Schema | None = None, path: Path = ()) -> Iterator[tuple[Path, Schema]]:
    """Yield path and schema of every key, of a scenario by default; the items of a list have the index 0."""
    schema = resolve(scenario_schema() if schema is None else schema)
    for form in [resolve(option) for option in options_of(schema).values()] or [schema]:
        for key, child in form.get("properties", {}).items():
            yield (*path, key), child
            inner = resolve(child)
            if inner.get("type") == "array":
                yield from fields(inner["items"], (*path, key, 0))
            else:
                yield from fields(inner, (*path, key))


def homes(path: Path, root: Schema | None = None) -> list[str]:
    """Return the dotted names of the blocks that have the last key of a path, in a scenario without ``root``.

    Where a block is in the schema several times, the one nearest to the path is meant.
    """
    # `search.load` repeats a key of `load`, which is the one that is meant.
    found = {each[:-1]: schema for each, schema in fields(root) if each[-1] == path[-1]}
    blocks = [block for block in found if block != ("search", "load")]
    nearest = [
        block
        for block in blocks
        if not any(
            found[other] == found[block] and _steps(path[:-1], other) < _steps(path[:-1], block)
            for other in blocks
        )
    ]
    return sorted(".".join(map(str, block)) or "the top level" for block in nearest)


def _steps(start: Path, end: Path) -> int:
    """Return the number of steps up and down from one block to another."""
    shared = next(
        (n for n, pair in enumerate(zip(start, end, strict=False)) if pair[0] != pair[1]),
        min(len(start), len(end)),
    )
    return len(start) + len(end) - 2 * shared


def is_misplaced(path: Path, root: Schema) -> bool:
    """Return whether one block alone has the last key of a path, and is in the same part of the file."""
    blocks = homes(path, root)
    return len(blocks) == 1 and blocks[0].split(".")[0] == path[0]


@cache
def expanded_paths() -> tuple[Path, ...]:
    """Return the paths of the values in which ``${VARIABLE}`` is expanded.

    The path of a list or of a mapping with free keys ends with :data:`ANY`. In a list of mappings, 0 stands
    for every item.
    """
    found: list[Path] = []
    for path, schema in fields():
        inner = resolve(schema)
        for form in options_of(inner).values() or [inner]:
            if form.get("x-dsr1-expanded"):
                found.append(path)
            elif (form.get("items") or _other_values(form)).get("x-dsr1-expanded"):
                found.append((*path, ANY))
    return tuple(dict.fromkeys(found))


def expanded_keys() -> list[str]:
    """Return the dotted keys of these values, without :data:`ANY`; N is the number of an item in a list."""
    numbered = (tuple("N" if part == 0 else part for part in path) for path in expanded_paths())
    return list(dict.fromkeys(join_key(path).removesuffix(f".{ANY}") for path in numbered))


def is_expanded(path: Path) -> bool:
    """Return whether ``${VARIABLE}`` is expanded in the value at this path."""
    return is_expanded_whole(path) or (*path[:-1], ANY) in expanded_paths()


def is_expanded_whole(path: Path) -> bool:
    """Return whether this is done for a single value: a path or a host, not a word of a command."""
    return tuple(0 if isinstance(part, int) else part for part in path) in expanded_paths()


extensions.on_change(scenario_schema.cache_clear)
extensions.on_change(expanded_paths.cache_clear)


def describe(schema: Schema) -> str:
    """Return the expected value in words, such as ``a whole number of at least 1``."""
    schema = resolve(schema)
    options = options_of(schema)
    if options:
        return ", or ".join(dict.fromkeys(describe(option) for option in options.values()))
    if WORDS in schema:
        return str(schema[WORDS])
    if "const" in schema:
        return f"'{schema['const']}'"
    if "enum" in schema:
        return _one_of(schema["enum"])
    kind = schema.get("type")
    if kind in {"integer", "number"}:
        return ("a whole number" if kind == "integer" else "a number") + _bounds(schema)
    if kind == "boolean":
        return "true or false"
    if kind == "array":
        least = " of at least one item" if schema.get("minItems") else ""
        return f"a list{least}, each {describe(schema['items'])}"
    if kind == "object":
        return _mapping(schema)
    return _text(schema)


def _one_of(values: Sequence[str]) -> str:
    names = [f"'{value}'" for value in values]
    if len(names) > 10 and tuple(values) not in _choices_of_plugins():
        return f"one of the {len(names)} names in `pytest-dsr1 docs scenario`"
    return f"one of {', '.join(names)}"


@cache
def _choices_of_plugins() -> frozenset[tuple[str, ...]]:
    """Return the choices in the settings of plugins' engines, which no page of ours lists."""

    def choices(part: Schema) -> Iterator[tuple[str, ...]]:
        if isinstance(part.get("enum"), list):
            yield tuple(part["enum"])
        for value in part.values():
            for inner in value if isinstance(value, list) else [value]:
                if isinstance(inner, dict):
                    yield from choices(inner)

    engines = extensions.declared(HOOK, EngineSchema).values()
    theirs = [each.settings for plugin, each in engines if not extensions.is_ours(plugin)]
    return frozenset(choice for settings in theirs for choice in choices(settings.model_json_schema()))


extensions.on_change(_choices_of_plugins.cache_clear)


def _bounds(schema: Schema) -> str:
    low, above = schema.get("minimum"), schema.get("exclusiveMinimum")
    high, below = schema.get("maximum"), schema.get("exclusiveMaximum")
    words = [
        f"of at least {low}" if low is not None else "",
        f"above {above}" if above is not None else "",
        f"at most {high}" if high is not None else "",
        f"below {below}" if below is not None else "",
    ]
    return "".join([" " + " and ".join(word for word in words if word)]) if any(words) else ""


def _mapping(schema: Schema) -> str:
    known = schema.get("properties")
    if known:
        required = [f"`{key}`" for key in schema.get("required", ())]
        return f"a mapping with {', '.join(required)}" if required else "a mapping"
    inner = _other_values(schema)
    return f"a mapping of names to {describe(inner)}" if inner else "a mapping"


def _other_values(schema: Schema) -> Schema:
    """Return the schema of the values of a mapping with free keys; empty if any value is allowed."""
    values = [*schema.get("patternProperties", {}).values(), schema.get("additionalProperties")]
    return next((value for value in values if isinstance(value, dict)), {})


def _text(schema: Schema) -> str:
    if "pattern" in schema:
        return f"text of the form `{schema['pattern']}`"
    return "text that is not empty" if schema.get("minLength") else "text"


def placeholder(schema: Schema) -> Any:
    """Return a valid value, for a key whose own value is wrong."""
    schema = resolve(schema)
    options = options_of(schema)
    if options:
        tag, option = next(iter(options.items()))
        value = placeholder(option)
        return {**value, "type": tag} if "discriminator" in schema else value
    if "const" in schema or "enum" in schema:
        return schema.get("const", schema.get("enum", [None])[0])
    if schema.get("type") == "object":
        known = schema.get("properties", {})
        return {key: placeholder(known[key]) for key in schema.get("required", ())}
    simple: dict[str, Any] = {"integer": 2, "number": 1.0, "boolean": False, "string": "x"}
    return (
        [placeholder(schema["items"])]
        if schema.get("type") == "array"
        else simple.get(schema.get("type", ""))
    )
