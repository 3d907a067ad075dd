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


def last(*probes: Probe, asked: Question = RATE) -> Found:
    """Return the answer after these probes if no more are allowed."""
    return answer(*probes, asked=replace(asked, most_probes=len(probes)))


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
        ([kept(256)], 2048),
        ([kept(255)], 723),
        ([missed(8)], 1),
        ([missed(9)], 3),
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
    found = answer(kept(45), kept(2048))
    assert found == Found("above", 2048, 2048, math.inf)
    assert (found.scatter, found.estimate, found.se) == (1.0, 0.0, 0.0)


def test_nothing_keeps_the_goal() -> None:
    assert answer(missed(45), missed(1)) == Found("below", 0, 0, 1)
    stopped = replace(missed(1), oversaturated=True)
    assert answer(stopped).where == "below"


def test_neighbors_that_differ_are_the_answer() -> None:
    assert answer(kept(7), missed(8)) == Found("inside", 7, 7, 7)
    assert answer(kept(100.0), missed(104.0), asked=RATE) == Found("inside", 100, 100, 104)


def test_sides_that_are_as_close_as_asked_are_the_answer() -> None:
    """5% of the lower one. Of whole numbers the last below the miss counts, and one step is enough."""
    far = replace(CONCURRENCY, high=4096)
    assert answer(kept(2000), missed(2101), asked=far) == Found("inside", 2000, 2000, 2100)
    assert decide(far, [kept(2000), missed(2102)]) != Found("inside", 2000, 2000, 2101)
    assert answer(kept(7), missed(9)) == Found("inside", 7, 7, 8)
    assert isinstance(decide(CONCURRENCY, [kept(10), missed(13)]), Plan)
    assert isinstance(decide(RATE, [kept(10.0), missed(10.9)]), Plan)


def test_between_two_sides_the_answer_is_anywhere() -> None:
    """Uniform on the logarithm of load: its standard deviation is the width over the square root of 12."""
    found = answer(kept(100.0), missed(104.0), asked=RATE)
    assert found.estimate == pytest.approx(math.sqrt(100 * 104))
    assert found.se == pytest.approx(math.log(1.04) / 3.4641, rel=1e-4)


def test_the_curve_is_used_once_both_sides_are_near() -> None:
    """Within a factor of 1.35."""
    for misses, curve in ((135.0, True), (135.1, False)):
        plan = decide(RATE, [kept(100.0), missed(misses)])
        assert isinstance(plan, Plan)
        assert plan.sides is not curve


def test_a_probe_of_one_request_is_evidence() -> None:
    """Of next to nothing, but the middle of the range was probed."""
    assert next_load(Probe(45, 3, 3, 1.0)) != 45


AROUND = (close(135, 0.006, 30_000.0), close(150, 0.0095), close(180, 0.02, 30_000.0))
"""They keep the goal, are at it, and miss it."""


@pytest.mark.parametrize(
    ("probe", "counts"),
    [
        (close(100.0, 0.004, 30_000.0), False),
        (close(101.0, 0.004, 30_000.0), True),
        (close(240.0, 0.05, 30_000.0), True),
        (close(243.0, 0.05, 30_000.0), False),
        (replace(close(190.0, 0.05, 30_000.0), oversaturated=True), False),
    ],
)
def test_a_probe_far_from_the_others_is_not_on_their_curve(probe: Probe, counts: bool) -> None:
    """Factors of 1.35 below 135 and above 180 are too far, and so is a queue that only grew."""
    found, without = last(*AROUND, probe), last(*AROUND)
    assert (found.estimate != without.estimate) is counts
    assert (found.se != without.se) is counts


def test_probes_that_scatter_leave_all_between_the_known_sides() -> None:
    """Hardly more misses from 90 to 110, and twice as many at 114: no curve of a server."""
    probes = [close(load, misses, 6_000.0) for load, misses in ((90, 0.0095), (110, 0.0098), (114, 0.02))]
    found = last(close(60, 0.002, 30_000.0), *probes, missed(160), asked=CONCURRENCY)
    assert found.scatter > 10
    assert (found.where, found.low, found.high, found.narrow) == ("inside", 60, 114, False)


def test_the_error_of_an_answer_is_that_of_its_interval() -> None:
    """The interval holds 98% of a normal distribution: 2.326 standard errors on each side."""
    found = last(*AROUND)
    assert found.estimate == found.load
    assert found.se == pytest.approx(math.log(found.high / found.low) / (2 * 2.326), rel=1e-3)


def test_a_wide_interval_is_narrowed_in_its_middle_by_side_alone() -> None:
    """If that was probed, in the middle of its longer part."""
    middle_at = close(100, 0.01, 300.0)
    for probes, part in (
        ([middle_at, close(300, 0.02, 300.0)], "middle"),
        ([middle_at], "upper"),
        ([close(100, 0.02, 300.0), close(75, 0.009, 300.0)], "lower"),
    ):
        plan, found = decide(RATE, probes), last(*probes)
        assert isinstance(plan, Plan)
        assert plan.sides
        end = {"middle": found.load, "upper": found.high, "lower": found.low}[part]
        assert plan.load == pytest.approx(math.sqrt(found.load * end))
    narrower = decide(RATE, AROUND)
    assert isinstance(narrower, Plan)
    assert not narrower.sides


