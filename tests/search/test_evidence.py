"""What a probe's requests are worth, and on which side of the goal they put its load."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.search.queues import Floats, OneQueue
from pytest_dsr1.scenario.schema.search import Search, SearchedLoad
from pytest_dsr1.search.evidence import Probe, effective, probe_of, side


def strains(seed: int, count: int, misses: float) -> Floats:
    """Independent requests of which this share misses."""
    return np.random.default_rng(seed).random(count) + misses


def test_a_probe_counts_its_requests_after_the_first_tenth() -> None:
    strain = np.full(100, 0.5)
    strain[:10] = 2.0
    strain[50], strain[60] = 1.0001, math.inf
    found = probe_of(8.0, strain)
    assert (found.load, found.requests, found.kept, found.sent) == (8.0, 90, 88, 100)
    assert found.missed_share == pytest.approx(2 / 90)
    assert not found.oversaturated


def test_exactly_the_limit_is_kept() -> None:
    assert probe_of(1.0, np.ones(10)).kept == 9


def test_a_closed_loop_counts_neither_its_first_requests_nor_its_last() -> None:
    strain = np.full(100, 0.5)
    strain[:30] = strain[-30:] = 2.0
    found = probe_of(30.0, strain, settling=30, draining=30)
    assert (found.requests, found.kept) == (40, 40)
    assert probe_of(30.0, strain[:45], settling=30, draining=30).requests == 0


@pytest.mark.parametrize("count", [0, 1, 3])
def test_hardly_any_requests_are_worth_hardly_anything(count: int) -> None:
    found = probe_of(1.0, np.full(count, 0.5))
    assert found.effective <= 1
    assert side(found, 0.5) == "unknown"


def test_a_probe_of_no_requests_has_missed_everything() -> None:
    assert Probe(1.0, 0, 0, 0.0).missed_share == 1.0


def test_independent_requests_are_worth_almost_as_many() -> None:
    worth = [effective(strains(seed, 20_000, 0.01)) / 20_000 for seed in range(20)]
    assert 0.6 < np.mean(worth) < 1
    assert min(worth) > 0.35


@pytest.mark.parametrize("misses", [0.0, 0.05])
def test_requests_that_repeat_are_worth_as_many_as_there_are_different_ones(misses: float) -> None:
    """The clustering is seen without a miss too, by the longest requests."""
    worth = [effective(np.repeat(strains(seed, 2_000, misses), 25)) / 2_000 for seed in range(20)]
    assert 0.5 < np.mean(worth) < 1.05


def test_the_error_of_a_queue_is_that_of_its_effective_requests() -> None:
    """The share of misses over many runs varies as if that many independent requests had been sent."""
    queue = OneQueue(10.0)
    shares, worth = [], []
    for seed in range(400):
        run = queue.run(queue.answer(0.95), np.random.default_rng(seed))
        run.more(1_000)
        strain = run.more(8_000)[1] / queue.limit
        shares.append((strain > 1).mean())
        worth.append(effective(strain))
    real = 0.05 * 0.95 / np.var(shares)
    assert 0.75 * real < np.mean(worth) < 1.3 * real


def test_one_cluster_of_misses_is_worth_hardly_more_than_one_request() -> None:
    strain = np.full(1_000, 0.5)
    strain[300:500] = 2.0
    found = probe_of(1.0, strain)
    assert found.missed_share * found.effective < 3
    assert side(found, 0.99) == "unknown"


@pytest.mark.parametrize(
    ("requests", "kept", "effective_requests", "goal", "expected"),
    [
        (2_000, 2_000, 2_000.0, 0.99, "keeps"),
        (2_000, 2_000, 500.0, 0.99, "unknown"),
        (999, 999, 999.0, 0.95, "unknown"),
        (1_000, 1_000, 999.0, 0.95, "keeps"),
        (2_000, 1_980, 2_000.0, 0.99, "unknown"),
        (2_000, 1_940, 2_000.0, 0.99, "misses"),
        (40, 0, 40.0, 0.99, "misses"),
        (29, 0, 29.0, 0.99, "unknown"),
        (40, 0, 40.0, 0.5, "misses"),
        (2_000, 2_000, 2_000.0, 0.5, "keeps"),
    ],
)
def test_the_side_of_a_load(
    requests: int, kept: int, effective_requests: float, goal: float, expected: str
) -> None:
    assert side(Probe(8.0, requests, kept, effective_requests), goal) == expected


def test_an_oversaturated_probe_misses() -> None:
    assert side(Probe(8.0, 0, 0, 0.0, oversaturated=True), 0.99) == "misses"


@pytest.mark.parametrize("goal", [0.99, 0.9])
def test_a_load_at_the_goal_is_put_on_a_side_as_seldom_as_planned_at_many_looks(goal: float) -> None:
    """Each side with the error given, here 2% so that a wrong rule shows; a look every 5%."""
    looks = np.unique(np.geomspace(50, 20_000, 120).astype(int))
    wrong = {"keeps": 0, "misses": 0, "unknown": 0}
    for seed in range(400):
        kept = np.cumsum(np.random.default_rng(seed).random(looks[-1]) < goal)
        for count in looks:
            found = side(Probe(1.0, int(count), int(kept[count - 1]), float(count)), goal, 0.02)
            if found != "unknown":
                wrong[found] += 1
                break
    assert wrong["keeps"] + wrong["misses"] > 0
    assert max(wrong["keeps"], wrong["misses"]) <= 0.02 * 400


@pytest.mark.parametrize("goal", [0.9, 0.99])
@pytest.mark.parametrize("ends", [[1, 2], [512, 1024]])
def test_the_fewest_requests_that_show_a_kept_goal(ends: list[int], goal: float) -> None:
    """The rule about ``search.most_requests`` refuses what can show nothing, and no more."""
    search = Search(load=SearchedLoad(concurrency=ends), goal=goal)
    for count, said in ((search.least_requests - 1, "unknown"), (search.least_requests, "keeps")):
        probe = probe_of(ends[0], np.full(count, 0.5), settling=ends[0], draining=ends[0])
        assert side(probe, goal) == said


@pytest.mark.parametrize("goal", [0.995, 0.999, 0.99999])
def test_a_high_goal_takes_more_requests(goal: float) -> None:
    search = Search(load=SearchedLoad(rate=[1, 2]), goal=goal)
    assert side(probe_of(1.0, np.full(search.least_requests - 1, 0.5)), goal) == "unknown"
    assert side(probe_of(1.0, np.full(round(1.05 * search.least_requests), 0.5)), goal) == "keeps"
