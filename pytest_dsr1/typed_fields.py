"""The check of a dataclass's fields against their declared types, without pydantic."""

from __future__ import annotations

import builtins
import sys
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from dataclasses import fields, is_dataclass
from inspect import get_annotations
from types import NoneType, UnionType
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin


class WrongField(NamedTuple):
    """A field whose value is not of its declared type.

    Attributes:
        name: of the field.
        found: its value.
        expected: its declared type, in words.
    """

    name: str
    found: object
    expected: str


def wrong_fields(value: object) -> Iterator[WrongField]:
    """Yield each field of a dataclass whose value is not of its declared type.

    A list passes for a tuple, and a set for a frozenset. A function's arguments are not looked at.
    """
    for field in fields(value):  # type: ignore[arg-type]
        declared, found = _declared(type(value), field.name), getattr(value, field.name)
        if not _is(found, declared):
            yield WrongField(field.name, found, _in_words(declared))


class _Names(dict[str, Any]):
    """The names of a module; one that it imports only for the type checker stands for any value."""

    def __missing__(self, name: str) -> Any:
        return getattr(builtins, name, Any)


def _declared(kind: type, name: str) -> Any:
    owner = next(each for each in kind.__mro__ if name in get_annotations(each))
    hint = get_annotations(owner)[name]
    names = _Names(vars(sys.modules[owner.__module__]))
    return eval(hint, {}, names) if isinstance(hint, str) else hint  # noqa: S307 - a dataclass's own text


def _is(value: object, hint: Any) -> bool:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return isinstance(value, str) and value in arguments
    if origin in {Union, UnionType}:
        return any(_is(value, each) for each in arguments)
    if origin in {tuple, frozenset}:
        kinds = (tuple, list) if origin is tuple else AbstractSet
        return isinstance(value, kinds) and all(_is(each, arguments[0]) for each in value)
    if origin is type:
        return isinstance(value, type) and issubclass(value, arguments[0])
    if origin is Callable:
        return callable(value)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if not isinstance(hint, type):
        return hint is not None or value is None
    return isinstance(value, hint) and not (is_dataclass(hint) and any(wrong_fields(value)))


_WORDS = {str: "a text", bool: "True or False", float: "a number", None: "None", NoneType: "None"}


def _in_words(hint: Any) -> str:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return " or ".join(map(repr, arguments))
    if origin in {Union, UnionType}:
        return " or ".join(map(_in_words, arguments))
    if origin in {tuple, frozenset}:
        return f"a {'tuple' if origin is tuple else 'set'} of {_in_words(arguments[0])}"
    if origin is type:
        return f"a class of {arguments[0].__name__}"
    return "a function" if origin is Callable else _WORDS.get(hint) or hint.__name__
