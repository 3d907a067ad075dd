"""The length of a gated run that costs the least machine time, and the rule for ending a run early."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from statistics import fmean, median
from typing import TYPE_CHECKING

from pytest_dsr1.records import RequestRecord
from pytest_dsr1.steady.figure import NoSteadyFigureError, SteadyFigure, steady_figure
from pytest_dsr1.steady.mser5 import BATCHES
from pytest_dsr1.steady.trace import Trace, traced

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from pytest_dsr1.arrays import Floats

LATENCIES = 3
"""The least length of a window, in request latencies."""
_SLACK = 0.05
"""The part of a wave that may be missing, because latencies and waves are measured and rounded."""
_GROWTH = 1.05
"""The factor by which a run must grow before the next look; all looks then cost about as much as twenty looks
at the end."""
SURE = 1.645
"""Upper limit of a standard error over its estimate from ten batches, in 95% of cases: sqrt(9 / chi-squared
at 5% with 9 degrees of freedom). A run that may stop at any look tends to stop where the estimate is too
small by chance, and correlated requests make all estimates too small. Without this factor, simulated runs
ended with an error of two thirds of the noise instead of one third (docs/background/gate-statistics.md)."""


def run_length_s(
    startup_s: ArrayLike, within_variance_s: ArrayLike, between_variance: ArrayLike, least_s: ArrayLike
) -> Floats:
    """Return the window with the smallest variance for the machine time of many runs, in s; elementwise.

    ``sqrt(startup * within / between)``: the variance of a run's figure is between + within / T, and its cost
    is startup + T (Kalibera & Jones, Rigorous Benchmarking in Reasonable Time, 2013).

    Args:
        startup_s: all time of a run outside its window, in s.
        within_variance_s: relative variance of a figure within a run, times the seconds of its window.
        between_variance: relative variance between runs, without the one within them. If it is not above 0,
            no run is too long and the result is infinity.
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
    runs: Sequence[SteadyFigure],
    *,
    startup_s: float,
    between_variance: float,
    concurrency: int,
    most: int,
    readings_s: float = 0.0,
) -> int:
    """Return how many requests a gated run sends: whole waves, by :func:`run_length_s`.

    Args:
        runs: the references, at their full length.
        startup_s: of a run, in s, without its warm-up and drain.
        between_variance: relative variance between runs, without the one within them.
        concurrency: ``load.concurrency`` of a closed loop; 1 for an open loop.
        most: requests of the recorded runs.
        readings_s: the shortest window with enough readings of the metric, in s.

    Raises:
        NoSteadyFigureError: ``most`` requests are shorter than three request latencies after the warm-up.
    """
    drain = concurrency if concurrency > 1 else 0

    def waves(window_s: Callable[[SteadyFigure], float]) -> int:
        """Return the waves of the median run: some runs have an odd cut, and some are slow as a whole."""
        needed = [
            (drain + (run.requests - drain) * (run.cut_s + window_s(run)) / (run.cut_s + run.window_s))
            for run in runs
        ]
        return math.ceil(median(needed) / concurrency - _SLACK)

    cut_s, latency_s = median(run.cut_s for run in runs), median(run.latency_s for run in runs)
    least = waves(lambda run: LATENCIES * run.latency_s)
    recorded = most // concurrency
    if least > recorded:
        raise NoSteadyFigureError(
            f"runs of {most} requests are too short for a gate: it needs {cut_s:.1f} s of warm-up plus "
            f"{LATENCIES} request latencies ({latency_s:.1f} s each), which takes {least * concurrency} "
            f"requests at load.concurrency {concurrency}; raise load.num_requests and record again"
        )
    within_variance_s = fmean(run.within_variance_s for run in runs)
    not_counted_s = startup_s + cut_s + (latency_s if drain else 0.0)
    least_s = max(LATENCIES * latency_s, readings_s)
    length_s = float(run_length_s(not_counted_s, within_variance_s, between_variance, least_s))
    return concurrency * (
        recorded if math.isinf(length_s) else min(recorded, max(least, waves(lambda _: length_s)))
    )


def first_look(warmup_requests: int, wave: int) -> int:
    """Return the number of requests at the first look: ten batches need at least as many."""
    return warmup_requests + BATCHES * wave


def next_look(requests: int) -> int:
    """Return the number of requests at the look after one at ``requests``."""
    return int(requests * _GROWTH) + 1


def may_end(seen: SteadyFigure, se_percent: float) -> bool:
    """Return whether a run may end early.

    It may if its standard error is certainly below the limit, by all ten batches (fewer often give a small
    error by chance), and its window is at least three request latencies long.

    Args:
        seen: the steady figure so far.
        se_percent: the limit, as a percentage of the value.
    """
    return (
        seen.se_percent * SURE < se_percent
        and len(seen.batches) == BATCHES
        and seen.window_s >= LATENCIES * seen.latency_s
    )


class EnoughSeen:
    """The decision, after each request that ended, whether the run may stop; by :func:`may_end`.

    Requests count up to the first that is still in flight, as in the steady figure of the stopped run.

    Args:
        metric: the gated metric.
        se_percent: the limit, as a percentage of the value.
        concurrency: ``load.concurrency``.
        gpus: tp * pp.
        open_loop: requests come on a schedule.
        warmup_requests: requests at the start that are warm-up in any case.
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
        """Return whether the run may stop after this record."""
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
            seen = steady_figure(run, self._metric, warmup_requests=self._warmup_requests)
        except NoSteadyFigureError:
            return False
        return may_end(seen, self._se_percent)
