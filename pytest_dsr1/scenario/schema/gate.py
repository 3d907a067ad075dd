"""The part of the schema that `--dsr1-gate` and `--dsr1-reference` read."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pytest_dsr1.metrics.catalogue import GATEABLE
from pytest_dsr1.scenario.schema.base import Part, PositiveInt

LARGEST_DELTA_PERCENT = 50

GatedMetricName = Literal[GATEABLE]  # type: ignore[valid-type]


class GateSettings(Part):
    """The comparison with accepted references, by `--dsr1-gate`."""

    metric: GatedMetricName | None = None
    """What is gated; by default the metric of the first target."""
    delta_percent: Annotated[float, Field(gt=0, le=LARGEST_DELTA_PERCENT)] = 2.0
    """The loss that must not be missed, in percent of the references' mean."""
    presumed_noise_percent: Annotated[float, Field(gt=0, le=50)] = 1.0
    """The standard deviation between engine starts that is presumed while there are no references, in percent."""  # noqa: E501
    max_runs: Annotated[int, Field(ge=2, le=100)] = 64
    """The most engine starts of one gate; undecided after them is INCONCLUSIVE."""
    warmup_requests: PositiveInt | None = None
    """Measured requests at the start of a run that are never evidence; by default `load.concurrency`. What else is warm-up is found by MSER-5."""  # noqa: E501
    under_test: dict[str, bool] = Field(default_factory=dict)
    """Facts of the fingerprint (`*` stands for any text) that may differ from the references (`true`) or must not (`false`), where that is not the default."""  # noqa: E501
