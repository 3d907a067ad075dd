from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import f

from pytest_dsr1.gate.noise import Level, apart, level, scatters
from pytest_dsr1.study.losses import RESOLUTION


def test_one_run_a_day_is_taken_as_one_group() -> None:
    values = [1.0, 1.02, 0.98, 1.01]
    found = level(values, ["a", "b", "c", "d"])
    assert found.mean == pytest.approx(1.0025)
    assert found.sd == pytest.approx(np.std(values, ddof=1))
    assert (found.freedom, found.shared, found.runs) == (3, 0.25, 4)
    assert found.noise_percent == pytest.approx(found.sd * 100)


def test_days_that_do_not_visibly_differ_are_no_component() -> None:
    random = np.random.default_rng(1)
    found = level(list(random.normal(0, 0.01, 20)), [day for day in range(10) for _ in range(2)])
    assert (found.freedom, found.shared) == (19, 0.05)


def test_a_shift_between_days_is_shared_by_the_candidate() -> None:
    """Ten days with two runs each: the textbook's one-way analysis of variance."""
    random = np.random.default_rng(2)
    days = np.repeat(np.arange(10), 2)
    x = random.normal(0, 0.03, 10)[days] + random.normal(0, 0.01, 20)
    found = level(list(x), list(days))
    means = x.reshape(10, 2).mean(axis=1)
    within = ((x.reshape(10, 2) - means[:, None]) ** 2).sum() / 10
    between = 2 * ((means - x.mean()) ** 2).sum() / 9
    assert found.freedom == 10
    assert found.sd == pytest.approx(within**0.5)
    assert found.shared == pytest.approx(1 / 20 + (between / within - 1) / 2 * (1 + 1 / 10))


def test_nodes_of_a_class_always_count() -> None:
    x = [1.0, 1.01, 1.0, 1.005, 1.01, 1.0]
    assert level(x, ["a", "a", "a", "b", "b", "b"], always=True).freedom == 4
    assert level(x, ["a", "a", "a", "b", "b", "b"]).freedom == 5


def test_equal_references_are_not_believed() -> None:
    assert level([2.0] * 12, range(12)).sd == RESOLUTION
    assert level([2.0] * 12, [0, 1] * 6, always=True).sd == RESOLUTION


def test_values_that_scatter_more_than_the_references() -> None:
    references = level([0.0, 0.01, -0.01, 0.005, -0.005, 0.002, -0.002, 0.01, -0.01, 0.0], range(10))
    assert not scatters(references, [5.0])
    assert not scatters(references, [5.0, 5.01, 4.99])
    assert scatters(references, [5.0, 5.05, 4.95])


def test_how_well_the_noise_is_known() -> None:
    """The 2.5% points of chi-squared with 19 degrees of freedom are 8.907 and 32.852."""
    low, high = Level(0.0, 0.01, 19, 1 / 20, 20).interval
    assert low == pytest.approx(0.01 * math.sqrt(19 / 32.852), rel=1e-4)
    assert high == pytest.approx(0.01 * math.sqrt(19 / 8.907), rel=1e-4)


def test_groups_that_lie_apart() -> None:
    """By t times the standard error: 2.878 is the 1% point of t with 18 degrees of freedom."""
    one = [0.01, -0.01] * 5
    step = math.sqrt(20 * 0.01**2 / 18 * 2 / 10)
    assert not apart(one, [x + 2.87 * step for x in one])
    assert apart(one, [x + 2.89 * step for x in one])
    assert apart([x + 2.89 * step for x in one], one)


def test_too_few_values_to_lie_apart() -> None:
    assert not apart([], [0.0, 0.01, 5.0])
    assert not apart([0.0], [5.0])
    assert apart([0.0, 0.01, 0.0], [5.0])


def test_equal_values_lie_apart_by_more_than_is_resolved() -> None:
    assert not apart([0.0] * 5, [RESOLUTION] * 5)
    assert apart([0.0] * 5, [3 * RESOLUTION] * 5)

    assert not apart([2.0] * 5, [2.0 + RESOLUTION] * 5), "wherever they lie"


def test_three_values_are_the_fewest_that_can_lie_apart() -> None:
    """One degree of freedom: t of 63.7 at 1%, here 82 and 49 times the standard error."""
    step = 0.01 / math.sqrt(2) * math.sqrt(1 + 1 / 2)
    assert apart([0.0, 0.01], [0.005 + 82 * step])
    assert not apart([0.0, 0.01], [0.005 + 49 * step])


@pytest.mark.parametrize("share", [0.99, 1.01])
def test_days_differ_visibly_above_the_5_percent_point_of_f(share: float) -> None:
    """Three days of four runs: 2 and 9 degrees of freedom, and the mean square within days is 4/3."""
    within = np.array([-1.0, 1.0, -1.0, 1.0])
    step = math.sqrt(float(f.isf(0.05, 2, 9)) * share * (4 / 3) / 4)
    values = np.concatenate([within - step, within, within + step])
    found = level(list(values), [day for day in range(3) for _ in range(4)])
    assert (found.freedom == 9) == (share > 1)


def test_days_of_unequal_numbers_of_runs() -> None:
    """Searle's n0 for days of one, two and five runs is (8 - 30 / 8) / 2 = 2.125."""
    days = [[0.0], [2.0, 2.2], [5.0, 5.1, 5.2, 5.3, 5.4]]
    x = np.concatenate(days)
    within = (2 * 0.1**2 + 2 * 0.2**2 + 2 * 0.1**2) / 5
    between = sum(len(day) * (np.mean(day) - x.mean()) ** 2 for day in days) / 2
    found = level(list(x), [number for number, day in enumerate(days) for _ in day])
    assert found.freedom == 5
    assert found.sd == pytest.approx(within**0.5)
    assert found.shared == pytest.approx(1 / 8 + (between / within - 1) / 2.125 * (1 + 30 / 64))


def test_nodes_closer_than_their_noise_add_no_variance() -> None:
    found = level([1.0, 1.02, 1.0, 1.02], ["a", "a", "b", "b"], always=True)
    assert (found.freedom, found.shared) == (2, 1 / 4)


def test_a_class_with_one_node_so_far_is_one_group() -> None:
    assert level([1.0, 1.02, 1.01], ["a"] * 3, always=True) == level([1.0, 1.02, 1.01], range(3))


@pytest.mark.parametrize(("count", "share"), [(2, 0.99), (2, 1.01), (3, 0.99), (3, 1.01)])
def test_values_scatter_more_above_the_1_percent_point_of_f(count: int, share: float) -> None:
    references = Level(0.0, 0.01, 9, 1 / 10, 10)
    sd = 0.01 * math.sqrt(float(f.isf(0.01, count - 1, 9)) * share)
    values = [0.0, sd * math.sqrt(2)] if count == 2 else [-sd, 0.0, sd]
    assert scatters(references, values) == (share > 1)


def test_an_error_within_a_run_is_small_next_to_a_third_of_the_noise() -> None:
    assert Level(0.0, 0.012, 9, 1 / 10, 10).small_percent == pytest.approx(0.4)
