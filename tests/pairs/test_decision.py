"""The decision of pairs on differences that are made by hand; the promises are in the simulation."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import stdtrit
from scipy.stats import ttest_ind

from pytest_dsr1.pairs import decision
from pytest_dsr1.pairs.decision import FIRST, Outcome, design, look, outcomes, period
from pytest_dsr1.study.boundaries import hwang_shih_decani

if TYPE_CHECKING:
    from pytest_dsr1.arrays import Floats

DELTA = 0.02
DESIGN = design(DELTA)


def around(mean: float, sd: float, pairs: int) -> Floats:
    """Return differences with exactly this mean and standard deviation."""
    raw = np.linspace(-1, 1, pairs)
    return np.asarray(mean + raw * sd / raw.std(ddof=1))


def test_the_first_look_spends_what_is_due_by_then() -> None:
    """Later boundaries follow from the recursion, which is tested on published ones."""
    share = FIRST / 24
    for limits, error in ((DESIGN.shown, 0.005), (DESIGN.excluded, 0.045)):
        assert limits[0] == pytest.approx(-stdtrit(3, hwang_shih_decani(error, 1.0)(share)))
        assert list(limits) == sorted(limits, reverse=True)
        assert len(limits) == 21
    assert DESIGN.most_pairs == decision.MOST_PAIRS == 24


@pytest.mark.parametrize("most", [3, 0])
def test_fewer_pairs_than_the_first_look_needs(most: int) -> None:
    with pytest.raises(ValueError, match=f"^at least 4 pairs are needed, not {most}$"):
        design(DELTA, most)
    assert design(DELTA, 4).most_pairs == 4


@pytest.mark.parametrize(
    ("mean", "outcome"),
    [(0.03, Outcome.SLOWER), (-0.03, Outcome.FASTER), (0.0, Outcome.SAME), (0.01, Outcome.UNDECIDED)],
)
def test_the_interval_is_the_outcome(mean: float, outcome: Outcome) -> None:
    found = look(DESIGN, around(mean, 0.01, 8))
    limit = (DESIGN.excluded if outcome is Outcome.SAME else DESIGN.shown)[4]
    assert found.outcome == outcome
    assert (found.loss, found.noise) == pytest.approx((mean, 0.01 / math.sqrt(2)))
    assert (found.low, found.high) == pytest.approx(
        (mean - limit * 0.01 / math.sqrt(8), mean + limit * 0.01 / math.sqrt(8))
    )
    assert {
        Outcome.SLOWER: found.low > 0,
        Outcome.FASTER: found.high < 0,
        Outcome.SAME: -DELTA < found.low < 0 < found.high < DELTA,
        Outcome.UNDECIDED: found.low < 0 < found.high and found.high > DELTA,
    }[outcome]
    assert found.differs == (outcome in {Outcome.SLOWER, Outcome.FASTER})


@pytest.mark.parametrize("mean", [0.012, -0.012])
def test_a_loss_that_is_shown_and_less_than_delta_is_no_failure(mean: float) -> None:
    found = look(DESIGN, around(mean, 0.001, 8))
    assert found.outcome == Outcome.SAME
    assert found.differs


@pytest.mark.parametrize("outcome", [Outcome.SLOWER, Outcome.SAME])
def test_each_test_decides_at_its_limit(outcome: Outcome) -> None:
    error = 0.01 / math.sqrt(10)
    at = DESIGN.shown[6] * error if outcome is Outcome.SLOWER else DELTA - DESIGN.excluded[6] * error
    decided, not_yet = (1.001, 0.999) if outcome is Outcome.SLOWER else (0.999, 1.001)
    assert DELTA - DESIGN.excluded[6] * error < DESIGN.shown[6] * error
    for sign in (1, -1):
        found = look(DESIGN, around(sign * at * decided, 0.01, 10)).outcome
        assert found == (outcome if outcome is Outcome.SAME else sign * outcome)
        assert look(DESIGN, around(sign * at * not_yet, 0.01, 10)).outcome == Outcome.UNDECIDED


def test_equal_figures_are_not_infinitely_certain() -> None:
    """Differences that are equal by chance: the noise is at least 0.01%."""
    assert look(DESIGN, np.full(4, 0.0)).outcome == Outcome.SAME
    quiet = design(0.0001)
    found = look(quiet, np.full(4, 0.0002))
    assert found.outcome == Outcome.UNDECIDED
    assert found.noise == pytest.approx(1e-4 / math.sqrt(2))
    assert look(quiet, np.full(4, 0.001)).outcome == Outcome.SLOWER


@given(st.lists(st.floats(-0.1, 0.1), min_size=FIRST, max_size=24))
def test_the_sides_are_treated_alike(differences: list[float]) -> None:
    here, swapped = (look(DESIGN, sign * np.array(differences)) for sign in (1, -1))
    mirrored = {Outcome.SLOWER: Outcome.FASTER, Outcome.FASTER: Outcome.SLOWER}
    assert swapped.outcome == mirrored.get(Outcome(int(here.outcome)), here.outcome)
    assert (swapped.low, swapped.high) == pytest.approx((-here.high, -here.low))


def test_many_comparisons_are_decided_as_one_is() -> None:
    differences = np.random.default_rng(3).normal(0.01, 0.02, (60, 24))
    found, taken = outcomes(DESIGN, differences)
    for row in range(60):
        for pairs in range(FIRST, 25):
            alone = look(DESIGN, differences[row, :pairs])
            if alone.outcome:
                break
        assert (alone.outcome, pairs) == (found[row], taken[row])
    assert {*found} == {Outcome.SLOWER, Outcome.SAME, Outcome.UNDECIDED}


@pytest.mark.parametrize("most", [8, 24])
def test_the_noise_at_which_the_last_look_surely_decides(most: int) -> None:
    plan = design(DELTA, most)
    sd = plan.resolved_noise * math.sqrt(2)
    means = np.linspace(0, 0.03, 301)

    def undecided(share: float) -> bool:
        rows = np.array([around(mean, share * sd, most) for mean in means])
        return bool((look(plan, rows).outcome == Outcome.UNDECIDED).any())

    assert not undecided(0.999)
    assert undecided(1.05)


@pytest.mark.parametrize("noise", [0.004, 0.01])
def test_the_expected_pairs_are_those_of_other_draws(noise: float) -> None:
    scatter = np.random.default_rng(6).normal(0, noise * math.sqrt(2), (20_000, 24))
    expected = [outcomes(DESIGN, scatter + lost)[1].mean() for lost in (0.0, DELTA)]
    assert DESIGN.expected_pairs(noise) == pytest.approx(expected, abs=0.2)


def test_the_places_in_a_pair_are_compared_by_a_t_test() -> None:
    random = np.random.default_rng(8)
    for pairs in (4, 7, 24):
        old_first = np.array([1.0, 0.0] * 12)[:pairs]
        for effect in (0.0, 0.01, -0.02):
            differences = 0.02 + random.normal(0, 0.01, pairs) + effect * (2 * old_first - 1)
            found = period(differences, old_first)
            one, other = differences[old_first == 1], differences[old_first == 0]
            assert found.loss == pytest.approx((one.mean() - other.mean()) / 2)
            assert found.shown == (ttest_ind(one, other).pvalue < 0.01)


@pytest.mark.parametrize("pairs", [4, 6, 12])
def test_the_limit_of_that_test_is_1_percent(pairs: int) -> None:
    """Two-sided: t of pairs - 2 degrees of freedom is exceeded by 0.5% on each side."""
    old_first = np.array([1.0, 0.0] * (pairs // 2))
    noise = np.repeat(np.linspace(-1, 1, pairs // 2), 2)
    error = math.sqrt((noise**2).sum() / (pairs - 2) * 4 / pairs)
    apart = -stdtrit(pairs - 2, 0.005) * error
    for sign in (1, -1):
        assert period(noise + sign * apart * 1.001 * old_first, old_first).shown
        assert not period(noise + sign * apart * 0.999 * old_first, old_first).shown


def test_the_second_place_is_slower_if_the_new_side_loses_when_the_old_one_began() -> None:
    old_first = np.array([1.0, 0.0, 0.0, 1.0, 0.0, 1.0])
    found = period(np.where(old_first == 1, 0.03, 0.01) + np.arange(6) * 1e-4, old_first)
    assert found.loss == pytest.approx(0.01, abs=1e-4)
    assert found.shown
    assert not period(np.full(6, 0.02), old_first).shown


def test_places_that_differ_by_less_than_a_figure_can_tell_are_not_shown() -> None:
    """Without any noise: 0.005% is less than the 0.01% that differences have at least."""
    old_first = np.array([1.0, 0.0] * 3)
    assert not period(5e-5 * old_first, old_first).shown
    assert period(5e-3 * old_first, old_first).shown


def test_the_places_of_many_comparisons_are_compared_as_those_of_one_are() -> None:
    random = np.random.default_rng(9)
    old_first = np.array([[1.0, 0.0, 0.0, 1.0, 0.0, 1.0], [0.0, 1.0, 0.0, 1.0, 1.0, 1.0]] * 20)
    differences = random.normal(0, 0.01, old_first.shape) + 0.02 * old_first
    found = period(differences, old_first)
    alone = [period(*each) for each in zip(differences, old_first, strict=True)]
    assert found.loss == pytest.approx([each.loss for each in alone])
    assert found.shown.tolist() == [each.shown for each in alone]
    assert {*found.shown.tolist()} == {True, False}
