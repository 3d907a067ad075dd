"""The options file of trtllm-serve as settings of the engine: checked keys where there are any."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from pytest_dsr1.engines.trtllm_options.names import OPTIONS, SWITCHED_ON
from pytest_dsr1.engines.trtllm_options.options import KEYS_OF_THE_ENGINE, LlmApiOptions
from pytest_dsr1.engines.trtllm_options.unchecked import errors_at
from pytest_dsr1.importing.harvest import RefusedError

Path = tuple[str, ...]

_OF_THE_ENGINE = {option: key.removeprefix("engine.") for option, key in KEYS_OF_THE_ENGINE.items()}
_UNCHECKED = "unchecked"
_IS_DEFAULT = ": the file gives it no value, which is the default."
_GRAPHS = "cuda_graph_config"


@dataclass(slots=True)
class ServerOptions:
    """An options file in the scenario's terms.

    Attributes:
        engine: keys of ``engine:`` itself.
        llm_api: ``engine.llm_api``.
        notes: what is said in other words, or not at all.
    """

    engine: dict[str, Any] = field(default_factory=dict)
    llm_api: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def server_options(file: Mapping[str, Any]) -> ServerOptions:
    """Return the settings that make the engine write this options file.

    An option that ``engine.llm_api`` does not know, or whose value it does not take, goes into
    ``engine.llm_api.unchecked`` as it is.

    Raises:
        RefusedError: the options contradict each other.
    """
    found = ServerOptions()
    options = copy.deepcopy(dict(file))
    for option, key in _OF_THE_ENGINE.items():
        if isinstance(options.get(option), int):
            found.engine[key] = options.pop(option)
        elif option in options and options[option] is None:
            del options[option]
            found.notes.append(f"{option}{_IS_DEFAULT}")
    _rename_draft_length(options, found.notes)
    if _GRAPHS in options and options[_GRAPHS] is None:
        options[_GRAPHS] = {"enabled": False}
    unchecked: dict[str, Any] = {_UNCHECKED: options.pop(_UNCHECKED)} if _UNCHECKED in options else {}
    for path in list(_empty(options)):
        taken = _is_known(path)
        if taken:
            found.notes.append(f"{'.'.join(path)}{_IS_DEFAULT}")
        value = _taken(options, path)
        if not taken:
            _put(unchecked, path, value)
    while wrong := _first_wrong(options):
        _put(unchecked, wrong, _taken(options, wrong))
    found.llm_api = options | ({_UNCHECKED: unchecked} if unchecked else {})
    return found


def _rename_draft_length(options: dict[str, Any], notes: list[str]) -> None:
    """Give the draft length of MTP the name that it has since 1.3.

    Raises:
        RefusedError: both names are there, with different values.
    """
    former, now = "num_nextn_predict_layers", "max_draft_len"
    config = options.get("speculative_config")
    if not isinstance(config, dict) or former not in config:
        return
    if config.get(now, config[former]) != config[former]:
        raise RefusedError(
            f"its speculative_config has two draft lengths, {former}: {config[former]} and {now}: "
            f"{config[now]}; which one counts depends on the version of TensorRT-LLM"
        )
    config[now] = config.pop(former)
    notes.append(f"speculative_config.{former} has the name {now} since TensorRT-LLM 1.3.")


def _first_wrong(options: Mapping[str, Any]) -> Path | None:
    """Return the path of the first option that is not a checked key with a value that it takes."""
    try:
        LlmApiOptions.model_validate(options)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        location = first["loc"][:-1] if first["type"] == "missing" else first["loc"]
        return _existing(options, location)
    return None


def _existing(options: Mapping[str, Any], location: tuple[int | str, ...]) -> Path:
    """Return the keys in an error's location, which can also name types and list indexes."""
    path: list[str] = []
    inner: Any = options
    for part in location:
        if isinstance(inner, dict) and part in inner:
            path.append(str(part))
            inner = inner[part]
    return tuple(path)


def _empty(tree: Mapping[str, Any], above: Path = ()) -> Iterator[Path]:
    """Yield the paths of nulls, and of empty mappings that say no more than no key."""
    for key, value in tree.items():
        name = ".".join((*above, key))
        if value is None or (value == {} and name not in OPTIONS and name not in SWITCHED_ON):
            yield (*above, key)
        elif isinstance(value, dict):
            yield from _empty(value, (*above, key))


def _is_known(path: Path) -> bool:
    """Return whether ``engine.llm_api`` has this key."""
    return not any(one["type"] == "extra_forbidden" for one in errors_at(path, None))


def _taken(options: dict[str, Any], path: Path) -> Any:
    """Remove the value at a path, with the mappings that are empty without it, and return it."""
    holders: list[tuple[dict[str, Any], str]] = []
    inner = options
    for key in path:
        holders.append((inner, key))
        inner = inner[key]
    holder, key = holders.pop()
    value = holder.pop(key)
    while holders and not holder:
        holder, key = holders.pop()
        del holder[key]
    return value


def _put(options: dict[str, Any], path: Path, value: Any) -> None:
    """Set the value at a path; a mapping is added to the one that is there."""
    *above, last = path
    for key in above:
        options = options.setdefault(key, {})
    there = options.get(last)
    options[last] = there | value if isinstance(there, dict) and isinstance(value, dict) else value
