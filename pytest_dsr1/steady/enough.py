"""When a run has shown what it should: for engines that can stop before the last request."""

from __future__ import annotations

from dataclasses import replace

from pytest_dsr1.records import RequestRecord
from pytest_dsr1.steady.figure import Evidence, NoEvidenceError, evidence
from pytest_dsr1.steady.mser5 import BATCHES
from pytest_dsr1.steady.run_length import LATENCIES
from pytest_dsr1.steady.trace import Trace, traced

_GROWTH = 1.05
"""By how much the run must have grown before it is looked at again; so all looks together cost about as much
as twenty at the end."""
SURE = 1.645
"""A standard error is at most so many times what ten batches state, in 95% of cases: sqrt(9 / chi-squared at
5% with 9 degrees of freedom). Who looks often and stops at the first small one finds those that are stated
too small, and where neighbouring requests resemble each other all are. Without this, simulated runs ended
with an error of two thirds of the noise where a third was meant (docs/background/gate-statistics.md)."""


def first_look(warmup_requests: int, wave: int) -> int:
    """The number of requests at which a run is looked at first: ten batches need no fewer."""
    return warmup_requests + BATCHES * wave


def next_look(requests: int) -> int:
    """The number of requests at which a run that was looked at with so many is looked at again."""
    return int(requests * _GROWTH) + 1


def may_end(seen: Evidence, se_percent: float) -> bool:
    """Whether a run that has shown so much may end.

    It may where its standard error is surely below the limit, from all ten batches (few batches state a small
    error too often by chance), with three request latencies in its window.

    Args:
        seen: the evidence so far.
        se_percent: the limit, in percent of the value.
    """
    return (
        seen.se_percent * SURE < se_percent
        and len(seen.batches) == BATCHES
        and seen.window_s >= LATENCIES * seen.latency_s
    )


class EnoughSeen:
    """Told of each request that ended; says whether the run may stop, by :func:`may_end`.

    Only the first requests without a gap count, as later in the evidence: what is in flight is given up.

    Args:
        metric: what is gated.
        se_percent: the limit, in percent of the value.
        concurrency: ``load.concurrency``.
        gpus: tp * pp.
        open_loop: requests come on a schedule.
        warmup_requests: the first so many requests are warm-up in any case.
    """

    def __init__(
        self,
        metric: str,
        se_percent: float,
        *,
        concurrency: int,
        gpus: int,
        open_loop: bool,
        warmup_requests: int,
    ) -> None:
        self._metric = metric
        self._se_percent = se_percent
        self._empty = Trace((), (), concurrency, gpus, open_loop, 0.0)
        self._warmup_requests = warmup_requests
        self._first: list[RequestRecord] = []
        self._later: dict[int, RequestRecord] = {}
        self._next_look = first_look(warmup_requests, self._empty.wave)

    def __call__(self, record: RequestRecord) -> bool:
        """Whether the run may stop after this record."""
        self._later[record.id] = record
        while (following := self._later.pop(len(self._first), None)) is not None:
            self._first.append(following)
        if len(self._first) < self._next_look:
            return False
        self._next_look = next_look(len(self._first))
        return self._enough()

    def _enough(self) -> bool:
        run = replace(self._empty, requests=traced(self._first, self._first[0].start_s))
        try:
            seen = evidence(run, self._metric, warmup_requests=self._warmup_requests)
        except NoEvidenceError:
            return False
        return may_end(seen, self._se_percent)
