"""The curve through the probes."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pytest_dsr1.search.evidence import Probe
from pytest_dsr1.search.fit import Fit, fit, used

GOAL = 0.99


def at(load: float, misses: float, effective: float = 20_000.0) -> Probe:
    """A probe of a million requests with this share of misses."""
    return Probe(load, 1_000_000, round(1_000_000 * (1 - misses)), effective)


def curve(load: float, answer: float = 100.0, steepness: float = 15.0) -> float:
    """The logistic curve itself."""
    return 1 / (1 + GOAL / (1 - GOAL) * math.pow(answer / load, steepness))


def fitted(*probes: Probe, error: float = 0.05) -> Fit:
    return fit(probes, GOAL, math.log(50), math.log(200), error)


def test_probes_on_a_curve_give_it_back() -> None:
    found = fitted(*(at(load, curve(load)) for load in (95.0, 100.0, 105.0)))
    assert math.exp(found.middle) == pytest.approx(100, rel=0.002)
    assert found.steepness == pytest.approx(15, rel=0.1)
    assert found.scatter == 1
    assert found.low < math.log(100) < found.high


def test_the_interval_is_that_of_the_formula() -> None:
    """A known steepness gives sd = 1 / (steepness sqrt(n p (1 - p))); 95% is 1.96 of them on both sides."""
    found = fitted(*(at(load, curve(load), 200_000.0) for load in (90.0, 99.0, 101.0, 110.0)))
    information = sum(
        200_000 * 15**2 * p * (1 - p) / (1 + 200_000 * p * (1 - p) * (0.1 * away**2) ** 2)
        for load in (90.0, 99.0, 101.0, 110.0)
        for p, away in [(curve(load), 15 * math.log(load / 100))]
    )
    assert found.sd == pytest.approx(information**-0.5, rel=0.15)
    assert found.high - found.low == pytest.approx(2 * 1.96 * found.sd, rel=0.05)


def test_more_requests_and_a_larger_error_make_it_narrower() -> None:
    few = fitted(at(97.0, 0.006, 2_000.0), at(103.0, 0.016, 2_000.0))
    many = fitted(at(97.0, 0.006, 20_000.0), at(103.0, 0.016, 20_000.0))
    bold = fitted(at(97.0, 0.006, 2_000.0), at(103.0, 0.016, 2_000.0), error=0.5)
    assert many.high - many.low < 0.5 * (few.high - few.low)
    assert bold.high - bold.low < 0.5 * (few.high - few.low)
    assert few.low < bold.low < bold.high < few.high


def test_the_grid_follows_a_narrow_answer() -> None:
    """The first grid has cells of 5%; the answer is known to less than a thousandth."""
    probes = [at(load, curve(load, steepness=100.0), 1e6) for load in (99.0, 100.0, 101.0)]
    found = fit(probes, GOAL, math.log(1), math.log(2048), 0.05)
    assert found.middle == pytest.approx(math.log(100), abs=2e-4)
    assert 0 < found.high - found.low < 0.001


def test_far_misses_only_say_that_they_are_far() -> None:
    """Whether 20% or 90% miss at twice the load changes nothing; that it is more than four times 1% does."""
    near = at(97.0, 0.006), at(103.0, 0.016)
    assert not used(at(110.0, 0.2), GOAL)
    assert not used(at(80.0, 0.001), GOAL)
    assert used(near[0], GOAL)
    some, most = (fitted(*near, at(120.0, share, 50.0)) for share in (0.2, 0.9))
    assert some.middle == pytest.approx(most.middle, abs=0.004)
    assert (some.scatter, most.scatter) == (1, 1)


def test_probes_that_scatter_widen_the_interval() -> None:
    calm = fitted(*(at(100.0, share) for share in (0.0095, 0.01, 0.0105, 0.01)))
    wild = fitted(*(at(100.0, share) for share in (0.005, 0.015, 0.007, 0.014)))
    assert calm.scatter == 1
    assert wild.scatter > 5
    assert wild.high - wild.low > 1.8 * (calm.high - calm.low)


def test_the_interval_holds_the_answer_of_a_curve() -> None:
    """Of 400 drawn sets of three probes, with an error of 10%; a far probe's counts may be a few."""
    held = 0
    for seed in range(400):
        draw = np.random.default_rng(seed)
        answer = draw.uniform(80, 120)
        steepness = draw.uniform(5, 40)
        probes = []
        for load in (93.0, 100.0, 107.0):
            missed = int(draw.binomial(5_000, curve(load, answer, steepness)))
            probes.append(Probe(load, 5_000, 5_000 - missed, 5_000.0))
        found = fitted(*probes, error=0.1)
        held += found.low <= math.log(answer) <= found.high
    assert 0.88 * 400 <= held <= 0.97 * 400
