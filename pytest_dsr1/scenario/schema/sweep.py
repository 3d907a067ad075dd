"""The part of the scenario schema about sweeps."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, WithJsonSchema

from pytest_dsr1.scenario.schema.base import WORDS, Part
from pytest_dsr1.scenario.schema.metric_name import MetricName

Sweep = Annotated[
    None,
    WithJsonSchema(
        {
            "anyOf": [
                {
                    "oneOf": [
                        {
                            "type": "object",
                            "additionalProperties": {"type": "array", "minItems": 1},
                            WORDS: "a mapping of keys to lists of values",
                        },
                        {
                            "type": "array",
                            "minItems": 1,
                            "items": {"type": "object", "minProperties": 1},
                            WORDS: "a list of mappings of keys to values",
                        },
                    ]
                },
                {"type": "null"},
            ]
        }
    ),
]
"""Its points are scenarios of their own (:mod:`pytest_dsr1.scenario.sweep`), which have none."""


PROBE = "search-"
"""How the labels of a search's probes begin, and no others."""


class Frontier(Part):
    """A figure that the curve of a sweep must reach; it becomes one test `frontier[...]`."""

    at: Annotated[float, Field(gt=0)]
    """Where the curve is read: a value of `of`, in its unit."""
    of: MetricName = "per_user_output_throughput"
    """The metric across the curve."""
    metric: MetricName = "per_gpu_output_throughput"
    """The metric that is judged there. Between two measured points it is interpolated on a straight line in logarithms; beyond them nothing is judged."""  # noqa: E501
    value: Annotated[float, Field(gt=0)]
    """The expected value, in the metric's unit."""
    tolerance_percent: Annotated[float, Field(ge=0, lt=100)] = 5.0
    """A result passes if it is worse than `value` by at most this many percent."""
    note: str | None = None
    """The source of the value."""


class Point(Part):
    """Which point of which sweep this is; written by pytest-dsr1."""

    sweep: str
    """The name of the sweep."""
    label: str
    """The point's values, as in test ids."""
    values: dict[str, Any]
    """The values that the point sets, by dotted key."""

    @property
    def is_probe(self) -> bool:
        """Whether it is a probe of a search."""
        return self.label.startswith(PROBE)
