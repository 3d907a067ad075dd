"""Building blocks of the scenario schema."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
"""The pattern of a scenario's name."""

WORDS = "x-dsr1-words"
"""In the JSON Schema: the expected value in words, for messages and the reference page."""

PositiveInt = Annotated[int, Field(ge=1)]
ExpandedStr = Annotated[
    str,
    StringConstraints(min_length=1),
    Field(json_schema_extra={"x-dsr1-expanded": True}),
]
"""A path or a host, in which ``${VARIABLE}`` is expanded."""
ExpandedText = Annotated[str, Field(json_schema_extra={"x-dsr1-expanded": True})]
"""A word of a command, or an environment variable, in which ``${VARIABLE}`` is expanded."""

VariableName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]


class Part(BaseModel):
    """A mapping of a scenario file: unknown keys are errors, values are immutable."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )
