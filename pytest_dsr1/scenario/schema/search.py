"""The part of the scenario schema about a search for the highest load."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from pytest_dsr1.metrics.catalogue import AT_SLO
from pytest_dsr1.scenario.schema.base import Part, PositiveInt
from pytest_dsr1.scenario.schema.load import Rate

WARM_UP_SHARE = 0.1
"""The part of a probe's first requests that is not counted: they meet an emptier queue than later ones."""
LEAST_KEPT = 1000
"""A shorter probe is not said to keep the goal: it may not have met the first cluster of misses yet."""
_WITHOUT_MISS = 9
"""A load is not said to keep a high goal after fewer than this many times 1 / (1 - goal) requests."""


class SearchedLoad(Part):
    """What a search varies: one of the two."""

    concurrency: list[PositiveInt] | None = None
    """The lowest and the highest `load.concurrency` of a closed loop: `[1, 2048]`."""
    rate: list[Rate] | None = None
    """The lowest and the highest `load.arrival.rate_req_s` of an open loop: `[0.5, 64]`."""


def _with_dotted_keys(schema: dict[str, Any]) -> None:
    """Let editors accept the dotted keys, which the loader puts into ``load``."""
    schema["patternProperties"] = {r"^load\.(concurrency|rate)$": {"type": "array"}}
    schema.pop("required")


class Search(Part):
    """A search for the highest load that keeps a service level; it becomes a test `search[...]`."""

    model_config = ConfigDict(json_schema_extra=_with_dotted_keys)

    load: SearchedLoad
    """The range, also written `load.concurrency: [1, 2048]` or `load.rate: [0.5, 64]`."""
    slo: Literal["mlperf-server", "mlperf-interactive"] | None = None
    """A preset of `slo`; by default the scenario's own `slo`."""
    goal: Annotated[float, Field(gt=0, lt=1)] = 0.99
    """The share of requests that must keep every limit."""
    width_percent: Annotated[float, Field(gt=0)] = 5.0
    """The width of the interval at which the search ends, as a percentage of its lower end; at least one step of the concurrency."""  # noqa: E501
    most_requests: PositiveInt = 100_000
    """The most requests of one probe."""
    at_least: Annotated[float, Field(gt=0)] | None = None
    """The target: the highest load must be at least this. Without it the result is MEASURED."""
    throughput_at_least: Annotated[float, Field(gt=0)] | None = None
    """The target of `throughput_at_slo`, in tok/s; it becomes a test of its own."""

    @property
    def whole(self) -> bool:
        """Whether loads are whole numbers."""
        return self.load.rate is None

    @property
    def key(self) -> str:
        """The key that is searched."""
        return "load.concurrency" if self.whole else "load.rate"

    @property
    def metric(self) -> str:
        """The name of the highest load."""
        return "highest_concurrency" if self.whole else "highest_rate"

    @property
    def metrics(self) -> tuple[str, str]:
        """The names of all results."""
        return self.metric, AT_SLO

    @property
    def targets(self) -> dict[str, float | None]:
        """The least value of each result that has a test; the highest load has one without a target too."""
        throughput = self.throughput_at_least
        return {self.metric: self.at_least} | ({} if throughput is None else {AT_SLO: throughput})

    @property
    def ends(self) -> tuple[float, float]:
        """The lowest and the highest load."""
        low, high = self.load.rate or self.load.concurrency or (0.0, 0.0)
        return low, high

    @property
    def least_requests(self) -> int:
        """The fewest requests with which a probe of the lowest load can show that it keeps the goal."""
        counted = max(LEAST_KEPT, _WITHOUT_MISS / (1 - self.goal))
        at_once = (self.load.concurrency or [0])[0]  # in a closed loop, as many at both ends do not count
        return math.ceil(max((counted + at_once) / (1 - WARM_UP_SHARE), counted + 2 * at_once))
