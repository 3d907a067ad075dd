"""The clock of a node: an offset and a drift are found within the stated error."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_dsr1.machine.nodes.clock import Alignment, Comparison, compared


class World:
    """Two clocks, and messages between them that take random times."""

    def __init__(self, ahead_s: float, drift: float, seed: int) -> None:
        self.now_s = 1000.0
        self._ahead_s, self._drift = ahead_s, drift
        self._random = random.Random(seed)

    def theirs_s(self, ours_s: float) -> float:
        return ours_s + self._ahead_s + self._drift * ours_s

    def ask(self) -> float:
        self.now_s += self._random.expovariate(1 / 0.001)
        found = self.theirs_s(self.now_s)
        self.now_s += self._random.expovariate(1 / 0.001)
        return found


@given(st.floats(-1e6, 1e6), st.floats(-1e-4, 1e-4), st.integers(0, 10**6))
def test_times_are_right_within_the_stated_error(ahead_s: float, drift: float, seed: int) -> None:
    world = World(ahead_s, drift, seed)
    before = compared(world.ask, lambda: world.now_s)
    world.now_s += 900
    aligned = Alignment(before, compared(world.ask, lambda: world.now_s))
    for share in (0.0, 0.3, 1.0):
        ours_s = 1000 + 900 * share
        off_s = aligned.ours_s(world.theirs_s(ours_s)) - ours_s
        assert abs(off_s) <= aligned.error_s + 1e-6
    assert aligned.error_s < 0.01


@given(st.floats(1, 1e5), st.floats(0, 1), st.floats(0, 1))
def test_a_clock_that_jumps_is_part_of_the_error(jump_s: float, when: float, then: float) -> None:
    """As that of a virtual machine which was moved."""
    aligned = Alignment(Comparison(1000.0, 50.0, 0.001), Comparison(1900.0, 50.0 + jump_s, 0.001))
    ours_s = 1000 + 900 * then
    theirs_s = ours_s + 50 + (jump_s if then > when else 0)
    assert abs(aligned.ours_s(theirs_s) - ours_s) <= aligned.error_s + 1e-6


def test_the_quickest_answer_counts() -> None:
    ticks = iter([0.0, 10.0, 20.0, 20.2, *range(30, 42)])
    answers = iter([103.0, 120.1, *[0.0] * 6])
    found = compared(lambda: next(answers), lambda: next(ticks))
    assert (found.at_s, found.ahead_s, found.error_s) == pytest.approx((20.1, 100.0, 0.1))


def test_one_comparison_is_a_constant_offset() -> None:
    once = Comparison(10.0, 2.5, 0.001)
    assert Alignment(once, once).ours_s(13.0) == 10.5
