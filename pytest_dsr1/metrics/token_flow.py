"""Token flow: the number of tokens that had come by a time. Tokens come evenly over a time, or at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pytest_dsr1.arrays import Floats, Flow


def flowed(times_s: Floats, begin_s: Floats, end_s: Floats, amount: Floats) -> Floats:
    """Return how much had come at each time, if each amount comes evenly from its begin to its end.

    Args:
        times_s: times of shape (m,).
        begin_s: of shape (n,).
        end_s: of shape (n,); equal to the begin if all comes at once.
        amount: of shape (n,).

    Returns:
        Shape (m,). A difference is the amount between two times, excluding the first, including the second.
    """
    import numpy as np

    order = np.argsort(end_s, kind="stable")
    done = np.concatenate(([0.0], np.cumsum(amount[order])))
    total: Floats = done[np.searchsorted(end_s[order], times_s, side="right")]
    for i, time_s in enumerate(times_s):
        under_way = np.flatnonzero((begin_s < time_s) & (time_s < end_s))
        begun_s = begin_s[under_way]
        total[i] += np.sum(amount[under_way] * (time_s - begun_s) / (end_s[under_way] - begun_s))
    return total


def output_flow(start_s: Floats, first_token_s: Floats, last_token_s: Floats, tokens: Floats) -> Flow:
    """Return the output tokens of requests as begin, end and amount for :func:`flowed`.

    The first token comes at its time and the others evenly from it to the end. If the first token's time
    is unknown (NaN), all come evenly from ``start_s`` to the end.
    """
    import numpy as np

    streamed = ~np.isnan(first_token_s)
    first_s = first_token_s[streamed]
    return (
        np.concatenate((first_s, np.where(streamed, first_token_s, start_s))),
        np.concatenate((first_s, last_token_s)),
        np.concatenate(
            (np.minimum(tokens[streamed], 1.0), np.where(streamed, np.maximum(tokens - 1, 0), tokens))
        ),
    )
