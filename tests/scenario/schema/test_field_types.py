"""Fields of another plugin's settings: which can be keys of a scenario, and what is said of the others."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from pytest_dsr1.scenario.schema.base import ExpandedText, Part, PositiveInt, VariableName
from pytest_dsr1.scenario.schema.engine import EngineSettings, type_of


class Inner(Part):
    """A mapping of its own."""

    size: PositiveInt = 1
    """A size."""


class Odd(Part):
    """A mapping with a field that cannot be a key."""

    where: Path = Path()
    """A path."""


class Color(Enum):
    """Not a type of YAML."""

    RED = "red"


def settings_with(annotation: Any, default: Any = None, name: str = "opt") -> type[EngineSettings]:
    """Return settings of an engine `echo` with one more field, as a plugin declares them."""
    space = {
        "__module__": "acme_dsr1.echo",
        "__qualname__": "EchoSettings",
        "__annotations__": {"type": Literal["echo"], name: annotation},
        name: default,
    }
    return type("EchoSettings", (EngineSettings,), space)


@pytest.mark.parametrize(
    "annotation",
    [
        bool,
        float | None,
        PositiveInt,
        Annotated[str, Field(min_length=1)] | None,
        Literal["a", "b"],
        list[int],
        dict[VariableName, ExpandedText],
        dict[str, list[Inner]],
        Inner | None,
        Any,
    ],
    ids=str,
)
def test_types_of_yaml_are_keys(annotation: Any) -> None:
    assert type_of(settings_with(annotation)) == "echo"


@pytest.mark.parametrize(
    "annotation",
    [
        tuple[int, int],
        Literal[32, 64],
        list[int] | int | None,
        int | str,
        Path,
        Color,
        dict[int, str],
        list[Path],
        Odd,
        set[str],
    ],
    ids=str,
)
def test_other_types_are_refused_when_the_engine_is_listed(annotation: Any) -> None:
    with pytest.raises(
        ValueError, match=r"^the field opt of EchoSettings has a type that a scenario cannot have; "
    ) as caught:
        type_of(settings_with(annotation))
    assert str(caught.value).endswith(
        "; use bool, int, float, str, Any, a Literal of texts, a class of Part, a list of one of these, or a "
        "dict of them with text as keys; each may also be None"
    )


@pytest.mark.parametrize("name", ["slots", "gpus", "software", "streams", "of"])
def test_a_field_that_hides_an_answer_is_refused(name: str) -> None:
    with pytest.warns(UserWarning, match=f'"{name}" in "EchoSettings" shadows an attribute'):
        settings = settings_with(int, 4, name)
    with pytest.raises(ValueError, match=f"the field {name} of EchoSettings hides what") as caught:
        type_of(settings)
    assert str(caught.value).endswith(
        "hides what pytest-dsr1 asks of every engine: rename the field, and answer with a property"
    )


def test_an_alias_is_refused() -> None:
    with pytest.raises(
        ValueError, match="the field opt of EchoSettings has an alias; a scenario uses the field's own name"
    ):
        type_of(settings_with(int, Field(default=1, alias="other")))
