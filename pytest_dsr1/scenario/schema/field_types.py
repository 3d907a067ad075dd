"""The fields that another plugin's settings may have, because messages and saved files know their types."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from pytest_dsr1.scenario.schema.base import Part

_TYPES = (
    "bool, int, float, str, Any, a Literal of texts, a class of Part, a list of one of these, or a dict of "
    "them with text as keys; each may also be None"
)


def no_key(name: str, field: FieldInfo, answers: AbstractSet[str]) -> str | None:
    """Return why a field cannot be a key of a scenario, as the end of a sentence; None if it can.

    Args:
        name: of the field.
        field: its declaration.
        answers: the names that a field would hide: what pytest-dsr1 asks of every engine.
    """
    if name in answers:
        return "hides what pytest-dsr1 asks of every engine: rename the field, and answer with a property"
    if field.alias or field.validation_alias:
        return "has an alias; a scenario uses the field's own name"
    return None if _is_known(field.annotation) else f"has a type that a scenario cannot have; use {_TYPES}"


def _is_known(annotation: Any) -> bool:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _is_known(arguments[0])
    if origin is Literal:
        return all(isinstance(each, str) for each in arguments)
    if origin in {Union, UnionType}:
        others = [each for each in arguments if each is not NoneType]
        return len(others) == 1 and _is_known(others[0])
    if origin is list:
        return _is_known(arguments[0])
    if origin is dict:
        key = get_args(arguments[0])[0] if get_origin(arguments[0]) is Annotated else arguments[0]
        return key is str and _is_known(arguments[1])
    if isinstance(annotation, type) and issubclass(annotation, Part):
        return all(_is_known(field.annotation) for field in annotation.model_fields.values())
    return annotation in {bool, int, float, str, Any}
