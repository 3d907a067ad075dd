from __future__ import annotations

import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_dsr1.gate import decision
from pytest_dsr1.gate.noise import Level
from tests.helpers.paths import DOCS

LEVEL = Level(mean=math.log(1000.0), sd=0.01, freedom=19, shared=1 / 20, runs=20)
DESIGN = decision.design(LEVEL, 0.005, 0.03, 8)


def test_each_gate_of_a_suite_plans_with_its_part() -> None:
    assert [decision.alpha(m) for m in (0, 1, 5, 20)] == pytest.approx([0.005, 0.005, 0.003, 0.00075])


def test_one_run_can_pass_but_never_fail() -> None:
    assert decision.look(DESIGN, np.array([-0.02])).decision == -1
    assert decision.look(DESIGN, np.array([0.2])).decision == 0
    assert decision.look(DESIGN, np.array([0.2, 0.2])).decision == 1


@pytest.mark.parametrize(("second", "decides"), [(0.0149, 0), (0.015, 0), (0.0151, 1)])
def test_a_fail_needs_two_runs_each_worse_than_half_of_delta(second: float, decides: int) -> None:
    """One broken run moves the mean as far as it likes: each time a loss is shown."""
    seen = decision.look(DESIGN, np.array([0.1, second]))
    assert seen.low > 0
    assert seen.decision == decides


def test_a_small_loss_that_is_shown_and_less_than_delta_passes() -> None:
    quiet = decision.design(Level(0.0, 0.001, 19, 1 / 20, 20), 0.005, 0.03, 4)
    seen = decision.look(quiet, np.array([0.016, 0.017]))
    assert seen.low > 0
    assert seen.decision == -1


def test_the_interval_is_the_verdict() -> None:
    seen = decision.look(DESIGN, np.array([0.01, 0.02, 0.012]))
    pooled = (19 * 0.01**2 + 0.004**2 + 0.006**2 + 0.002**2) / 21
    error = math.sqrt(pooled * (1 / 3 + 1 / 20))
    assert seen.loss == pytest.approx(0.014)
    assert seen.low == pytest.approx(0.014 - DESIGN.fail[2] * error)
    assert seen.high == pytest.approx(0.014 + DESIGN.passed[2] * error)


@given(st.lists(st.floats(-0.2, 0.2), min_size=1, max_size=8), st.floats(-0.1, 0.1))
def test_a_worse_candidate_is_never_judged_better(losses: list[float], worse_by: float) -> None:
    here = decision.look(DESIGN, np.array(losses))
    worse = decision.look(DESIGN, np.array(losses) + abs(worse_by))
    assert worse.decision >= here.decision


def test_many_gates_are_looked_at_as_one_is() -> None:
    losses = np.random.default_rng(3).normal(0.015, 0.01, (50, 4))
    together = decision.look(DESIGN, losses, level_sd=np.full(50, 0.01))
    for number in range(50):
        alone = decision.look(DESIGN, losses[number])
        assert alone.decision == together.decision[number]
        assert alone.low == pytest.approx(together.low[number])


def test_the_runs_that_are_needed() -> None:
    needed = [decision.runs_needed(LEVEL, 0.005, delta, 32) for delta in (0.01, 0.02, 0.03, 0.1)]
    assert needed == [None, 12, 5, 2]
    assert decision.resolved(LEVEL, 0.005, 12) <= 0.02 < decision.resolved(LEVEL, 0.005, 11)
    assert [decision.runs_needed(LEVEL, 0.005, 0.02, most) for most in (11, 12)] == [None, 12]


def test_noise_that_is_too_much_only_by_chance_is_planned_for() -> None:
    """Up to 1 / 0.76 of what the runs surely resolve; all of them are allowed then."""
    limit = decision.resolved(LEVEL, 0.005, 32)
    assert decision.planned(LEVEL, 0.005, limit * 1.001, 32) == decision.design(
        LEVEL, 0.005, limit * 1.001, 32
    )
    assert decision.planned(LEVEL, 0.005, 0.02, 32) == decision.design(LEVEL, 0.005, 0.02, 12)
    low = LEVEL.interval[0] / LEVEL.sd
    assert decision.planned(LEVEL, 0.005, limit * low * 1.01, 32) == decision.design(
        LEVEL, 0.005, limit * low * 1.01, 32
    )
    assert decision.planned(LEVEL, 0.005, limit * low * 0.99, 32) is None


def test_the_floor_that_the_docs_name() -> None:
    """The smallest delta, for a noise of 1%; docs/background/gate-statistics.md has it in a table."""
    text = (DOCS / "background" / "gate-statistics.md").read_text(encoding="utf-8")
    rows = re.findall(r"^ *\| (\d+) references \|(.*)\|$", text, re.MULTILINE)
    assert [int(count) for count, _ in rows] == [10, 15, 20, 40, 100]
    for count, cells in rows:
        known = Level(0.0, 0.01, int(count) - 1, 1 / int(count), int(count))
        found = [decision.resolved(known, decision.alpha(1), runs) * 100 for runs in (2, 4, 8, 16, 32, 64)]
        assert [cell.strip() for cell in cells.split("|")] == [f"{each:.1f}%" for each in found]


def test_an_improvement_is_beyond_the_noise_or_it_is_not() -> None:
    """By a t test at 0.5%; t with 19 degrees of freedom is 2.861 there."""
    far = 2.861 * 0.01 * math.sqrt(1 + 1 / 20)
    assert not decision.look(DESIGN, np.array([-far * 0.999])).better
    assert decision.look(DESIGN, np.array([-far * 1.001])).better
    assert not decision.look(DESIGN, np.array([far * 2])).better


@pytest.mark.parametrize("most", [10, 5])
def test_the_expected_runs_are_those_of_a_simulation(most: int) -> None:
    """With the noise known exactly, as it is for many degrees of freedom; five runs do not always decide."""
    known = decision.design(Level(0.0, 0.01, 100_000, 1 / 20, 20), 0.005, 0.02, most)
    random = np.random.default_rng(5)
    for loss, expected in zip((0.0, 0.02), known.expected_runs(), strict=True):
        level = random.normal(0, 0.01 / math.sqrt(20), (20_000, 1))
        runs = random.normal(loss, 0.01, (20_000, most)) - level
        used = np.full(20_000, most)
        for number in range(most, 0, -1):
            used[decision.look(known, runs[:, :number]).decision != 0] = number
        assert used.mean() == pytest.approx(expected, rel=0.02)
