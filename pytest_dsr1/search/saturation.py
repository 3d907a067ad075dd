"""The rule that stops a hopeless probe: more requests come than go, and those that end are late."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pytest_dsr1.arrays import Floats

BLOCKS = 8
"""The probe so far is divided into this many blocks of requests."""
_DISORDER = 2
"""At most this many of the 28 pairs of blocks may be in the wrong order. If blocks come in any order with the
same probability, 35 of 40,320 orders pass (0.09%), as Mann and Kendall count them."""
_LEAST_REQUESTS = 10 * BLOCKS
_LATE = 2.0
_RARE = 1e-4
"""Half of the newest requests that ended must have taken ``_LATE`` times their limits, and so long that only
``_RARE`` of all requests would in a queue that just keeps the goal: its times have an exponential tail."""
FALSE_ALARM = 0.001
"""The largest probability that a probe of a load that keeps the goal is stopped; measured, see
docs/background/gate-statistics.md."""


def oversaturated(start_s: Floats, end_s: Floats, strain: Floats, goal: float) -> bool:
    """Return whether a running open loop has no chance to keep its SLO.

    Args:
        start_s: when each request was due, in s, rising.
        end_s: when each ended, in s; infinity for one that has not.
        strain: of each, the largest of its times over their limits; those that have not ended are not looked
            at.
        goal: the share of requests that must keep the limits.
    """
    if len(start_s) < _LEAST_REQUESTS:
        return False
    waiting = np.arange(len(start_s)) - np.searchsorted(np.sort(end_s), start_s)
    first = len(start_s) // (BLOCKS + 1)  # begins with an empty queue, which must fill in any case
    levels = np.array([block.mean() for block in np.array_split(waiting[first:], BLOCKS)])
    pairs = np.subtract.outer(levels, levels)[np.tril_indices(BLOCKS, -1)]
    if (pairs <= 0).sum() > _DISORDER:
        return False
    ended = np.flatnonzero(np.isfinite(end_s))
    newest = ended[np.argsort(end_s[ended])][len(ended) // 2 :]
    late = max(_LATE, math.log(_RARE) / math.log(1 - goal))
    return len(newest) >= _LEAST_REQUESTS // 2 and bool(np.median(strain[newest]) >= late)
