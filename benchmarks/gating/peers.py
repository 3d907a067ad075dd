"""Rules of other projects, and the gate, on the simulated fleets of the gate's own tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.gating.rules import (
    TRTLLM_DAYS,
    TRTLLM_POST_MERGE,
    TRTLLM_PRE_MERGE,
    Flags,
    compare_fail,
    trtllm,
    welch,
)
from benchmarks.gating.study import histories, judge, levels
from benchmarks.gating.world import FULL_S, STARTUP_S, WORLDS, Array, Fleet, World
from pytest_dsr1.gate.decision import alpha

DELTAS = {0.2: 1.0, 0.5: 1.5, 1.0: 2.0, 2.0: 5.0}
"""The loss that the gate must not miss, by the noise between starts; both in percent."""
LOSSES = (2.0, 5.0, 10.0)
STEP = 5.0
LATER_DAYS = 95
GPUS = 8
WINDOWED = 4_000
"""The number of simulated gates whose windows are drawn."""
_SEED = 80
_FEW = 5


@dataclass(frozen=True, slots=True)
class Seen:
    """The data for rules on one day; one row per simulated gate. Windows have fewer gates.

    Attributes:
        history: rates, one per day on any node; the last one is from yesterday.
        stored: the last 5 rates from before the change; the last of them is the pinned run.
        stored_windows: rates of the pinned run in each second.
        candidate: 5 rates of today, on the gate's node. Most rules take the first one.
        windows: rates of the first candidate in each second.
    """

    history: Array
    stored: Array
    stored_windows: Array
    candidate: Array
    windows: Array

    def slower(self, percent: float) -> Seen:
        """Return the same data with a candidate that has lost this much."""
        left = 1 - percent / 100
        return replace(self, candidate=self.candidate * left, windows=self.windows * left)


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule of another project.

    Attributes:
        name: as printed.
        runs: the engine starts of a candidate that it needs.
        fails: returns which candidates it flags.
    """

    name: str
    runs: int
    fails: Callable[[Seen], Flags]


RULES = (
    Rule(
        "TensorRT-LLM post-merge, 5% (warns)",
        1,
        lambda seen: trtllm(seen.history, seen.candidate[:, 0], TRTLLM_POST_MERGE),
    ),
    Rule(
        "TensorRT-LLM pre-merge, 10%",
        1,
        lambda seen: trtllm(seen.history, seen.candidate[:, 0], TRTLLM_PRE_MERGE),
    ),
    Rule(
        "pytest-benchmark mean:5%, last run",
        1,
        lambda seen: compare_fail(1 / seen.candidate[:, 0], 1 / seen.history[:, -1], 5),
    ),
    Rule(
        "pytest-benchmark mean:5%, pinned run",
        1,
        lambda seen: compare_fail(1 / seen.candidate[:, 0], 1 / seen.stored[:, -1], 5),
    ),
    Rule(
        "pytest-benchmark min:5%, pinned run",
        1,
        lambda seen: compare_fail(1 / seen.windows.max(axis=-1), 1 / seen.stored_windows.max(axis=-1), 5),
    ),
    Rule("Welch on requests, p < 1%", 1, lambda seen: welch(seen.windows, seen.stored_windows)),
    Rule("Welch on runs, 5 v 5, p < 1%", _FEW, lambda seen: welch(seen.candidate, seen.stored)),
)


@dataclass(frozen=True, slots=True)
class Row:
    """A rule at one noise; all shares are of verdicts.

    Attributes:
        noise: between engine starts, in percent.
        delta: the loss that must not be missed, in percent.
        rule: its name.
        innocent: FAIL without a loss.
        at_delta: FAIL at a loss of delta.
        at: FAIL at each of ``LOSSES``.
        later: FAIL 95 days after the last run before a step.
        gpu_s: GPU-seconds of a verdict without a loss.
        gpu_s_at_delta: GPU-seconds of a verdict at a loss of delta.
        replicates: the number of simulated gates.
        refused: the share of gates that refuse to judge; other numbers exclude them. None for rules that
            never refuse.
    """

    noise: float
    delta: float
    rule: str
    innocent: float
    at_delta: float
    at: tuple[float, ...]
    later: float
    gpu_s: float
    gpu_s_at_delta: float
    replicates: int
    refused: float | None = None


def days(world: World, gates: int) -> tuple[Seen, Seen]:
    """Return the day of a change, still without its loss, and the day 95 days after the last run before it.

    The later day includes a step: every run since the change is slower, and so is the candidate.
    """
    fleet = Fleet(world, gates, _SEED)
    before = np.exp(fleet.history(TRTLLM_DAYS, FULL_S, any_node=True, watched=False).figures)
    windowed = slice(min(gates, WINDOWED))
    stored_windows = np.exp(fleet.windows(np.log(before[windowed, -1]), int(FULL_S)))

    def today(history: Array) -> Seen:
        figures = fleet.runs(_FEW, FULL_S, watched=False).figures
        windows = np.exp(fleet.windows(figures[windowed, 0], int(FULL_S)))
        return Seen(history, before[:, -_FEW:], stored_windows, np.exp(figures), windows)

    first = today(before)
    since = np.exp(fleet.history(LATER_DAYS - 1, FULL_S, any_node=True, watched=False).figures)
    later = today(np.hstack([before, since * (1 - STEP / 100)])).slower(STEP)
    return first, later


def rows(gates: int) -> Iterator[Row]:
    """Yield the rows of all rules and the gate, at each noise."""
    for noise, world in WORLDS.items():
        delta = DELTAS[noise]
        first, later = days(world, gates)
        for rule in RULES:
            innocent = rule.fails(first)
            at = [float(rule.fails(first.slower(loss)).mean()) for loss in (delta, *LOSSES)]
            gpu_s = GPUS * rule.runs * (STARTUP_S + FULL_S)
            yield Row(
                noise,
                delta,
                rule.name,
                float(innocent.mean()),
                at[0],
                tuple(at[1:]),
                float(rule.fails(later).mean()),
                gpu_s,
                gpu_s,
                len(innocent),
            )
        yield _gate(world, delta, gates)


def _gate(world: World, delta: float, gates: int) -> Row:
    planned = alpha(1)
    found, then = (histories(world, gates, _SEED, later_days=float(days)) for days in (1, LATER_DAYS))
    known = levels(found)
    judged = [judge(found, delta, loss, alpha=planned, known=known) for loss in (0.0, delta, *LOSSES)]
    later = judge(then, delta, STEP, alpha=planned)
    return Row(
        world.noise,
        delta,
        f"this gate, delta {delta:g}%",
        judged[0].fail,
        judged[1].fail,
        tuple(each.fail for each in judged[2:]),
        later.fail,
        GPUS * judged[0].mean_gpu_s,
        GPUS * judged[1].mean_gpu_s,
        int(judged[0].asked.sum()),
        judged[0].refused,
    )
