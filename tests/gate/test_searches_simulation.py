"""The gate of searches, on queues with a known answer: its errors are those of any gate."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest

from benchmarks.search.queues import ClosedQueue, OneQueue, Server
from benchmarks.search.study import probe
from pytest_dsr1.gate.decision import GATE_ALPHA, look, planned
from pytest_dsr1.gate.noise import level
from pytest_dsr1.gate.searched import with_own_error
from pytest_dsr1.search.decision import Found, decide
from pytest_dsr1.search.evidence import Probe
from pytest_dsr1.search.placing import Plan, Question
from pytest_dsr1.study.losses import loss, worse

DELTA_PERCENT = 8.0
STARTS = 0.005
"""The noise between engine starts, on top of that of a search."""
REFERENCES, MOST_RUNS, GATES = 20, 64, 4_000
SERVERS: dict[str, tuple[Server, Question, int]] = {
    "highest_rate": (OneQueue(10.0, scale=100.0), Question(1, 2048, 0.9, whole=False), 80),
    "highest_concurrency": (ClosedQueue(27.0), Question(1, 2048, 0.95), 120),
}
"""By metric: the server, what is asked, and how many searches there are to draw from."""


def searched(server: Server, asked: Question, seed: int) -> Found:
    rng, probes = np.random.default_rng(seed), list[Probe]()
    while isinstance(step := decide(asked, probes), Plan):
        probes.append(probe(server, step, asked.goal, rng))
    return step


@cache
def answers(metric: str) -> tuple[Found, ...]:
    server, asked, count = SERVERS[metric]
    return tuple(searched(server, asked, seed) for seed in range(count))


def gates(metric: str, lost_percent: float) -> dict[int, int]:
    """Return how often gates decide: 1 is FAIL, -1 PASS, 0 neither."""
    rng, found = np.random.default_rng(14), answers(metric)
    figures = np.array([math.log(each.estimate) for each in found])
    errors = np.array([100 * each.se for each in found])
    count, decided = len(found), {1: 0, -1: 0, 0: 0}
    for _ in range(GATES):
        drawn = rng.integers(count, size=REFERENCES + MOST_RUNS)
        values = figures[drawn] + STARTS * rng.standard_normal(len(drawn))
        references = level(values[:REFERENCES].tolist(), range(REFERENCES))
        known = with_own_error(references, errors[drawn[:REFERENCES]].tolist())
        design = planned(known, GATE_ALPHA, worse(metric, DELTA_PERCENT), MOST_RUNS)
        assert design is not None
        candidate = np.exp(values[REFERENCES:] - worse(metric, lost_percent))
        losses = loss(metric, known.mean, candidate)
        looks = (int(look(design, losses[:runs]).decision) for runs in range(1, design.max_runs + 1))
        decided[next((each for each in looks if each), 0)] += 1
    return decided


@pytest.mark.parametrize("metric", SERVERS)
def test_a_gate_of_searches_keeps_its_errors(metric: str) -> None:
    """At most 1% false FAIL, and at least 94% of losses of delta are found."""
    innocent, guilty = gates(metric, 0.0), gates(metric, DELTA_PERCENT)
    assert innocent[1] <= 0.01 * GATES
    assert innocent[-1] >= 0.98 * GATES
    assert guilty[1] >= 0.94 * GATES


@pytest.mark.parametrize("metric", SERVERS)
def test_a_search_knows_its_own_error(metric: str) -> None:
    """Its standard error is near the spread of many searches, which have unrounded figures."""
    found = answers(metric)
    spread = float(np.std([math.log(each.estimate) for each in found]))
    assert 0.7 < float(np.median([each.se for each in found])) / spread < 1.5
    assert len({each.estimate for each in found}) > 0.2 * len(found)