def test_an_answer_without_a_long_probe_on_both_sides_is_not_as_narrow_as_asked() -> None:
    """Whatever its interval: a probe of fewer than 300 effective requests may have met no cluster yet."""
    asked = replace(RATE, goal=0.9, width_percent=100.0)
    short = (close(80, 0.05, 250.0), close(125, 0.2, 250.0))
    assert isinstance(decide(asked, short), Plan)
    found = last(*short, asked=asked)
    assert found.high < 2 * found.low
    assert not found.narrow
    long = [replace(each, effective=3_000.0) for each in short]
    assert answer(*long, asked=asked).narrow
    assert last(*long, asked=asked).narrow
    assert not last(*long, asked=replace(asked, width_percent=1.0)).narrow


FALLING = (
    close(70, 0.002, 30_000.0),
    close(97, 0.0115, 22_500.0),
    close(100, 0.0079, 22_500.0),
    close(140, 0.05, 30_000.0),
)
"""Misses are 3.9 standard errors fewer at 100 than at 97."""


def test_misses_that_fall_with_load_are_unclear_once_there_would_be_an_answer() -> None:
    """As narrow as asked, or the last; another probe may still show more."""
    assert isinstance(decide(RATE, FALLING), Plan)
    for found in (last(*FALLING), answer(*FALLING, asked=replace(RATE, width_percent=10.0))):
        assert (found.where, found.low, found.load, found.high) == ("unclear", 70, 70, 140)
        assert found.contradiction == FALLING[1:3]
        assert not found.narrow
    by_chance = (FALLING[0], close(97, 0.0112, 22_500.0), close(100, 0.0078, 22_500.0), FALLING[3])
    assert last(*by_chance).where == "inside", "3.71 standard errors"


@pytest.mark.parametrize(
    ("lower", "higher"), [(111.74685, 111.74685), (52.87695, 211.50781), (333.58306, 83.39577)]
)
def test_misses_fall_if_a_pair_of_equal_shares_would_show_it_once_in_10_000(
    lower: float, higher: float
) -> None:
    """A z test of 30% against 10%, pooled with one more miss and two more requests: 3.719 is exceeded."""
    for part, where in ((1.00001, "unclear"), (0.99999, "inside")):
        pair = (Probe(40, 1000, 700, part * lower), Probe(60, 1000, 900, part * higher))
        assert last(*pair).where == where
        assert last(*pair[::-1]).where == where


def test_of_several_pairs_the_clearest_is_shown_and_all_are_in_doubt() -> None:
    high, low, lower = close(60, 0.4, 500.0), close(80, 0.2, 500.0), close(90, 0.25, 500.0)
    found = last(kept(10), close(20, 0.01, 40.0), high, low, lower, close(100, 0.01, 20.0), missed(200))
    assert found.contradiction == (high, low)
    assert (found.low, found.high) == (10, 200)


def test_what_is_in_doubt_is_not_the_end_of_the_interval() -> None:
    """Also where both of a pair keep the goal, or both miss it."""
    keep = (close(97, 0.004, 40_000.0), close(100, 0.0022, 40_000.0))
    found = last(*keep, close(150), missed(200))
    assert (found.where, found.low, found.high) == ("unclear", 1, 200)
    miss = (close(97, 0.4, 500.0), close(100, 0.2, 500.0))
    found = last(kept(10), close(50), *miss)
    assert (found.where, found.low, found.high) == ("unclear", 10, 2048)


@pytest.mark.parametrize(
    ("pair", "where"),
    [
        ((Probe(40, 100, 10, 30.0), Probe(60, 1000, 900, 500.0)), "unclear"),
        ((Probe(40, 100, 10, 29.9), Probe(60, 1000, 900, 500.0)), "inside"),
        ((replace(missed(40), oversaturated=True), Probe(60, 1000, 900, 500.0)), "inside"),
        ((Probe(60, 1000, 600, 500.0), Probe(60, 1000, 900, 500.0)), "inside"),
    ],
    ids=["long enough", "too short", "a queue that only grew", "one load"],
)
def test_which_probes_show_that_misses_fall(pair: tuple[Probe, Probe], where: str) -> None:
    assert last(*pair).where == where


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
    found = answer(kept(10), missed(40), kept(40), missed(200))
    assert (found.low, found.high) == (10, 200)


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
    longer = replace(curve, requests=8_000)
    assert not enough(longer, Probe(45, 1_999, 1_980, 1_200.0), 0.99)
    assert enough(longer, Probe(45, 2_000, 1_980, 1_200.0), 0.99), "a quarter of what it may send"


def test_misses_that_fall_with_load_are_unclear_also_between_narrow_sides() -> None:
    """100 keeps the goal and 120 misses it, but 90 missed more than 100, by 4.4 standard errors."""
    asked = replace(CONCURRENCY, width_percent=20)
    more, fewer = close(90, 0.0115, 8_000.0), close(100, 0.0050, 8_000.0)
    found = answer(more, fewer, missed(120), asked=asked)
    assert (found.where, found.low, found.high) == ("unclear", 1, 120)
    assert found.contradiction == (more, fewer)
    assert answer(close(90, 0.0045, 8_000.0), fewer, missed(120), asked=asked).where == "inside"
