"""The gate on simulated fleets, through the product's own decision functions."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from benchmarks.gating.world import FULL_S, STARTUP_S, Array, Fleet, World
from pytest_dsr1.gate.decision import BETA, Design, look, planned
from pytest_dsr1.gate.noise import Level, level
from pytest_dsr1.steady.run_length import run_length_s
from pytest_dsr1.study.losses import loss, worse

Flags = NDArray[np.bool_]

METRIC = "total_output_throughput"
REFERENCES = 20
MOST_RUNS = 64
"""`gate.max_runs` by default."""
LEAST_S = 120.0
"""Three latencies of the requests that the simulated runs represent."""


@dataclass(frozen=True, slots=True)
class Judged:
    """The verdicts of the gate on many candidates; arrays have one value per gate.

    Attributes:
        decision: 1 FAIL, -1 PASS, 0 INCONCLUSIVE or refused.
        runs: valid runs that the verdict took; 0 if the gate was refused.
        gpu_s: seconds of all engine starts with start-up, including throttled ones.
        asked: which gates were not refused; gates are refused if references do not resolve delta.
        better: which gates reported an improvement.
    """

    decision: Array
    runs: Array
    gpu_s: Array
    asked: Flags
    better: Flags

    @property
    def fail(self) -> float:
        """The share of FAIL among the gates that were judged."""
        return float((self.decision[self.asked] == 1).mean())

    @property
    def fail_of_all(self) -> float:
        """The share of FAIL among all gates; refused gates have shown nothing."""
        return float((self.decision == 1).mean())

    @property
    def passed(self) -> float:
        """The share of PASS among the gates that were judged."""
        return float((self.decision[self.asked] == -1).mean())

    @property
    def refused(self) -> float:
        """The share of gates whose references did not resolve delta."""
        return 1 - float(self.asked.mean())

    @property
    def mean_gpu_s(self) -> float:
        """GPU-seconds of a gate that was judged."""
        return float(self.gpu_s[self.asked].mean())


@dataclass(frozen=True, slots=True)
class Histories:
    """References, and candidates without a loss yet; one row per simulated gate.

    Attributes:
        references: rates, one per day on the gate's node.
        candidates: rates of ``MOST_RUNS`` runs each.
        starts: engine starts that each of these took.
        measured_s: how long each of these is measured; one column if a gate's runs are equally long.
    """

    references: Array
    candidates: Array
    starts: Array
    measured_s: Array


def gated_length_s(fleet: Fleet) -> Array:
    """Return how long a gated run of each gate is measured, from its own full-length references."""
    full = fleet.history(REFERENCES, FULL_S).figures
    within_variance_s = fleet.squared_errors(REFERENCES, FULL_S).mean(axis=1) * FULL_S
    between = full.var(axis=1, ddof=1) - within_variance_s / FULL_S
    return np.minimum(run_length_s(STARTUP_S, within_variance_s, between, LEAST_S), FULL_S)


@lru_cache(maxsize=2)
def histories(
    world: World, gates: int, seed: int, *, later_days: float = 1.0, one_day: bool = False
) -> Histories:
    """Return gates whose candidates run ``later_days`` days after the last reference.

    The length of gated runs is computed on one history and used on another of the same world, because the
    simulation does not draw the figure of a part of a run from that of the whole run.

    Args:
        world: the differences between runs.
        gates: the number of gates.
        seed: of the random numbers.
        later_days: days from the last reference to the candidate.
        one_day: all references are from one day.
    """
    measured_s = gated_length_s(Fleet(world, gates, seed))
    fleet = Fleet(world, gates, seed + 1)
    if one_day:
        references = fleet.runs(REFERENCES, measured_s).figures
        fleet.days_pass(1)
    else:
        references = fleet.history(REFERENCES, measured_s).figures
    fleet.days_pass(later_days - 1)
    candidates = fleet.runs(MOST_RUNS, measured_s)
    return Histories(np.exp(references), np.exp(candidates.figures), candidates.starts, measured_s[:, None])


def levels(found: Histories) -> tuple[Level, ...]:
    """Return the level that the product computes from each gate's references."""
    days = range(REFERENCES)
    return tuple(level(logs, days) for logs in np.log(found.references))


@lru_cache(maxsize=4)
def _plans(known: tuple[Level, ...], delta: float, alpha: float) -> list[Design | None]:
    """Return the design of each gate; None if it is refused."""
    return [planned(each, alpha, delta, MOST_RUNS) for each in known]


def judge(
    found: Histories,
    delta_percent: float,
    loss_percent: float,
    *,
    alpha: float,
    known: tuple[Level, ...] | None = None,
    broken_percent: float = 0.0,
) -> Judged:
    """Judge candidates that are really slower by ``loss_percent``.

    Args:
        found: references and candidates.
        delta_percent: the loss that must not be missed.
        loss_percent: the real one.
        alpha: the planned error.
        known: the levels of these references, if they were computed before.
        broken_percent: the further loss of the first run of each candidate, unseen by telemetry.
    """
    rates = found.candidates * (1 - loss_percent / 100)
    rates[:, 0] *= 1 - broken_percent / 100
    known = known or levels(found)
    delta, gates = worse(METRIC, delta_percent), len(rates)
    plans = _plans(known, delta, alpha)
    losses = loss(METRIC, np.array([each.mean for each in known])[:, None], rates)
    sd = np.array([each.sd for each in known])
    groups: dict[tuple[float, int, int], list[int]] = defaultdict(list)
    for number, plan in enumerate(plans):
        if plan is not None:
            groups[plan.level.shared, plan.level.freedom, plan.max_runs].append(number)
    decision, used, better = np.zeros(gates), np.zeros(gates), np.zeros(gates, bool)
    for members in groups.values():
        plan, alive = plans[members[0]], np.array(members)
        assert plan is not None
        for number in range(1, plan.max_runs + 1):
            seen = look(plan, losses[alive, :number], level_sd=sd[alive])
            decision[alive], used[alive], better[alive] = seen.decision, number, seen.better
            alive = alive[seen.decision == 0]
    made = np.arange(MOST_RUNS) < used[:, None]
    gpu_s = np.where(made, found.starts * (STARTUP_S + found.measured_s), 0.0).sum(axis=1)
    return Judged(decision, used, gpu_s, used > 0, better)


def fixed_design_gpu_s(world: World, delta_percent: float, alpha: float) -> float:
    """Return the GPU-seconds of a design that always makes as many full-length runs as both errors need."""
    sd = math.hypot(world.noise / 100, math.sqrt(world.within_variance_s / FULL_S))
    runs = 1
    while True:
        freedom = REFERENCES + runs - 2
        needed = float(student.isf(alpha, freedom) + student.isf(BETA, freedom))
        if needed * sd * math.sqrt(1 / runs + 1 / REFERENCES) <= worse(METRIC, delta_percent):
            return runs * (STARTUP_S + FULL_S)
        runs += 1
