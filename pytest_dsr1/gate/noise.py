"""The level of accepted references, the noise between engine starts, and how certain the noise is."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import chdtri, fdtrc

from pytest_dsr1.study.losses import RESOLUTION

_VISIBLE = 0.05
"""A difference counts as real if the p value of its F test is below this."""

_MORE = 0.01
"""The same for a difference that only causes a warning."""


@dataclass(frozen=True, slots=True)
class Level:
    """The references of one gate, on the scale of natural logarithms.

    Attributes:
        mean: of the references.
        sd: the standard deviation between engine starts.
        freedom: the degrees of freedom of ``sd``.
        shared: the variance that more runs of a candidate do not lower, in units of ``sd`` squared: 1 / K for
            K references, plus the variance between their days or nodes.
        runs: the number of references, K.
    """

    mean: float
    sd: float
    freedom: int
    shared: float
    runs: int

    @property
    def noise_percent(self) -> float:
        """``sd`` in percent."""
        return self.sd * 100

    @property
    def small_percent(self) -> float:
        """A standard error within a run that is small next to ``sd``, in percent: a ninth of the variance."""
        return self.noise_percent / 3

    @property
    def interval(self) -> tuple[float, float]:
        """The 95% interval of ``sd``."""
        return interval(self.sd, self.freedom)


def level(values: Sequence[float], groups: Sequence[Hashable], *, always: bool = False) -> Level:
    """Return the level of references.

    The variances within and between groups are those of a one-way random-effects model, by the method of
    moments. All runs of a candidate belong to one group, so more runs do not average out the difference
    between groups.

    Args:
        values: the natural logarithm of each run's value; at least 2.
        groups: the day of each run, or its node if the gate is for a class of nodes.
        always: separate the groups even if they do not visibly differ (nodes). Otherwise they are separated
            only if they do (days, p < 5%), because estimating a variance that is not there costs runs.
    """
    x = np.asarray(values, float)
    numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    count, kinds = len(x), len(numbers)
    mean = float(x.mean())
    if 1 < kinds < count:
        index = np.array([numbers[group] for group in groups])
        sizes = np.bincount(index)
        means = np.bincount(index, x) / sizes
        within = max(float(((x - means[index]) ** 2).sum()) / (count - kinds), RESOLUTION**2)
        between = float((sizes * (means - mean) ** 2).sum()) / (kinds - 1)
        if always or fdtrc(kinds - 1, count - kinds, between / within) < _VISIBLE:
            typical = (count - float((sizes**2).sum()) / count) / (kinds - 1)
            ratio = max((between / within - 1) / typical, 0.0)
            shared = 1 / count + ratio * (1 + float(((sizes / count) ** 2).sum()))
            return Level(mean, within**0.5, count - kinds, shared, count)
    return Level(mean, max(float(x.std(ddof=1)), RESOLUTION), count - 1, 1 / count, count)


def interval(sd: float, freedom: int) -> tuple[float, float]:
    """Return the 95% interval of a standard deviation, for normal noise."""
    low, high = (sd * math.sqrt(freedom / float(chdtri(freedom, tail))) for tail in (0.025, 0.975))
    return low, high


def apart(one: Sequence[float], other: Sequence[float]) -> bool:
    """Return whether the means of two groups visibly differ (t test, p < 1%); False for single values."""
    freedom = len(one) + len(other) - 2
    if not one or not other or freedom < 1:
        return False
    squares = sum(float(((x - x.mean()) ** 2).sum()) for x in (np.asarray(one), np.asarray(other)))
    between = float(np.mean(one) - np.mean(other)) ** 2 / (1 / len(one) + 1 / len(other))
    return bool(fdtrc(1, freedom, between / max(squares / freedom, RESOLUTION**2)) < _MORE)


def scatters(references: Level, values: Sequence[float]) -> bool:
    """Return whether values vary visibly more than references (F test, p < 1%); False for a single value."""
    freedom = len(values) - 1
    if freedom < 1:
        return False
    ratio = float(np.var(values, ddof=1)) / references.sd**2
    return bool(fdtrc(freedom, references.freedom, ratio) < _MORE)
