"""Pairs on simulated fleets, through the product's own decision. Needs no GPU, and ten seconds.

    python -m benchmarks.gating.pairs

docs/background/gate-statistics.md shows the table.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from benchmarks.gating.world import FULL_S, NODES, WORLDS, Array, Fleet, World
from pytest_dsr1.pairs.decision import MOST_PAIRS, Design, Outcome, design, outcomes, period
from pytest_dsr1.pairs.order import Side, sides
from pytest_dsr1.study.losses import worse

METRIC = "total_output_throughput"
COMPARISONS, SEED = 20_000, 14
"""Simulated for each line of the table."""
STARTS_PER_DAY = 96
"""A start every 15 minutes."""


def normal(random: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Draw what the gate's own worlds have."""
    return random.normal(0, 1, shape)


def heavy(random: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Draw Student's t with 3 degrees of freedom: one start in 70 is beyond 3 standard deviations."""
    return random.standard_t(3, shape) / math.sqrt(3)


def skewed(random: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Draw minus an exponential: most starts are near the best speed."""
    return 1 - random.exponential(1, shape)


def two_speeds(random: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Draw one of two speeds with equal probability, as if each start chose between two kernels."""
    return np.where(random.random(shape) < 0.5, 1.0, -1.0)


@dataclass(frozen=True, slots=True)
class Setting:
    """How the starts of comparisons differ; percentages are of the rate.

    Attributes:
        world: the gate's own world: noise, throttled runs, error within a run. Its ``node`` is used if pairs
            are on several nodes, its ``day`` if a comparison takes more than one day.
        noise: draws starts of one side on one machine and day, with mean 0 and variance 1.
        any_node: each pair is on a random node.
        drift_percent: what each start loses against the one before it: a machine that warms up all day.
        second_percent: what the second start of each pair loses against the first.
    """

    world: World
    noise: Callable[[np.random.Generator, tuple[int, ...]], Array] = normal
    any_node: bool = False
    drift_percent: float = 0.0
    second_percent: float = 0.0


@dataclass(frozen=True, slots=True)
class Drawn:
    """Comparisons of equal sides; one row per comparison.

    Attributes:
        differences: of each pair.
        seeds: of each comparison's order.
        old_first: 1 for pairs that begin with the old side.
    """

    differences: Array
    seeds: NDArray[np.int_]
    old_first: Array


def drawn(setting: Setting, comparisons: int, seed: int, most: int = MOST_PAIRS) -> Drawn:
    """Draw comparisons of equal sides, with the largest number of pairs; each has an order of its own.

    The day ends after a random start, and also between the two starts of a pair.
    """
    world, starts = setting.world, 2 * most
    random = np.random.default_rng(seed)
    fleet = Fleet(replace(world, noise=0.0, node=0.0, day=0.0), comparisons, seed + 1)
    figures = fleet.runs(starts, FULL_S).figures
    figures += setting.noise(random, figures.shape) * world.noise / 100
    if setting.any_node:
        node = random.normal(0, world.node / 100, (comparisons, NODES))
        figures += np.take_along_axis(
            node, random.integers(0, NODES, (comparisons, most)).repeat(2, axis=1), axis=1
        )
    if world.day:
        tomorrow = np.arange(starts) >= random.integers(0, STARTS_PER_DAY, (comparisons, 1))
        shifts = random.normal(0, world.day / 100, (2, comparisons, 1))
        figures += np.where(tomorrow, shifts[0], shifts[1])
    figures -= np.arange(starts) * setting.drift_percent / 100
    figures -= np.arange(starts) % 2 * setting.second_percent / 100
    orders = np.array([[sides(seed, pair)[0] is Side.OLD for pair in range(most)] for seed in range(256)])
    seeds = random.integers(0, len(orders), comparisons)
    old_first = orders[seeds]
    first, second = figures[:, ::2], figures[:, 1::2]
    return Drawn(np.where(old_first, first - second, second - first), seeds, old_first.astype(float))


@dataclass(frozen=True, slots=True)
class Judged:
    """The outcomes of comparisons; arrays have one value per comparison.

    Attributes:
        outcome: an :class:`Outcome` as a number.
        pairs: how many it took.
    """

    outcome: NDArray[np.int_]
    pairs: NDArray[np.int_]

    def share(self, outcome: Outcome) -> float:
        """Return the share of comparisons with this outcome."""
        return float((self.outcome == outcome).mean())

    @property
    def mean_pairs(self) -> float:
        """The average number of pairs."""
        return float(self.pairs.mean())


def plan_of(delta_percent: float, most: int = MOST_PAIRS) -> Design:
    """Return the design for a delta in percent of a rate."""
    return design(worse(METRIC, delta_percent), most)


def judge(found: Drawn, delta_percent: float, loss_percent: float) -> Judged:
    """Judge comparisons whose new side is really slower by ``loss_percent``; negative is faster."""
    plan = plan_of(delta_percent, found.differences.shape[1])
    return Judged(*outcomes(plan, found.differences + worse(METRIC, loss_percent)))


def period_shown(found: Drawn, judged: Judged) -> float:
    """Return the share of comparisons that report a difference between the places in a pair."""
    shown = np.zeros(len(judged.pairs), bool)
    for pairs in np.unique(judged.pairs):
        rows = judged.pairs == pairs
        shown[rows] = period(found.differences[rows, :pairs], found.old_first[rows, :pairs]).shown
    return float(shown.mean())


DAY = replace(WORLDS[1.0], day=0.5)
"""The world of noise 1%, with days that differ by 0.5%: a gate gives 3.2% false alarms there."""
HARD = {
    "days": Setting(DAY),
    "each pair on a random node": Setting(DAY, any_node=True),
    "heavy tails": Setting(DAY, heavy),
    "skewed": Setting(DAY, skewed),
    "two speeds": Setting(DAY, two_speeds),
    "each start loses 0.1%": Setting(DAY, drift_percent=0.1),
    "the second start loses 1%": Setting(DAY, second_percent=1.0),
}
"""What may differ besides the noise, at a noise of 1%; days always do."""
CASES = ((0.2, 1.0), (0.5, 1.5), (0.5, 2.0), (1.0, 2.0), (1.0, 3.0), (2.0, 5.0))
"""Noise between starts and delta, in percent; those of the gate."""


SHOWN = ((0.2, 1.0), (0.5, 1.5), (1.0, 2.0), (2.0, 5.0))
"""Those of the table."""
HEAD = ("noise", "delta", "false SLOWER, FASTER", "loss, gain of delta found", "pairs if equal, at a loss")


def noise_of_figures(world: World) -> float:
    """Return the noise that pairs see: that between starts, with the error within a run; not in percent."""
    return math.sqrt((world.noise / 100) ** 2 + world.within_variance_s / FULL_S)


def plans() -> str:
    """Return what plans of the table's first rows say, as a sentence for the docs."""
    noises = [noise_of_figures(WORLDS[noise]) for noise, _ in SHOWN]
    said = [plan_of(delta).expected_pairs(noise) for noise, (_, delta) in zip(noises, SHOWN, strict=True)]
    equal, lost = (", ".join(f"{each:.1f}" for each in column) for column in zip(*said, strict=True))
    listed = ", ".join(f"{noise:.2%}" for noise in noises)
    exact = " and ".join(f"{each:.1f}" for each in plan_of(2.0).expected_pairs(0.01))
    return (
        f"Pairs see, and a plan means, the noise with the error within a run: {listed}. For these a plan "
        f"says {equal} pairs if equal and {lost} at a loss; for 1% in all, and a delta of 2%, {exact}."
    )


def row(name: str, delta: float, found: Drawn) -> str:
    """Return a line of the table for the docs."""
    equal, loss, gain = (judge(found, delta, each) for each in (0.0, delta, -delta))
    cells = (
        name,
        f"{delta:g}%",
        f"{equal.share(Outcome.SLOWER):.2%}, {equal.share(Outcome.FASTER):.2%}",
        f"{loss.share(Outcome.SLOWER):.1%}, {gain.share(Outcome.FASTER):.1%}",
        f"{equal.mean_pairs:.1f}, {loss.mean_pairs:.1f}",
    )
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Simulate and print."""
    print(f"| {' | '.join(HEAD)} |\n|{'---|' * len(HEAD)}")
    for noise, delta in SHOWN:
        print(row(f"{noise:g}%", delta, drawn(Setting(WORLDS[noise]), COMPARISONS, SEED)))
    for name, setting in HARD.items():
        print(row(f"1%, {name}", 2.0, drawn(setting, COMPARISONS, SEED)))
    print(f"\n{plans()}")
    print("\nThe places in a pair are called different, at a noise of 1%:")
    for lost in (0.0, 1.0, 2.0):
        found = drawn(Setting(DAY, second_percent=lost), COMPARISONS, SEED)
        share = period_shown(found, judge(found, 2.0, 0.0))
        print(f"{share:.1%} if the second start is {lost:g}% slower")


if __name__ == "__main__":
    main()
