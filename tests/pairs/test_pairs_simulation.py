"""The promises of gate-statistics.md on pairs, on the gate's fleets, by the product's own decision."""

from __future__ import annotations

import math
import re
from functools import cache

import numpy as np
import pytest

from benchmarks.gating.pairs import (
    CASES,
    DAY,
    HARD,
    METRIC,
    SHOWN,
    Drawn,
    Judged,
    Setting,
    drawn,
    judge,
    noise_of_figures,
    period_shown,
    plan_of,
    plans,
    two_speeds,
)
from benchmarks.gating.world import WORLDS
from pytest_dsr1.pairs.decision import Outcome, look
from pytest_dsr1.pairs.order import Side
from pytest_dsr1.pairs.plan import pairs_plan
from pytest_dsr1.pairs.progress import PairRun, PairsProgress
from pytest_dsr1.steady.figure import SteadyFigure
from pytest_dsr1.study.loop import Answer, InconclusiveError, Next
from pytest_dsr1.study.losses import worse
from pytest_dsr1.verdict.verdict import Status
from tests.helpers import values
from tests.helpers.paths import DOCS

COMPARISONS = 20_000
NOISY = "noise 2%, which 24 pairs do not resolve"
COARSE = "noise 0.5%, two speeds that differ by delta"
WORST = {
    **{f"noise {noise:g}%, delta {delta:g}%": (Setting(WORLDS[noise]), delta) for noise, delta in CASES},
    **{name: (setting, 2.0) for name, setting in HARD.items()},
    COARSE: (Setting(WORLDS[0.5], two_speeds), 1.0),
    NOISY: (Setting(WORLDS[2.0]), 2.0),
}
DECIDED = [name for name in WORST if name != NOISY]


@cache
def known(name: str) -> Drawn:
    return drawn(WORST[name][0], COMPARISONS, 20)


@cache
def judged(name: str, losses: float) -> Judged:
    """With a loss of so many deltas."""
    delta = WORST[name][1]
    return judge(known(name), delta, losses * delta)


def sure(share: float, least: float) -> bool:
    """Whether a share is at least this, also three standard errors lower."""
    return share - 3 * math.sqrt(share * (1 - share) / COMPARISONS) >= least


@pytest.mark.parametrize("name", WORST)
@pytest.mark.parametrize("outcome", [Outcome.SLOWER, Outcome.FASTER])
def test_equal_sides_are_called_different_in_at_most_1_percent(name: str, outcome: Outcome) -> None:
    assert sure(1 - judged(name, 0.0).share(outcome), 0.99)


@pytest.mark.parametrize("name", DECIDED)
def test_equal_sides_are_called_the_same(name: str) -> None:
    assert sure(judged(name, 0.0).share(Outcome.SAME), 0.97)


@pytest.mark.parametrize("name", DECIDED)
@pytest.mark.parametrize(("losses", "outcome"), [(1.0, Outcome.SLOWER), (-1.0, Outcome.FASTER)])
def test_a_difference_of_delta_is_found_in_at_least_94_percent(
    name: str, losses: float, outcome: Outcome
) -> None:
    found = judged(name, losses)
    assert sure(found.share(outcome), 0.94)
    assert sure(1 - found.share(Outcome.SAME), 0.95)
    assert found.share(Outcome(-outcome)) == 0


@pytest.mark.parametrize(
    "name", [*(each for each in HARD if each != "the second start loses 1%"), "noise 1%, delta 2%"]
)
def test_how_many_pairs_a_delta_of_twice_the_noise_takes(name: str) -> None:
    """Whatever days and nodes do; only a difference between the places costs pairs."""
    assert judged(name, 0.0).mean_pairs <= 9
    assert judged(name, 1.0).mean_pairs <= 11


def test_a_quiet_machine_takes_few_pairs() -> None:
    assert judged("noise 0.2%, delta 1%", 0.0).mean_pairs <= 4.5
    assert judged("noise 0.2%, delta 1%", 1.0).mean_pairs <= 5.5


@pytest.mark.parametrize(("noise", "delta"), CASES)
def test_a_comparison_takes_as_many_pairs_as_its_plan_says(noise: float, delta: float) -> None:
    """On the fleets, throttled runs that nobody sees cost up to a quarter of a pair more."""
    name = f"noise {noise:g}%, delta {delta:g}%"
    planned = plan_of(delta).expected_pairs(noise_of_figures(WORLDS[noise]))
    for losses, pairs in zip((0.0, 1.0), planned, strict=True):
        assert judged(name, losses).mean_pairs == pytest.approx(pairs, abs=0.25)


