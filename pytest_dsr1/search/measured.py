"""The evidence of a measurement: the only place where a search looks at requests of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pytest_dsr1.metrics.goodput import strain
from pytest_dsr1.metrics.inputs import SloLimits
from pytest_dsr1.records import RequestRecord
from pytest_dsr1.search.evidence import Probe, probe_of
from pytest_dsr1.search.saturation import oversaturated


def measured_probe(
    load: float, records: Sequence[RequestRecord], limits: SloLimits, goal: float, *, concurrency: int | None
) -> Probe:
    """Return the evidence of a run's requests, or of those that have ended so far.

    Args:
        load: the probe's load, as its plan gives it.
        records: every request that ended, also failed ones.
        limits: of the SLO.
        goal: the share of requests that must keep them.
        concurrency: of a closed loop; None in an open loop, which may be over-saturated.
    """
    ordered = sorted(records, key=lambda record: record.start_s)
    found = strain(ordered, limits)
    if concurrency is not None:
        return probe_of(load, found, settling=concurrency, draining=concurrency)
    probe = probe_of(load, found)
    start_s = np.array([record.start_s for record in ordered])
    end_s = np.array([record.last_token_s for record in ordered])
    if ordered:  # what ended after the last request came was still open at that time
        end_s[end_s > start_s[-1]] = np.inf
    return replace(probe, oversaturated=oversaturated(start_s, end_s, found, goal))
