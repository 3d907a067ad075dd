"""The options of `llm_api.unchecked`, which are written as they are."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from pytest_dsr1.engines.trtllm_options.options import KEYS_OF_THE_ENGINE, LlmApiOptions
from pytest_dsr1.text import nearest


def with_own_key(options: LlmApiOptions) -> Iterator[tuple[str, str, bool]]:
    """Yield each unchecked option that has a key in a scenario, that key, and whether the key has a value.

    An option whose value its key does not take may be given unchecked, unless the key has a value.
    """
    given = options.model_dump(exclude_none=True)
    for name, value in (options.unchecked or {}).items():
        if name in KEYS_OF_THE_ENGINE:
            yield name, KEYS_OF_THE_ENGINE[name], False
            continue
        found = False
        for path in _paths(name, value):
            if _at(given, path) is not None:
                found = True
                yield ".".join(path), f"engine.llm_api.{'.'.join(path)}", True
            elif _is_taken(path, _at(options.unchecked, path)):
                found = True
                yield ".".join(path), f"engine.llm_api.{'.'.join(path)}", False
        if not found and _is_taken((name,), value):  # only as a whole, such as a mapping with required keys
            yield name, f"engine.llm_api.{name}", False


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


def _is_taken(path: Sequence[str], value: Any) -> bool:
    """Return whether the checked key at this path exists and takes the value."""
    for key in reversed(path):
        value = {key: value}
    try:
        LlmApiOptions.model_validate(value)
    except ValidationError:
        return False
    return True


def reported(options: LlmApiOptions, known: Iterable[str]) -> Iterator[str]:
    """Yield a sentence about each unchecked option, with the nearest known name.

    Args:
        options: the block.
        known: the dotted names of all options.
    """
    names = {name[:end] for name in known for end in (*_dots(name), len(name))}
    for name, value in _unknown(options.unchecked or {}, names, ""):
        if name in names:
            yield f"{name}: the value {value!r} is not known here"
            continue
        level, _, last = name.rpartition(".")
        beside = {one.rpartition(".")[2]: one for one in names if one.rpartition(".")[0] == level}
        anywhere = {one.rpartition(".")[2]: one for one in sorted(names)} | beside
        near = nearest(last, beside) or (last if last in anywhere else None)
        yield f"{name} is not checked" + (f" (did you mean `{anywhere[near]}`?)" if near else "")


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
