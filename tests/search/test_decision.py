"""What a search does next, and what it answers."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from pytest_dsr1.search.decision import Found, decide, enough
from pytest_dsr1.search.evidence import Probe
from pytest_dsr1.search.placing import Plan, Question

CONCURRENCY = Question(1, 2048, 0.99)
RATE = replace(CONCURRENCY, whole=False)


def kept(load: float) -> Probe:
    """A probe without misses."""
    return Probe(load, 5_000, 5_000, 5_000.0)


def missed(load: float) -> Probe:
    """A probe that misses half the time."""
    return Probe(load, 400, 200, 400.0)


def close(load: float, misses: float = 0.01, effective: float = 3_000.0) -> Probe:
    """A probe near the goal."""
    return Probe(load, 100_000, round(100_000 * (1 - misses)), effective)


def next_load(*probes: Probe, asked: Question = CONCURRENCY) -> float:
    plan = decide(asked, probes)
    assert isinstance(plan, Plan)
    return plan.load


def answer(*probes: Probe, asked: Question = CONCURRENCY) -> Found:
    found = decide(asked, probes)
    assert isinstance(found, Found)
    return found


def test_it_begins_in_the_geometric_middle() -> None:
    assert next_load() == 45
    assert next_load(asked=RATE) == pytest.approx(math.sqrt(2048))


@pytest.mark.parametrize(
    ("probes", "load"),
    [
        ([kept(45)], 304),
        ([missed(45)], 7),
        ([kept(304), kept(45)], 2048),
        ([kept(45), missed(304)], 117),
        ([missed(45), missed(7)], 1),
        ([missed(7), kept(1)], 3),
    ],
)
def test_it_goes_to_the_side_that_is_left(probes: list[Probe], load: float) -> None:
    plan = decide(CONCURRENCY, probes)
    assert isinstance(plan, Plan)
    assert (plan.load, plan.sides) == (load, True)


def test_a_range_of_one_load_is_probed_once() -> None:
    one = replace(CONCURRENCY, low=8, high=8)
    assert next_load(asked=one) == 8
    assert answer(kept(8), asked=one).where == "above"
    assert answer(missed(8), asked=one).where == "below"


def test_everything_keeps_the_goal() -> None:
    assert answer(kept(45), kept(2048)) == Found("above", 2048, 2048, math.inf)


def test_nothing_keeps_the_goal() -> None:
    assert answer(missed(45), missed(1)) == Found("below", 0, 0, 1)
    stopped = replace(missed(1), oversaturated=True)
    assert answer(stopped).where == "below"


def test_neighbors_that_differ_are_the_answer() -> None:
    assert answer(kept(7), missed(8)) == Found("inside", 7, 7, 7)
    assert answer(kept(100.0), missed(104.0), asked=RATE) == Found("inside", 100, 100, 104)


def test_a_load_near_the_goal_is_followed_by_others_around_it() -> None:
    """Nothing is known of the steepness yet, so the next one is far from it, and then one between."""
    probes = [kept(45), missed(181), close(90)]
    far = next_load(*probes)
    assert far > 100
    near = next_load(*probes, missed(far))
    assert near != 90
    assert 70 < near < far


def test_the_answer_is_between_probes_on_both_sides() -> None:
    """A hair above 100, so that rounding does not matter."""
    found = answer(close(97, 0.0058, 30_000.0), close(103.5, 0.0162, 30_000.0))
    assert (found.where, found.load, found.narrow) == ("inside", 100, True)
    assert 97 <= found.low <= 100 <= found.high <= 103


def test_a_lower_load_that_misses_is_a_contradiction() -> None:
    """The interval is from the load that is kept below both to the load that misses above both."""
    found = answer(kept(10), missed(40), kept(80), missed(200))
    assert (found.where, found.load, found.low, found.high) == ("unclear", 10, 10, 200)
    assert found.contradiction == (missed(40), kept(80))
    assert not found.narrow
    found = answer(missed(40), kept(80))
    assert (found.low, found.high) == (1, 2048)


def test_one_load_that_both_keeps_and_misses_is_one_too() -> None:
    assert answer(missed(40), kept(40)).where == "unclear"


def test_it_ends_after_the_most_probes() -> None:
    """With what is known: that 45 keeps the goal and 304 does not."""
    found = answer(kept(45), missed(304), asked=replace(CONCURRENCY, most_probes=2))
    assert (found.where, found.narrow) == ("inside", False)
    assert 45 <= found.low <= found.load <= found.high <= 304
    found = answer(replace(missed(45), oversaturated=True), asked=replace(RATE, most_probes=1))
    assert (found.low, found.high, found.narrow) == (1, 45, False)


def test_probes_without_a_request_do_not_stop_it() -> None:
    nothing = Probe(45, 0, 0, 0.0)
    assert next_load(nothing) == 45
    assert not answer(*[nothing] * 12).narrow


def test_when_a_probe_may_stop() -> None:
    sides, curve = Plan(45, 1_200, 4_000, sides=True), Plan(45, 1_200, 4_000, sides=False)
    assert enough(sides, kept(45), 0.99)
    assert enough(sides, missed(45), 0.99)
    assert not enough(curve, missed(45), 0.99)
    assert enough(curve, close(45), 0.99)
    assert not enough(sides, close(45, effective=1_199.0), 0.99)
    assert not enough(curve, Probe(45, 999, 990, 1_200.0), 0.99)
    assert not enough(replace(curve, requests=8_000), Probe(45, 1_999, 1_980, 1_200.0), 0.99)