def test_the_page_has_the_pairs_of_simulations_and_plans() -> None:
    page = (DOCS / "background" / "gate-statistics.md").read_text(encoding="utf-8")
    assert plans() in " ".join(page.split())
    for noise, delta in SHOWN:
        found = re.search(
            rf"^\| {noise:g}% \| {delta:g}% \| .*% \| .*% \| ([\d.]+), ([\d.]+) \|$", page, re.MULTILINE
        )
        assert found is not None
        name = f"noise {noise:g}%, delta {delta:g}%"
        for losses, shown in zip((0.0, 1.0), found.groups(), strict=True):
            assert judged(name, losses).mean_pairs == pytest.approx(float(shown), abs=0.15)


def test_noise_that_the_pairs_do_not_resolve_ends_undecided_and_not_wrong() -> None:
    """The errors above hold for it too: a loss of delta is seldom found, and seldom called the same."""
    found = judged(NOISY, 1.0)
    assert found.share(Outcome.UNDECIDED) >= 0.3
    assert sure(1 - found.share(Outcome.SAME), 0.95)
    assert judged(NOISY, 0.0).share(Outcome.UNDECIDED) >= 0.3


@pytest.mark.parametrize("losses", [0.0, 0.3, 0.5, 1.0])
def test_the_interval_holds_the_truth_at_all_looks_together(losses: float) -> None:
    """In 99% with the error of SLOWER and FASTER, in 91% with that of SAME."""
    name = "days"
    found, truth = judged(name, losses), worse(METRIC, losses * 2.0)
    missed = np.zeros(COMPARISONS, bool)
    for pairs in np.unique(found.pairs):
        rows = found.pairs == pairs
        seen = look(plan_of(2.0), known(name).differences[rows, :pairs] + truth)
        missed[rows] = (seen.low > truth) | (seen.high < truth)
    same = found.outcome == Outcome.SAME
    assert (missed & ~same).mean() <= 0.01
    assert (missed & same).mean() <= 0.09


def test_a_difference_between_the_places_is_reported() -> None:
    """In at most 1% or so by mistake, and the more often the larger it is."""
    shares = [
        period_shown(
            found := drawn(Setting(DAY, second_percent=lost), COMPARISONS, 21), judge(found, 2.0, 0.0)
        )
        for lost in (0.0, 1.0, 2.0)
    ]
    assert shares[0] <= 0.015
    assert shares[1] >= 0.15
    assert shares[2] >= 0.6


def test_what_ruins_a_gate_leaves_pairs_alone() -> None:
    """A gate has 3% false alarms there, and finds 88%; see test_gate_simulation.py."""
    shifted, steady = judged("days", 0.0), judged("noise 1%, delta 2%", 0.0)
    for outcome in (Outcome.SLOWER, Outcome.FASTER, Outcome.SAME):
        assert shifted.share(outcome) == pytest.approx(steady.share(outcome), abs=0.002)


@pytest.mark.parametrize("losses", [0.0, 1.0])
def test_simulated_comparisons_are_those_of_a_user(losses: float) -> None:
    """The same figures by the loop's own steps: the same outcome after the same pairs."""
    name = "each start loses 0.1%"
    together, found, truth = judged(name, losses), known(name), worse(METRIC, losses * 2.0)
    status = {Outcome.SLOWER: Status.FAIL, Outcome.SAME: Status.PASS, Outcome.FASTER: Status.PASS}
    rows = [*range(20), *together.pairs.argsort()[-5:], *np.flatnonzero(together.outcome == 0)[:2]]
    for row in map(int, rows):
        plan = pairs_plan(values.scenario(gate={"delta_percent": 2.0}), seed=int(found.seeds[row]), again="")
        comparison = PairsProgress(plan)
        try:
            while isinstance(step := comparison.step(), Next):
                pair = len(comparison.figures)
                lost = found.differences[row, pair] + truth if step.point is Side.NEW else 0.0
                figure = SteadyFigure(8 * math.exp(-lost), 0.1, 5.0, 60.0, 2.0, 24, ())
                comparison.add(PairRun(step.point, "", figure))
        except InconclusiveError:
            assert together.outcome[row] == Outcome.UNDECIDED
        else:
            assert isinstance(step, Answer)
            assert step.value.status is status[Outcome(together.outcome[row])]
            assert comparison.look is not None
            assert comparison.look.outcome == together.outcome[row]
        assert len(comparison.figures) == together.pairs[row]
        firsts = [run.side is Side.OLD for run in comparison.runs[::2]]
        assert firsts == list(found.old_first[row, : len(firsts)] == 1)
