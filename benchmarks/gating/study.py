"""The gate on simulated fleets, through the product's own decision functions."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

from benchmarks.gating.world import FULL_S, STARTUP_S, Array, Fleet, World
from pytest_dsr1.measurement.run_length import run_length_s
from pytest_dsr1.verdict.gate import BETA, design, look, resolved, worse
from pytest_dsr1.verdict.noise import Level

METRIC = "total_output_throughput"
REFERENCES = 20
MOST_RUNS = 32
"""`gate.max_runs` by default."""
LEAST_S = 120.0
"""Three latencies of the requests that the simulated runs stand for."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What the gate made of many candidates; one value a gate in the arrays.

    Attributes:
        word: 1 FAIL, -1 PASS, 0 INCONCLUSIVE; only of gates that were not refused.
        runs: valid runs that the verdict took.
        gpu_s: seconds of all engine starts, also those that were throttled, start-up included.
        refused: the share of gates whose references did not resolve delta.
    """

    word: Array
    runs: Array
    gpu_s: Array
    refused: float

    @property
    def fail(self) -> float:
        """The share of FAIL."""
        return float((self.word == 1).mean())

    @property
    def passed(self) -> float:
        """The share of PASS."""
        return float((self.word == -1).mean())


def gated_length_s(fleet: Fleet) -> Array:
    """How long a gated run of each gate is measured, from full-length references of its own."""
    full = fleet.history(REFERENCES, FULL_S).figures
    within_variance_s = fleet.squared_errors(REFERENCES, FULL_S).mean(axis=1) * FULL_S
    between = full.var(axis=1, ddof=1) - within_variance_s / FULL_S
    return np.minimum(run_length_s(STARTUP_S, within_variance_s, between, LEAST_S), FULL_S)


def judge(
    world: World,
    delta_percent: float,
    loss_percent: float,
    *,
    alpha: float,
    gates: int,
    seed: int,
    later_days: float = 1.0,
) -> Judged:
    """Gates on candidates that are really slower by so many percent, so many days after the last reference.

    The length of gated runs is found on one history and used on another of the same world, since a figure
    over a part of a run is not drawn here as a part of that over the whole.
    """
    measured_s = gated_length_s(Fleet(world, gates, seed))
    fleet = Fleet(world, gates, seed + 1)
    references = fleet.history(REFERENCES, measured_s).figures
    fleet.days_pass(later_days - 1)
    candidate = fleet.runs(MOST_RUNS, measured_s)
    losses = references.mean(axis=1)[:, None] - candidate.figures + worse(METRIC, loss_percent)
    sd, delta = references.std(axis=1, ddof=1), worse(METRIC, delta_percent)
    resolves = np.array([resolved(_level(1.0), alpha, n) for n in range(2, MOST_RUNS + 1)])
    most = 2 + (resolves[None, :] * sd[:, None] > delta).sum(axis=1)
    word, used = np.zeros(gates), np.zeros(gates)
    for runs in np.unique(most[most <= MOST_RUNS]):
        alive = np.flatnonzero(most == runs)
        plan = design(_level(float(np.median(sd[alive]))), alpha, delta, int(runs))
        for number in range(1, plan.max_runs + 1):
            seen = look(plan, losses[alive, :number], level_sd=sd[alive])
            word[alive], used[alive] = seen.word, number
            alive = alive[seen.word == 0]
    asked = most <= MOST_RUNS
    starts = np.where(np.arange(MOST_RUNS) < used[:, None], candidate.starts, 0.0).sum(axis=1)
    gpu_s = starts * (STARTUP_S + measured_s)
    return Judged(word[asked], used[asked], gpu_s[asked], 1 - float(asked.mean()))


def _level(sd: float) -> Level:
    return Level(0.0, sd, REFERENCES - 1, 1 / REFERENCES, REFERENCES)


def fixed_design_gpu_s(world: World, delta_percent: float, alpha: float) -> float:
    """Of the design that always makes as many full-length runs as both errors need."""
    sd = math.hypot(world.noise / 100, math.sqrt(world.within_variance_s / FULL_S))
    runs = 1
    while True:
        freedom = REFERENCES + runs - 2
        needed = float(student.isf(alpha, freedom) + student.isf(BETA, freedom))
        if needed * sd * math.sqrt(1 / runs + 1 / REFERENCES) <= worse(METRIC, delta_percent):
            return runs * (STARTUP_S + FULL_S)
        runs += 1
