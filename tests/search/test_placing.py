"""Where the next probe is, and how long."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from pytest_dsr1.search.evidence import Probe
from pytest_dsr1.search.fit import Fit
from pytest_dsr1.search.placing import Question, believed, doubted, placed, planned, rounded

CONCURRENCY = Question(1, 2048, 0.99)
RATE = replace(CONCURRENCY, whole=False)
FOUND = Fit(math.log(90), math.log(100), math.log(111), 0.05, 10.0, 1.0, (math.log(100), 10.0))


def probe(load: float, misses: float = 0.01, effective: float = 1_000.0, requests: int = 10_000) -> Probe:
    return Probe(load, requests, round(requests * (1 - misses)), effective)


@pytest.mark.parametrize(
    ("load", "expected"), [(12.4, 12.0), (0.3, 1.0), (3_000.7, 2048.0), (2048.0, 2048.0)]
)
def test_a_concurrency_is_a_whole_number_of_the_range(load: float, expected: float) -> None:
    assert rounded(CONCURRENCY, load) == expected


def test_a_rate_is_any_number_of_the_range() -> None:
    assert [rounded(RATE, load) for load in (0.3, 12.4, 3_000.7)] == [1.0, 12.4, 2048]


def test_the_first_probe_allows_for_some_clustering() -> None:
    plan = planned(RATE, [], 45.0)
    assert (plan.load, plan.sides) == (45.0, True)
    assert plan.effective == pytest.approx(1_200)
    assert plan.requests == pytest.approx(2 * 1_200 * 5, abs=1)
    assert planned(CONCURRENCY, [], 45.0).requests == pytest.approx(12_000 + 90, abs=1)


def test_every_probe_is_long_enough_to_keep_the_goal() -> None:
    """A tenth of its requests is not counted."""
    assert planned(replace(RATE, goal=0.5), [], 45.0).requests == 1_112


def test_a_looser_goal_needs_fewer_requests() -> None:
    assert planned(replace(RATE, goal=0.9), [], 45.0).effective == pytest.approx(120)


def test_later_probes_know_how_clustered_their_neighbors_were() -> None:
    """The more clustered of the two nearest that were not stopped counts."""
    probes = [
        probe(10.0, requests=90_000),
        probe(40.0, requests=20_000),
        probe(50.0, requests=30_000),
        replace(probe(45.0, requests=900_000), oversaturated=True),
        probe(45.0, effective=0.5),
    ]
    assert planned(RATE, probes, 45.0, 1_000.0).requests == 2 * 1_000 * 30


def test_a_probe_has_a_largest_size() -> None:
    assert planned(replace(RATE, most_requests=5_000), [], 45.0).requests == 5_000


def test_a_probe_that_met_no_cluster_is_believed_less() -> None:
    """Requests per effective one: 10, 2 and 40; a line through them gives the second more than 2."""
    low, lucky, high = believed([probe(90.0), probe(100.0, 0.001, 5_000.0), probe(110.0, 0.03, 250.0)])
    assert low.effective <= 1_000
    assert 1_000 < lucky.effective < 2_500
    assert high.effective == pytest.approx(250, rel=0.5)
    alone = [probe(100.0)]
    assert believed(alone)[0].effective == pytest.approx(1_000)


def test_clustering_does_not_fall_with_load() -> None:
    """10 requests per effective one at 90, 2 at 110: both have at least their average."""
    found = believed([probe(90.0), probe(110.0, effective=5_000.0)])
    assert found[0].effective == pytest.approx(1_000)
    assert 1_000 < found[1].effective < 5_000


@pytest.mark.parametrize(("load", "side"), [(95.0, 1), (105.0, -1)])
def test_the_next_probe_is_on_the_other_side(load: float, side: int) -> None:
    near = [probe(load, 0.01)]
    plan = placed(RATE, near, near, FOUND)
    assert math.copysign(1, plan.load - 100) == side
    assert abs(math.log(plan.load / 100)) == pytest.approx(math.log(1.05))
    assert not plan.sides


def test_a_probe_whose_misses_are_not_used_does_not_count_for_its_side() -> None:
    near = [probe(95.0, 0.01, 400.0), probe(104.0, 0.4, 100_000.0)]
    assert placed(RATE, near, near, FOUND).load > 100


def test_a_steep_curve_is_probed_closer_but_not_at_one_place() -> None:
    near = [probe(95.0)]
    for steepness, apart in ((20.0, 0.025), (500.0, math.log(1.05) / 4)):
        plan = placed(RATE, near, near, replace(FOUND, steepness=steepness))
        assert math.log(plan.load / 100) == pytest.approx(apart)


def test_a_probe_is_neither_much_longer_than_those_before_nor_too_short() -> None:
    near = [probe(95.0)]
    assert placed(RATE, near, near, replace(FOUND, sd=10.0)).effective == pytest.approx(3_000)
    precise = placed(RATE, near, near, replace(FOUND, sd=0.00942))
    assert precise.effective == pytest.approx(300)


def test_the_last_probes_bring_all_that_is_missing() -> None:
    near = [probe(100.0, 0.01, 50_000.0)]
    half = placed(RATE, near, near, FOUND)
    whole = placed(RATE, [*near] * 9, near, FOUND)
    assert whole.effective == pytest.approx(2 * half.effective)
    assert placed(RATE, near, near, replace(FOUND, scatter=2.0)).effective == pytest.approx(whole.effective)


def test_an_answer_needs_a_long_probe_on_both_sides() -> None:
    short = probe(98.0, effective=100.0)
    known = [probe(98.0), probe(103.0)]
    assert doubted(RATE, known, known, FOUND, 2048.0) is None
    plan = doubted(RATE, known, [short, replace(known[1], load=112.0)], FOUND, 2048.0)
    assert plan is not None
    assert plan.load == pytest.approx(100 / 1.05)
    assert not plan.sides
    plan = doubted(RATE, known, [replace(known[0], load=88.0)], FOUND, 2048.0)
    assert plan is not None
    assert plan.load == pytest.approx(105)


def test_a_known_miss_or_the_start_of_the_range_needs_no_long_probe() -> None:
    low = [probe(88.0)]
    assert doubted(RATE, low, low, FOUND, 115.0) is None
    high = [probe(112.0)]
    assert doubted(replace(RATE, low=95.0), high, high, FOUND, 2048.0) is None
