"""The gate of searches, on queues with a known answer: its errors are those of any gate."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from functools import cache

import numpy as np
import pytest

from benchmarks.search.queues import ClosedQueue, OneQueue, Server
from benchmarks.search.study import measured
from pytest_dsr1.gate.decision import GATE_ALPHA, look, planned
from pytest_dsr1.gate.noise import level
from pytest_dsr1.gate.searched import with_own_error
from pytest_dsr1.metrics.catalogue import AT_SLO
from pytest_dsr1.metrics.inputs import SloLimits
from pytest_dsr1.search.placing import Question
from pytest_dsr1.search.progress import SearchProgress
from pytest_dsr1.study.loop import Next
from pytest_dsr1.study.losses import loss, worse
from tests.helpers.paths import DOCS

Figure = tuple[float, float]
"""A value, and its standard error in percent."""

DELTA_PERCENT = 8.0
STARTS = 0.005
"""The noise between engine starts, on top of that of a search."""
REFERENCES, MOST_RUNS, GATES = 20, 64, 4_000
SERVERS: dict[str, tuple[Server, Question, int]] = {
    "highest_rate": (OneQueue(10.0, scale=100.0), Question(1, 2048, 0.9, whole=False), 80),
    "highest_concurrency": (ClosedQueue(27.0), Question(1, 2048, 0.95), 120),
}
"""By metric: the server, what is asked, and how many searches there are to draw from."""


ROWS = [
    ("highest_rate", "highest_rate"),
    ("highest_concurrency", "highest_concurrency"),
    (AT_SLO, "highest_rate"),
    (AT_SLO, "highest_concurrency"),
]
"""The gated metric, and what is searched."""


def searched(server: Server, asked: Question, seed: int) -> Mapping[str, Figure]:
    """Return what a gate takes from one search, by metric."""
    rng = np.random.default_rng(seed)
    search = SearchProgress("simulated", asked, SloLimits(), again="")
    while isinstance(step := search.step(), Next):
        found, search.throughputs[step.point.load] = measured(server, step.point, asked.goal, rng)
        search.probes.append(found)
    return step.value.figures


@cache
def searches(of: str) -> tuple[Mapping[str, Figure], ...]:
    server, asked, count = SERVERS[of]
    return tuple(searched(server, asked, seed) for seed in range(count))


def gates(metric: str, of: str, lost_percent: float) -> dict[int, int]:
    """Return how often gates decide: 1 is FAIL, -1 PASS, 0 neither."""
    rng, found = np.random.default_rng(14), searches(of)
    figures = np.array([math.log(each[metric][0]) for each in found])
    errors = np.array([each[metric][1] for each in found])
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


@pytest.mark.parametrize(("metric", "of"), ROWS)
def test_a_gate_of_searches_keeps_its_errors(metric: str, of: str) -> None:
    """At most 1% false FAIL, and at least 94% of losses of delta are found."""
    innocent, guilty = gates(metric, of, 0.0), gates(metric, of, DELTA_PERCENT)
    assert innocent[1] <= 0.01 * GATES
    assert innocent[-1] >= 0.98 * GATES
    assert guilty[1] >= 0.94 * GATES
    page = (DOCS / "background" / "gate-statistics.md").read_text(encoding="utf-8")
    row = re.search(rf"^\| {metric} \| {of} \| ([\d.]+)% \| ([\d.]+)% \|$", page, re.MULTILINE)
    assert row is not None
    shown = [100 * each[1] / GATES for each in (innocent, guilty)]
    assert [float(each) for each in row.groups()] == pytest.approx(shown, abs=0.3)


@pytest.mark.parametrize("metric", SERVERS)
def test_a_search_knows_its_own_error(metric: str) -> None:
    """Its standard error is near the spread of many searches, which have unrounded figures."""
    figures, errors = zip(*(each[metric] for each in searches(metric)), strict=True)
    spread = 100 * float(np.std(np.log(figures)))
    assert 0.7 < float(np.median(errors)) / spread < 1.5
    assert len(set(figures)) > 0.2 * len(figures)
