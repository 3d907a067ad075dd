"""The options of `llm_api.unchecked`, which are written as they are."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from pytest_dsr1.engines.trtllm_options.names import NEWEST, OPTIONS
from pytest_dsr1.engines.trtllm_options.options import FORMER_NAMES, KEYS_OF_THE_ENGINE, LlmApiOptions
from pytest_dsr1.text import nearest

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_BLOCK = "engine.llm_api"


def with_own_key(options: LlmApiOptions) -> Iterator[tuple[str, str]]:
    """Yield each unchecked option that has a key in a scenario, and a sentence that names it.

    An option whose value its key does not take may be given unchecked, unless the key has a value.
    """
    given = options.model_dump(exclude_none=True)
    for name, value in (options.unchecked or {}).items():
        if name in KEYS_OF_THE_ENGINE:
            yield name, _write_it(KEYS_OF_THE_ENGINE[name])
            continue
        found = False
        for path in _paths(name, value):
            if sentence := _at_its_key(path, _at(options.unchecked, path), given):
                found = True
                yield ".".join(path), sentence
        if not found and _is_taken((name,), value):  # only as a whole, such as a mapping with required keys
            yield name, _write_it(f"{_BLOCK}.{name}")


def _at_its_key(path: tuple[str, ...], value: Any, given: Mapping[str, Any]) -> str:
    """Return what to write instead of one unchecked value; empty if it may stay.

    Args:
        path: of the value.
        value: the value.
        given: the checked options.
    """
    name = ".".join(path)
    if newest := NEWEST.get(name):
        if _at(given, newest.split(".")) is not None:
            return f"is an older name of `{_BLOCK}.{newest}`, which has a value too; remove one of them"
        return f"is an older name of `{_BLOCK}.{newest}`; write it there"
    if former := FORMER_NAMES.get(path[0]):
        return f"is a name of an older version: {former}"
    if _at(given, path) is not None:
        return f"is also set by `{_BLOCK}.{name}`; remove one of them"
    if _is_taken(path, value):
        return _write_it(f"{_BLOCK}.{name}")
    if place := _right_place(path):
        return f"has no effect here: it belongs in `{_BLOCK}.{place}`"
    return ""


def _write_it(key: str) -> str:
    return f"has a key that is checked: `{key}`; write it there"


def _right_place(path: tuple[str, ...]) -> str | None:
    """Return the name of the option that is meant by a path in a wrong block; None if it may be a new one.

    Only an option of a block at the top level, or one of the top level in a block, is surely in a wrong
    place, and only if no other has its last word. `speculative_config` has options of the draft model with
    the names of the engine's.
    """
    *above, last = path
    homes = [name for name in OPTIONS if name.rpartition(".")[2] == last]
    if ".".join(path) in OPTIONS or "_" not in last or len(homes) != 1:
        return None
    if not above:
        return homes[0]
    known = any(name.startswith(f"{'.'.join(above)}.") for name in OPTIONS)
    return homes[0] if known and above != ["speculative_config"] and "." not in homes[0] else None


def _paths(*start: Any) -> Iterator[tuple[str, ...]]:
    """Yield the paths of the single values in a mapping; the last argument is the mapping."""
    *path, value = start
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _paths(*path, key, inner)
    else:
        yield tuple(path)


def _at(tree: Any, path: Sequence[str]) -> Any:
    for key in path:
        tree = tree.get(key) if isinstance(tree, dict) else None
    return tree


def errors_at(path: Sequence[str], value: Any) -> list[ErrorDetails]:
    """Return what the checked key at this path has against the value; nothing if it takes it."""
    for key in reversed(path):
        value = {key: value}
    try:
        LlmApiOptions.model_validate(value)
    except ValidationError as error:
        return error.errors(include_url=False)
    return []


def _is_taken(path: Sequence[str], value: Any) -> bool:
    """Return whether the checked key at this path exists and takes the value."""
    return not errors_at(path, value)


def reported(options: LlmApiOptions) -> Iterator[tuple[str, str]]:
    """Yield each unchecked option, and a sentence about it, with the nearest known name."""
    names = {name[:end] for name in OPTIONS for end in (*_dots(name), len(name))}
    for name, value in _unknown(options.unchecked or {}, names, ""):
        if name in names:
            missing = " and ".join(_missing(name.split("."), value))
            needs = f"is not checked, because {missing} is missing in `{_BLOCK}`"
            yield name, needs if missing else f"the value {value!r} is not known here"
            continue
        level, _, last = name.rpartition(".")
        beside = {one.rpartition(".")[2]: one for one in names if one.rpartition(".")[0] == level}
        anywhere = {one.rpartition(".")[2]: one for one in sorted(names)} | beside
        near = nearest(last, beside) or (last if last in anywhere else None)
        yield name, "is not checked" + (f" (did you mean `{anywhere[near]}`?)" if near else "")


def _missing(path: Sequence[str], value: Any) -> list[str]:
    """Return the required keys that are missing; none if the key does not take the value anyway."""
    errors = errors_at(path, value)
    missing = all(one["type"] == "missing" for one in errors)
    return [".".join(map(str, one["loc"])) for one in errors] if missing else []


def _dots(name: str) -> list[int]:
    return [index for index, char in enumerate(name) if char == "."]


def _unknown(tree: Mapping[str, Any], names: Container[str], prefix: str) -> Iterator[tuple[str, Any]]:
    """Yield the unchecked options, each by the shortest name that is unknown or has the value."""
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if name in names and isinstance(value, dict) and value:
            yield from _unknown(value, names, f"{name}.")
        else:
            yield name, value
