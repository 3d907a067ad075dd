"""How long a gated run is, so that a verdict costs the least machine time."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import fmean, median
from typing import TYPE_CHECKING

from pytest_dsr1.steady.figure import Evidence, NoEvidenceError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray

LATENCIES = 3
"""Request latencies that a window holds at least."""
_SLACK = 0.05
"""The part of a wave that may be missing: latencies and waves are measured, and differ by their rounding."""


def run_length_s(
    startup_s: ArrayLike, within_variance_s: ArrayLike, between_variance: ArrayLike, least_s: ArrayLike
) -> NDArray[np.float64]:
    """The window that gives the smallest variance for the machine time of many runs, in s; elementwise.

    ``sqrt(startup * within / between)``: the variance of a run's figure is between + within / T, and its cost
    is startup + T (Kalibera & Jones, Rigorous Benchmarking in Reasonable Time, 2013).

    Args:
        startup_s: all time of a run that is not in its window, in s.
        within_variance_s: relative variance of a figure within a run, times the seconds of its window.
        between_variance: relative variance between runs, without what is within them. Where it is not above 0
            no run is too long, and the answer is infinity.
        least_s: the shortest window, in s.
    """
    import numpy as np

    startup, within, between = (
        np.asarray(startup_s),
        np.asarray(within_variance_s),
        np.asarray(between_variance),
    )
    seen = between > 0
    best_s = np.where(seen, np.sqrt(startup * within / np.where(seen, between, 1.0)), np.inf)
    return np.maximum(best_s, least_s)


def gated_requests(
    runs: Sequence[Evidence], *, startup_s: float, between_variance: float, concurrency: int, most: int
) -> int:
    """How many requests a gated run sends: whole waves, by :func:`run_length_s`.

    Args:
        runs: the references, at their full length.
        startup_s: of a run, in s; what its warm-up and drain take is added here.
        between_variance: relative variance between runs, without what is within them.
        concurrency: ``load.concurrency`` of a closed loop; 1 for an open loop.
        most: requests of the recorded runs.

    Raises:
        NoEvidenceError: in ``most`` requests there are not three request latencies after the warm-up.
    """
    drain = concurrency if concurrency > 1 else 0

    def waves(window_s: Callable[[Evidence], float]) -> int:
        """Of the median run: some have an odd cut, and some are slow as a whole."""
        needed = [
            (drain + (run.requests - drain) * (run.cut_s + window_s(run)) / (run.cut_s + run.window_s))
            for run in runs
        ]
        return math.ceil(median(needed) / concurrency - _SLACK)

    cut_s, latency_s = median(run.cut_s for run in runs), median(run.latency_s for run in runs)
    least = waves(lambda run: LATENCIES * run.latency_s)
    recorded = most // concurrency
    if least > recorded:
        raise NoEvidenceError(
            f"runs of {most} requests are too short for a gate: {LATENCIES} request latencies "
            f"({latency_s:.1f} s each) after {cut_s:.1f} s of warm-up take {least * concurrency} "
            f"requests at load.concurrency {concurrency}; raise load.num_requests and record anew"
        )
    within_variance_s = fmean(run.within_variance_s for run in runs)
    not_counted_s = startup_s + cut_s + (latency_s if drain else 0.0)
    least_s = LATENCIES * latency_s
    length_s = float(run_length_s(not_counted_s, within_variance_s, between_variance, least_s))
    return concurrency * (
        recorded if math.isinf(length_s) else min(recorded, max(least, waves(lambda _: length_s)))
    )
