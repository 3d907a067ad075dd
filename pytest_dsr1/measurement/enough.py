"""When a run has shown what it should: for engines that can stop before the last request."""

from __future__ import annotations

from dataclasses import replace

from pytest_dsr1.engines.base import RequestRecord
from pytest_dsr1.measurement.evidence import NoEvidenceError, evidence
from pytest_dsr1.measurement.run_length import LATENCIES
from pytest_dsr1.measurement.trace import Trace, traced
from pytest_dsr1.measurement.warmup import BATCHES

_GROWTH = 1.05
"""By how much the run must have grown before it is looked at again; so all looks together cost about as much
as twenty at the end."""


class EnoughSeen:
    """Told of each request that ended; says whether the run may stop.

    It may where the requests so far are evidence whose standard error is below the limit, from all ten
    batches (few batches state a small error too often by chance), with three request latencies in its window.
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
        self._next_look = warmup_requests + BATCHES * self._empty.wave

    def __call__(self, record: RequestRecord) -> bool:
        """Whether the run may stop after this record."""
        self._later[record.id] = record
        while (following := self._later.pop(len(self._first), None)) is not None:
            self._first.append(following)
        if len(self._first) < self._next_look:
            return False
        self._next_look = int(len(self._first) * _GROWTH) + 1
        return self._enough()

    def _enough(self) -> bool:
        run = replace(self._empty, requests=traced(self._first, self._first[0].start_s))
        try:
            seen = evidence(run, self._metric, warmup_requests=self._warmup_requests)
        except NoEvidenceError:
            return False
        return (
            seen.se_percent < self._se_percent
            and len(seen.batches) == BATCHES
            and seen.window_s >= LATENCIES * seen.latency_s
        )
