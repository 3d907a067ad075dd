"""The decision on greedy answers: do they differ more from the references' than those do from each other?

The agreement of two answers is the length of their common prefix, as a share of the longer one. Engine starts
differ a little (another kernel is chosen, so a near tie is decided otherwise), so answers differ between
references as well. A candidate FAILs only if both hold:

1. over the prompts: its mean agreement with the references is below that of the references among themselves,
   by a paired one-sided t test;
2. over the runs: its mean is below the references' own means by more than the prediction limit of one more
   run, by Student's t.

Assumption: starts of the candidate vary as those of the references did. docs/background/gate-statistics.md
has the simulations.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import stdtrit

if TYPE_CHECKING:
    from pytest_dsr1.arrays import Floats

ALPHA_PROMPTS, ALPHA_RUNS = 0.025, 0.005
"""The errors of the two tests, one-sided. Both must hold, so below 0.5% of simulated innocent starts fail.
With 0.5% over the prompts too, 68% of models that change 30% of 32 answers are found, instead of 95%."""
LEAST_RUNS = 3
"""Fewer references do not show how much starts differ."""
_ROUNDING = 1e-9
"""A smaller difference of mean agreements is rounding."""

Text = tuple[int, ...] | str
"""An answer: token ids, or text."""


def agreement(one: Text, other: Text) -> float:
    """Return the length of the common prefix of two answers of one kind, as a share of the longer one."""
    longer = max(len(one), len(other))
    return same_from_start(one, other) / longer if longer else 1.0


def same_from_start(one: Text, other: Text) -> int:
    """Return the length of the common prefix of two answers, in tokens or characters."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((index for index, (left, right) in pairs if left != right), min(len(one), len(other)))


def agreements(answers: Sequence[Sequence[Text]]) -> Floats:
    """Return the agreement of each run with each other run, on each prompt: runs x runs x prompts.

    Args:
        answers: by run, then by prompt; all of one kind.
    """
    runs, prompts = len(answers), len(answers[0])
    found = np.ones((runs, runs, prompts))
    for i, one in enumerate(answers):
        for j, other in enumerate(answers[:i]):
            found[i, j] = found[j, i] = [agreement(*pair) for pair in zip(one, other, strict=True)]
    return found


@dataclass(frozen=True, slots=True)
class Decision:
    """The decision on the answers of one run.

    Attributes:
        mean: how far its answers agree with the references', from 0 to 1.
        among_references: how far the references agree with each other.
        least: the prediction limit: the least mean of one more run like the references.
        t: the statistic over the prompts; negative if the candidate agrees less.
        t_limit: t below which the prompts show a difference; negative.
    """

    mean: float
    among_references: float
    least: float
    t: float
    t_limit: float

    @property
    def differ(self) -> bool:
        """Whether the answers differ by more than those of the references: over prompts and over runs."""
        return self.t < self.t_limit and self.mean < self.least


def decide(found: Floats) -> Decision:
    """Decide on the first run; the others are references.

    Args:
        found: the agreement of each run with each other run on each prompt, at least 4 runs and 2 prompts.
    """
    references = len(found) - 1
    candidate = found[0, 1:].mean(axis=0)
    among = found[1:, 1:]
    # Each reference agrees with itself; it is left out.
    own = (among.sum(axis=1) - 1) / (references - 1)
    means = own.mean(axis=1)
    spread = float(means.std(ddof=1))
    farthest = float(stdtrit(references - 1, 1 - ALPHA_RUNS)) * spread * math.sqrt(1 + 1 / references)
    return Decision(
        mean=float(candidate.mean()),
        among_references=float(means.mean()),
        least=float(means.mean()) - farthest,
        t=_paired(candidate - own.mean(axis=0)),
        t_limit=-float(stdtrit(len(candidate) - 1, 1 - ALPHA_PROMPTS)),
    )


def _paired(differences: Floats) -> float:
    """Return Student's t of the mean of paired differences; infinite if they are all equal and not 0."""
    mean, spread = float(differences.mean()), float(differences.std(ddof=1))
    if abs(mean) < _ROUNDING:
        return 0.0
    if spread < _ROUNDING:
        return math.copysign(math.inf, mean)
    return mean / spread * math.sqrt(len(differences))
