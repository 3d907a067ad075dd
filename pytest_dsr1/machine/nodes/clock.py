"""The clock of a node on the time axis of the run, with the error that is left.

A node's monotonic clock is compared with ours by asking it for its time. The answer was made between our
sending and our receiving, so the middle of the two is wrong by at most half the time in between: the quickest
of several answers counts. Two such comparisons, before and after, also show by how much one clock is faster.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

_QUESTIONS = 8
_MOST_DRIFT = 1e-3
"""The most by which two clocks drift apart: the kernel slews each by 0.0005 at most (adjtimex(2))."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A node's clock compared with ours.

    Attributes:
        at_s: when, on our monotonic clock.
        ahead_s: how far the node's monotonic clock is ahead of ours.
        error_s: the most by which that is wrong.
    """

    at_s: float
    ahead_s: float
    error_s: float


def compared(ask: Callable[[], float], clock: Callable[[], float] = time.monotonic) -> Comparison:
    """Compare a node's clock with ours.

    Args:
        ask: returns the node's time, in s.
        clock: our time, in s.
    """
    found = []
    for _ in range(_QUESTIONS):
        sent_s = clock()
        theirs_s = ask()
        received_s = clock()
        middle_s = (sent_s + received_s) / 2
        found.append(Comparison(middle_s, theirs_s - middle_s, (received_s - sent_s) / 2))
    return min(found, key=lambda one: one.error_s)


@dataclass(frozen=True, slots=True)
class Alignment:
    """Two comparisons of a clock; between and around them it is taken to run evenly."""

    before: Comparison
    after: Comparison

    @property
    def error_s(self) -> float:
        """The most by which a time between the two comparisons is wrong, with a jump of the clock in it."""
        error_s = max(self.before.error_s, self.after.error_s)
        jumped = abs(self._gained_s) > 2 * error_s + _MOST_DRIFT * (self.after.at_s - self.before.at_s)
        return error_s + abs(self._gained_s) * jumped

    @property
    def _gained_s(self) -> float:
        return self.after.ahead_s - self.before.ahead_s

    def ours_s(self, theirs_s: float) -> float:
        """Return a time of the node on our clock."""
        ours_s = self.after.at_s - self.before.at_s
        gone_s = theirs_s - self.before.ahead_s - self.before.at_s
        even = ours_s > 0 and ours_s + self._gained_s > 0
        return self.before.at_s + gone_s * (ours_s / (ours_s + self._gained_s) if even else 1)
