"""The end of a running probe: after enough requests, or once its queue only grows."""

from __future__ import annotations

from pytest_dsr1.metrics.inputs import SloLimits
from pytest_dsr1.records import RequestRecord
from pytest_dsr1.search.decision import enough
from pytest_dsr1.search.measured import measured_probe
from pytest_dsr1.search.placing import Plan

_FIRST_LOOK = 100
"""The number of requests at the first look."""
_GROWTH = 1.1
"""The factor by which a probe must grow before the next look; all looks then cost about as much as eleven at
the end."""


class EnoughProbed:
    """The decision, after each request that ended, whether a probe may stop.

    Args:
        plan: of the probe.
        limits: of the SLO.
        goal: the share of requests that must keep them.
        concurrency: of a closed loop; None in an open loop.
    """

    def __init__(self, plan: Plan, limits: SloLimits, goal: float, *, concurrency: int | None) -> None:
        self._plan = plan
        self._limits = limits
        self._goal = goal
        self._concurrency = concurrency
        self._records: list[RequestRecord] = []
        self._next_look = _FIRST_LOOK

    def __call__(self, record: RequestRecord) -> bool:
        """Return whether the probe may stop after this record."""
        self._records.append(record)
        if len(self._records) < self._next_look:
            return False
        self._next_look = int(len(self._records) * _GROWTH) + 1
        probe = measured_probe(
            self._plan.load, self._records, self._limits, self._goal, concurrency=self._concurrency
        )
        return probe.oversaturated or enough(self._plan, probe, self._goal)
