from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.special import ndtr, ndtri
from scipy.stats import norm

from pytest_dsr1.study.boundaries import boundaries, crossing, hwang_shih_decani, in_t


def obrien_fleming(total: float) -> Callable[[float], float]:
    """Lan and DeMets 1983, their alpha-one."""
    far = -ndtri(total / 2)
    return lambda share: float(2 * ndtr(-far / np.sqrt(share)))


def pocock(total: float) -> Callable[[float], float]:
    """Lan and DeMets 1983, their alpha-two."""
    return lambda share: float(total * np.log1p((np.e - 1) * share))


@pytest.mark.parametrize(
    ("spent", "published"),
    [
        # One-sided 2.5%, five equal looks, for the spending functions of Lan and DeMets 1983: what the
        # programs of Reboussin, DeMets, Kim and Lan (Controlled Clinical Trials 2000, 21:190-207) give.
        (obrien_fleming(0.025), (4.877, 3.357, 2.680, 2.290, 2.031)),
        (pocock(0.025), (2.438, 2.427, 2.410, 2.397, 2.386)),
        # One-sided 2.5%, three equal looks, Hwang, Shih and DeCani with gamma -4: the upper bounds of the R
        # package gsDesign's default design.
        (hwang_shih_decani(0.025, -4.0), (3.011, 2.547, 1.999)),
    ],
)
def test_boundaries_are_those_published(
    spent: Callable[[float], float], published: tuple[float, ...]
) -> None:
    looks = len(published)
    shares = [look / looks for look in range(1, looks + 1)]
    assert boundaries(spent, shares) == pytest.approx(published, abs=6e-4)


def test_one_look_is_a_fixed_test() -> None:
    assert boundaries(hwang_shih_decani(0.025, -2.0), [1.0]) == pytest.approx([1.95996], abs=1e-5)


def test_a_boundary_of_t_has_the_tail_area_of_that_of_z() -> None:
    """From a table of t: one-sided 2.5% with 1, 4 and 30 degrees of freedom; 0.5% with 10."""
    z = (1.959964, 1.959964, 1.959964, 2.575829)
    assert in_t(z, (1, 4, 30, 10)) == pytest.approx((12.7062, 2.7764, 2.0423, 3.1693), abs=1e-4)


@pytest.mark.parametrize("gamma", [-4.0, -0.5, 1.0])
@pytest.mark.parametrize("looks", [3, 40])
def test_the_whole_error_is_spent(gamma: float, looks: int) -> None:
    """Also with forty looks, of which the last bring hardly any information."""
    final = 1 / (1 / looks + 0.05)
    shares = [1 / (1 / n + 0.05) / final for n in range(1, looks + 1)]
    upper = boundaries(hwang_shih_decani(0.01, gamma), shares)
    below, above = crossing(shares, [-np.inf] * looks, upper, 0.0)
    spent = hwang_shih_decani(0.01, gamma)
    assert np.cumsum(above) == pytest.approx([spent(share) for share in shares], abs=1e-9)
    assert below.sum() == 0


def test_crossing_agrees_with_simulated_paths() -> None:
    shares, lower, upper = (0.3, 0.7, 1.0), (-0.5, 0.6, 2.0), (3.0, 2.5, 2.0)
    below, above = crossing(shares, lower, upper, 1.7)
    random = np.random.default_rng(7)
    steps = np.diff(shares, prepend=0.0)
    z = (random.normal(1.7 * steps, np.sqrt(steps), (200_000, 3))).cumsum(axis=1) / np.sqrt(shares)
    left, right = np.zeros(3), np.zeros(3)
    going = np.ones(len(z), bool)
    for look in range(3):
        left[look] = (going & (z[:, look] <= lower[look])).mean()
        right[look] = (going & (z[:, look] >= upper[look])).mean()
        going &= (z[:, look] > lower[look]) & (z[:, look] < upper[look])
    assert below == pytest.approx(left, abs=0.004)
    assert above == pytest.approx(right, abs=0.004)
    assert below.sum() + above.sum() == pytest.approx(1.0)


def test_boundaries_of_much_and_of_no_error() -> None:
    """An error of 40% is spent at Z = 0.253, and none at the last Z with a tail area above 0."""
    assert boundaries(lambda share: 0.4 * share, [1.0]) == pytest.approx((-ndtri(0.4),))
    assert boundaries(lambda share: 0.0 if share < 1 else 0.05, [0.5, 1.0])[0] == pytest.approx(
        37.677, abs=1e-3
    )


def test_few_paths_go_on_between_limits_that_are_close() -> None:
    """Of paths with abs(Z) below 0.1 at half of the information, some exceed 1 at all of it."""
    _, above = crossing([0.5, 1.0], [-0.1, -9.0], [0.1, 1.0], 0.0)
    found = quad(lambda z: norm.pdf(z) * norm.sf((1 - z * 0.5**0.5) / 0.5**0.5), -0.1, 0.1)[0]
    assert above[1] == pytest.approx(found)


@pytest.mark.parametrize("drift", [0.0, 3.0, -5.0, 40.0])
def test_looks_without_limits_change_nothing(drift: float) -> None:
    """The last of forty looks is a fixed test then, to the 1e-7 that the rule promises."""
    shares = [look / 40 for look in range(1, 41)]
    last = drift + 0.5
    below, above = crossing(shares, [*[-np.inf] * 39, last], [*[np.inf] * 39, last], drift)
    assert below == pytest.approx([*[0.0] * 39, ndtr(0.5)], abs=1e-7)
    assert above == pytest.approx([*[0.0] * 39, ndtr(-0.5)], abs=1e-7)


@pytest.mark.parametrize(("shares", "most"), [((0.5, 1.0), 50_000), ((0.5, 0.5001, 0.5002, 1.0), 5_000_000)])
def test_a_look_takes_little_memory(shares: tuple[float, ...], most: int) -> None:
    """Also one that adds hardly any information: a table of all points would have 18 MB there."""
    lower, upper = [-np.inf] * len(shares), [np.inf] * len(shares)

    def peak() -> int:
        tracemalloc.start()
        try:
            crossing(shares, lower, upper, 0.0)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    peak()  # makes the rules, which later calls use again
    assert peak() < most
