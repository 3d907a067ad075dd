"""Servers whose misses do not only rise with load: the answer says so, if the probes show it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import pytest

from benchmarks.search.queues import Floats
from benchmarks.search.study import Search, probe
from pytest_dsr1.metrics.inputs import SloLimits
from pytest_dsr1.search.decision import Found, decide
from pytest_dsr1.search.evidence import Probe
from pytest_dsr1.search.placing import Plan, Question
from pytest_dsr1.search.progress import SearchProgress, SearchResult
from pytest_dsr1.study.loop import Answer

ASKED = Question(1, 2048, 0.9, whole=False)
WAVES = ((1.0, 12.0), (1.0, 30.0), (1.5, 20.0))
"""Height and frequency of the wave, on natural logarithms."""
SEEDS = range(8)


@dataclass(frozen=True, slots=True)
class Wave:
    """Requests miss independently, 10% of them around 100 req/s: a rising share with a wave on it."""

    height: float
    frequency: float
    phase: float
    whole: bool = False
    limit: float = 1.0

    def share(self, load: float) -> float:
        x = math.log(load / 100)
        return min(0.1 * math.exp(4 * x + self.height * math.sin(self.frequency * x + self.phase)), 1.0)

    def answer(self, goal: float) -> float:
        return self.answers(goal)[-1]

    def answers(self, goal: float) -> list[float]:
        """Every load at which the goal begins or ends to be kept."""
        loads = np.geomspace(10, 1000, 20_001)
        keeps = np.array([self.share(load) <= 1 - goal for load in loads])
        return [float(each) for each in loads[:-1][keeps[1:] != keeps[:-1]]]

    def run(self, load: float, rng: np.random.Generator) -> Running:
        return Running(self.share(load), rng)


@dataclass(slots=True)
class Running:
    missed: float
    rng: np.random.Generator
    sent: int = field(default=0)

    def more(self, count: int) -> tuple[Floats, Floats]:
        start = 0.01 * np.arange(self.sent, self.sent + count, dtype=float)
        self.sent += count
        return start, 0.5 + (self.rng.random(count) < self.missed).astype(float)


@cache
def searched(height: float, frequency: float, seed: int) -> tuple[Wave, Search]:
    rng = np.random.default_rng(seed)
    server = Wave(height, frequency, rng.uniform(0, 2 * math.pi))
    probes: list[Probe] = []
    while isinstance(step := decide(ASKED, probes), Plan):
        probes.append(probe(server, step, ASKED.goal, rng))
    return server, Search(step, tuple(probes), server.answer(ASKED.goal))


def holds(server: Wave, found: Found) -> bool:
    """Whether the interval has a load at which the goal begins or ends to be kept."""
    return any(found.low <= each <= found.high for each in server.answers(ASKED.goal))


@pytest.mark.parametrize(("height", "frequency"), WAVES)
def test_the_interval_after_all_probes_is_not_too_narrow(height: float, frequency: float) -> None:
    """Eight servers each, of which some need all probes."""
    every = [searched(height, frequency, seed) for seed in SEEDS]
    whole = [(server, each.found) for server, each in every if len(each.probes) == ASKED.most_probes]
    assert len(whole) >= 2
    assert all(holds(server, found) for server, found in whole)
    assert not any(found.narrow and found.scatter > 1 for _, found in whole)


@pytest.mark.parametrize(("height", "frequency"), WAVES)
def test_probes_that_show_it_are_unclear(height: float, frequency: float) -> None:
    """The interval has all loads of the contradiction."""
    every = [searched(height, frequency, seed)[1].found for seed in SEEDS]
    unclear = [each for each in every if each.where == "unclear"]
    assert len(unclear) >= 2
    for each in unclear:
        assert each.contradiction is not None
        lower, higher = each.contradiction
        assert each.low < lower.load < higher.load < each.high
        assert lower.missed_share > higher.missed_share
        assert not each.narrow


def test_a_curve_that_only_rises_is_never_unclear() -> None:
    every = [searched(0.0, 1.0, seed)[1] for seed in range(40)]
    assert {(each.found.where, each.found.narrow) for each in every} == {("inside", True)}
    assert all(each.holds for each in every)


def near(load: float, missed: float) -> Probe:
    return Probe(load, 20_000, round(20_000 * (1 - missed)), 20_000.0, sent=22_000)


def result(*probes: Probe) -> SearchResult:
    asked = Question(1, 2048, 0.9, whole=False, most_probes=len(probes))
    step = SearchProgress("small", asked, SloLimits(), "", list(probes), [], {}).step()
    assert isinstance(step, Answer)
    return step.value


def test_it_is_said() -> None:
    """Both are near the goal, so neither is on the wrong side of the other."""
    kept, missed = Probe(50, 5_000, 5_000, 5_000.0, sent=5_000), Probe(200, 400, 200, 400.0, sent=500)
    found = result(kept, near(98, 0.104), near(102, 0.0995), missed)
    assert found.found.where == "inside", "a difference of 1.5 errors is chance"
    found = result(kept, near(98, 0.106), near(102, 0.094), missed)
    assert (found.found.low, found.found.high) == (50, 200)
    assert found.sentences[0].startswith(
        "small: highest rate with 90% of requests within the SLO: UNCLEAR, somewhere in 50 to 200 req/s,"
    )
    assert found.sentences[1] == (
        "the answer is not monotonic: more load missed less, beyond the errors: 98 req/s does not decide "
        "(89.40% of 20,000 requests), but 102 req/s does not decide (90.60% of 20,000 requests); the server "
        "changed between them, or is faster at some loads: look at both, then search a narrower range"
    )
    assert found.judge("highest_rate", 150).status == "INCONCLUSIVE"
    assert found.judge("highest_rate", 40).status == "PASS"
    assert found.judge("highest_rate", 250).status == "FAIL"
