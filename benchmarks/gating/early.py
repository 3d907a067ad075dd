"""Simulated gates whose runs end early, by the product's own decision.

The hardest case for it: one request at a time, a second each, so that a run may end after the fewest seconds;
the requests' speeds are the windows of the world, of which neighbours resemble each other.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmarks.gating.study import MOST_RUNS, REFERENCES, Histories, levels
from benchmarks.gating.world import FULL_S, Array, Fleet, World
from pytest_dsr1.gate.noise import Level
from pytest_dsr1.steady.figure import SteadyFigure, steady_figure
from pytest_dsr1.steady.run_length import first_look, may_end, next_look
from pytest_dsr1.steady.trace import Trace, TracedRequest

METRIC = "per_user_output_throughput"
"""Of one user whose requests take a second each it is the throughput, and quicker to compute."""
WARMUP = 1
TOKENS = 1_000_000
"""Of an average request, so that rounding them is nothing."""
STEP = 0.01
"""To so many percent the error at which a run may end is rounded, so that gates share paths."""


def requests_of(windows: Array) -> tuple[TracedRequest, ...]:
    """A request for each second, from the logarithms of the rates."""
    tokens = np.rint(np.exp(windows) * TOKENS).astype(int).tolist()
    return tuple((float(i), None, i + 1.0, 8, count, None) for i, count in enumerate(tokens))


def shown(requests: Sequence[TracedRequest], count: int) -> SteadyFigure:
    """The evidence of a run after so many requests."""
    run = Trace(tuple(requests[:count]), (), 1, 1, False, 0.0)
    return steady_figure(run, METRIC, warmup_requests=WARMUP)


def ends(requests: Sequence[TracedRequest], limits: Sequence[float]) -> list[tuple[int, float]]:
    """Where a run ends for each limit of its error, and its figure there over the whole run's, a logarithm.

    Args:
        requests: of the whole run, whose figure is 1.
        limits: in percent.
    """
    found: dict[float, tuple[int, float]] = {}
    count = first_look(WARMUP, 1)
    while count < len(requests) and len(found) < len(limits):
        seen = shown(requests, count)
        here = count, float(np.log(seen.value / TOKENS))
        found |= {limit: here for limit in limits if limit not in found and may_end(seen, limit)}
        count = next_look(count)
    return [found.get(limit, (len(requests), 0.0)) for limit in limits]


def ended_early(
    world: World, gates: int, seed: int, paths: int
) -> tuple[Histories, Histories, tuple[Level, ...]]:
    """The same gates with full-length runs and with runs that end early, and what their references show.

    References are full-length, as recorded. Each run takes one of so many paths of windows, or that mirrored.
    """
    fleet = Fleet(world, gates, seed)
    references = fleet.history(REFERENCES, FULL_S).figures
    runs = fleet.runs(MOST_RUNS, FULL_S)
    full = Histories(np.exp(references), np.exp(runs.figures), runs.starts, np.full((gates, 1), FULL_S))
    known = levels(full)
    limits, of_gate = np.unique(
        [round(each.small_percent / STEP) * STEP for each in known], return_inverse=True
    )
    drawn = Fleet(world, paths, seed + 1).windows(np.zeros(paths), int(FULL_S))
    table = np.array([ends(requests_of(windows), limits.tolist()) for windows in drawn])
    random = np.random.default_rng(seed)
    path, mirror = random.integers(0, paths, runs.figures.shape), random.choice([-1, 1], runs.figures.shape)
    seconds, shift = np.moveaxis(table[path, of_gate[:, None]], -1, 0)
    early = Histories(full.references, np.exp(runs.figures + mirror * shift), runs.starts, seconds)
    return full, early, known
