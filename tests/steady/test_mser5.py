"""MSER-5 and batch means on series whose truth is known."""

from __future__ import annotations

from statistics import fmean, pvariance

import numpy as np
import pytest
from numpy.typing import NDArray

from pytest_dsr1.steady.mser5 import batch_edges, mser5, standard_error

T9 = 2.262
"""Student's t with 9 degrees of freedom, two-sided 95%."""
SERIES = 1500


def ar1(windows: int, cv: float, rho: float) -> NDArray[np.float64]:
    """Windows of a rate whose mean is 1, a series a row."""
    random = np.random.default_rng(20261124).normal(size=(windows, SERIES))
    rows = [random[0]]
    for row in random[1:]:
        rows.append(rho * rows[-1] + (1 - rho**2) ** 0.5 * row)
    return 1 + cv * np.array(rows).T


def batch_means_error(series: NDArray[np.float64]) -> float:
    edges = batch_edges(len(series))
    return standard_error(np.add.reduceat(series, edges[:-1]), np.diff(edges).astype(float))


@pytest.mark.parametrize("cv", [0.01, 0.05])
@pytest.mark.parametrize(
    ("windows", "rho", "least", "naive_most"),
    # Batches of 12 windows still depend on each other where 0.9 of a window goes over to the next.
    [(120, 0.5, 0.92, 0.78), (600, 0.5, 0.935, 0.78), (120, 0.9, 0.78, 0.37), (600, 0.9, 0.92, 0.39)],
)
def test_batch_means_cover_what_they_say(
    windows: int, rho: float, cv: float, least: float, naive_most: float
) -> None:
    series = ar1(windows, cv, rho)
    off = np.abs(series.mean(axis=1) - 1)
    covered = np.mean(off < T9 * np.array([batch_means_error(one) for one in series]))
    naive = np.mean(off < 1.96 * series.std(axis=1, ddof=1) / windows**0.5)
    assert least <= covered <= 0.965
    assert naive <= naive_most


@pytest.mark.parametrize(("cv", "rho"), [(0.01, 0.5), (0.05, 0.9)])
def test_the_cut_removes_the_bias_of_a_ramp(cv: float, rho: float) -> None:
    ramp = 1 - 0.3 * np.exp(-np.arange(600) / 15)
    steady = ar1(600, cv, rho)[:600]
    series = steady * ramp
    assert series.mean() - steady.mean() == pytest.approx(-0.00775, abs=0.00005)
    assert abs(np.mean([one[mser5(one) :].mean() for one in series]) - steady.mean()) < 0.001


def test_the_cut_is_where_the_step_is() -> None:
    place = np.arange(200)
    assert mser5(np.where(place < 40, 0.5, 1.0)) == 40
    assert mser5(np.where(place < 100, place, 100.0)) == 100
    assert mser5(np.where(place < 150, place, 150.0)) == 100, "at most half is cut"


def by_the_rule(series: NDArray[np.float64]) -> int:
    """The cut with the least variance of the batches behind it over their number, in plain Python."""
    batches = [fmean(series[begin : begin + 5]) for begin in range(0, len(series) - 4, 5)]
    count = len(batches)
    return 5 * min(range(count // 2 + 1), key=lambda cut: pvariance(batches[cut:]) / (count - cut))


def test_the_cut_is_that_of_the_rule() -> None:
    series = ar1(123, 0.2, 0.7)[:150] * (1 - 0.5 * np.exp(-np.arange(123) / 9))
    cuts = [mser5(one) for one in series]
    assert cuts == [by_the_rule(one) for one in series]
    assert len(set(cuts)) > 5


@pytest.mark.parametrize("unit", [1e-12, 1e12])
def test_the_cut_does_not_depend_on_the_unit(unit: float) -> None:
    series = ar1(120, 0.2, 0.7)[:20] * (1 - 0.5 * np.exp(-np.arange(120) / 9))
    assert [mser5(one * unit) for one in series] == [mser5(one) for one in series]


def test_nothing_is_cut_from_what_is_constant_or_short() -> None:
    constant = np.full(500, 0.1) * np.linspace(1, 1 + 1e-14, 500)
    assert mser5(constant) == 0, "rounding is no warm-up"
    assert mser5(np.zeros(500)) == 0
    assert mser5(np.arange(49.0)) == 0, "nine batches"
    assert mser5(np.arange(50.0)) == 25, "ten batches"


@pytest.mark.parametrize(
    ("count", "edges"),
    [(2, [0, 1, 2]), (9, list(range(10))), (25, [0, 2, 5, 7, 10, 12, 15, 17, 20, 22, 25])],
)
def test_ten_batches_or_one_each(count: int, edges: list[int]) -> None:
    assert batch_edges(count).tolist() == edges


def test_the_standard_error_of_equal_batches_is_that_of_their_means() -> None:
    means = np.array([1.0, 2.0, 4.0, 5.0])
    assert standard_error(means * 7, np.full(4, 7.0)) == pytest.approx(means.std(ddof=1) / 2)


def test_unequal_batches_of_one_rate_have_no_error() -> None:
    sizes = np.array([1.0, 2.0, 3.0])
    assert standard_error(5 * sizes, sizes) == pytest.approx(0, abs=1e-15)
