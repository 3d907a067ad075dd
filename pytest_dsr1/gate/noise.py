"""What accepted references say: the level, how much engine starts differ, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import chdtri, fdtrc

RESOLUTION = 1e-4
"""The least noise that is believed, 0.01%: references that agree better agree by chance."""
_VISIBLE = 0.05
"""The p value of an F test below which a difference is taken for real."""

_MORE = 0.01
"""The same for what is only warned of."""


@dataclass(frozen=True, slots=True)
class Level:
    """The references of one gate, on the scale of natural logarithms.

    Attributes:
        mean: of the references.
        sd: between engine starts; ``freedom`` are its degrees of freedom.
        shared: the variance that more runs of a candidate do not lower, in units of ``sd`` squared: 1 / K for
            K references, and what their days or nodes differ by.
        runs: K.
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
        """A standard error within a run that is small against ``sd``, in percent: a ninth of the variance."""
        return self.noise_percent / 3

    @property
    def interval(self) -> tuple[float, float]:
        """The 95% interval of ``sd``."""
        return interval(self.sd, self.freedom)


def level(values: Sequence[float], groups: Sequence[Hashable], *, always: bool = False) -> Level:
    """The level of references.

    The variance within and between groups is that of a one-way random-effects model, by the method of
    moments. A candidate's runs are all of one group, so what groups differ by is no noise that more runs
    average out.

    Args:
        values: of each run, natural logarithms; at least 2.
        groups: the day of each run, or its node where the gate is of a node class.
        always: take the groups apart even if they do not visibly differ (nodes); otherwise only if they do
            (days, p < 5%), since an estimate of nothing costs runs.
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
    """The 95% interval of a standard deviation, for normal noise."""
    low, high = (sd * math.sqrt(freedom / float(chdtri(freedom, tail))) for tail in (0.025, 0.975))
    return low, high


def apart(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether the means of two groups visibly differ (t test, p < 1%); never of two single values."""
    freedom = len(one) + len(other) - 2
    if not one or not other or freedom < 1:
        return False
    squares = sum(float(((x - x.mean()) ** 2).sum()) for x in (np.asarray(one), np.asarray(other)))
    between = float(np.mean(one) - np.mean(other)) ** 2 / (1 / len(one) + 1 / len(other))
    return bool(fdtrc(1, freedom, between / max(squares / freedom, RESOLUTION**2)) < _MORE)


def scatters(references: Level, values: Sequence[float]) -> bool:
    """Whether values visibly differ more than references do (F test, p < 1%); never for a single one."""
    freedom = len(values) - 1
    if freedom < 1:
        return False
    ratio = float(np.var(values, ddof=1)) / references.sd**2
    return bool(fdtrc(freedom, references.freedom, ratio) < _MORE)
