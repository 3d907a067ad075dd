"""Simulated gates whose runs end early, by the product's own decision.

This is the hardest case: one request at a time, one second each, so that a run may end after the fewest
seconds. The speeds of the requests are the windows of the world, and neighboring windows are correlated.
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
"""For one user whose requests take a second each, this is the throughput, and quicker to compute."""
WARMUP = 1
TOKENS = 1_000_000
"""Tokens of an average request; at this number rounding does not matter."""
STEP = 0.01
"""The error at which a run may end is rounded to this, in percent, so that gates share paths."""


def requests_of(windows: Array) -> tuple[TracedRequest, ...]:
    """Return one request per second, from the logarithms of the rates."""
    tokens = np.rint(np.exp(windows) * TOKENS).astype(int).tolist()
    return tuple((float(i), None, i + 1.0, 8, count, None) for i, count in enumerate(tokens))


def shown(requests: Sequence[TracedRequest], count: int) -> SteadyFigure:
    """Return the steady figure of a run after ``count`` requests."""
    run = Trace(tuple(requests[:count]), (), 1, 1, False, 0.0)
    return steady_figure(run, METRIC, warmup_requests=WARMUP)


def ends(requests: Sequence[TracedRequest], limits: Sequence[float]) -> list[tuple[int, float]]:
    """Return the end of a run for each limit of its error, with the log of its figure over the whole run's.

    Args:
        requests: of the whole run; its figure is 1.
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
    """Return gates with full-length runs, the same with runs that end early, and the references' levels.

    References are full-length, as recorded. Each run takes one of ``paths`` paths of windows, or its mirror.
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
