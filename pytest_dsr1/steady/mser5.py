"""MSER-5, which finds where a series becomes steady, and the standard error of correlated values."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_dsr1.arrays import Floats, Indices

BATCH = 5
"""Observations in one batch of MSER-5."""
FEWEST_BATCHES = 10
"""MSER-5 needs at least this many. At most half are cut, so five remain: the variance of two or three can be
near zero by chance, and the rule would cut there."""
BATCHES = 10
"""Batch means of one standard error. More batches are shorter and correlated; fewer have fewer degrees of
freedom. On simulated AR(1) windows ten have nearly the coverage that they should."""


def mser5(values: Floats) -> int:
    """Return how many observations at the beginning are warm-up, by the rule MSER-5.

    The cut d minimizes the squared standard error that the mean of the rest would have if it were
    independent, var(rest) / (n - d), over batches of five and up to half of the series (White, 1997; Spratt,
    1998).

    Returns:
        A multiple of 5; 0 if the series is too short.
    """
    import numpy as np

    count = len(values) // BATCH
    if count < FEWEST_BATCHES:
        return 0
    means = values[: count * BATCH].reshape(count, BATCH).mean(axis=1)
    cuts = np.arange(count // 2 + 1)
    # Relative to the mean, so that the cut does not depend on the unit.
    means = means / (np.abs(means).mean() or 1.0)
    squares = np.array([np.sum((means[d:] - means[d:].mean()) ** 2) for d in cuts]) / (count - cuts) ** 2
    # The first of several that differ only by rounding.
    return BATCH * int(np.argmax(squares <= squares.min() * (1 + 1e-9) + 1e-20))


def batch_edges(count: int) -> Indices:
    """Return where ``count`` observations are divided into ten batches, or into one each if there are fewer.

    Returns:
        The first observation of each batch, and ``count``: shape (batches + 1,). Sizes differ by at most 1.
    """
    import numpy as np

    batches = min(BATCHES, count)
    return np.arange(batches + 1) * count // batches


def standard_error(amounts: Floats, sizes: Floats) -> float:
    """Return the standard error of ``sum(amounts) / sum(sizes)``, from independent batches.

    The variance of a ratio estimator (Cochran, Sampling Techniques, 1977, 6.4). For batches of equal size it
    is that of batch means: their standard deviation over the square root of their number.

    Args:
        amounts: of each batch; at least two.
        sizes: of each batch: seconds of a rate, observations of a mean.
    """
    import numpy as np

    count, total = len(amounts), sizes.sum()
    residuals = amounts - amounts.sum() / total * sizes
    return float(np.sqrt(count / (count - 1) * np.sum(residuals**2)) / total)
