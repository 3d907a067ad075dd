"""A simulated fleet: engine starts on several nodes over many days, throttled now and then.

The numbers below define the model. It is the same for the gate's own tests and for every rule that the gate
is compared with. All figures are natural logarithms of a rate; arrays have one row per simulated gate.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

Array = NDArray[np.float64]

STARTUP_S = 300.0
FULL_S = 600.0
"""The measured time of a full-length run."""
SEEN = 0.9
"""The share of throttled runs that telemetry sees."""
NODES = 4


@dataclass(frozen=True, slots=True)
class World:
    """The differences between runs, in percent of the rate.

    Attributes:
        noise: standard deviation between engine starts on one node and day.
        node: standard deviation between nodes.
        throttled: share of runs that lose 3 to 15%, half of them for 20 to 60% of the run only.
        drift: standard deviation of a day's step of the random walk that all runs share.
        window: coefficient of variation of the rate in windows of 1 s.
        correlation: of neighboring windows.
        day: standard deviation of a shift that all runs of one day share, and no other day; none by default.
    """

    noise: float
    node: float
    throttled: float
    drift: float
    window: float
    correlation: float
    day: float = 0.0

    @property
    def within_variance_s(self) -> float:
        """Variance of a run's mean times its measured seconds (AR(1) windows)."""
        inflation = (1 + self.correlation) / (1 - self.correlation)
        return (self.window / 100) ** 2 * inflation


WORLDS = {
    world.noise: world
    for world in (
        World(0.2, 0.1, 0.003, 0.01, 0.5, 0.5),
        World(0.5, 0.2, 0.005, 0.02, 1.0, 0.5),
        World(1.0, 0.5, 0.010, 0.05, 3.0, 0.7),
        World(2.0, 1.0, 0.020, 0.10, 5.0, 0.9),
    )
}


@dataclass(frozen=True, slots=True)
class Runs:
    """Engine starts.

    Attributes:
        figures: the figure of each run that telemetry did not reject.
        starts: the engine starts of each: 1, and one more if telemetry saw throttling.
    """

    figures: Array
    starts: Array


class Fleet:
    """A fleet that draws runs of simulated gates, each on a random node.

    Args:
        world: the differences between runs.
        gates: how many gates are simulated at once.
        seed: of the random numbers.
    """

    def __init__(self, world: World, gates: int, seed: int) -> None:
        self.world = world
        self.gates = gates
        self._random = np.random.default_rng(seed)
        self._level = np.zeros(gates)
        self._nodes = self._random.normal(0, world.node / 100, (gates, NODES))
        self.node = self._random.integers(0, NODES, gates)

    def days_pass(self, days: float) -> None:
        """Advance the random walk of the level that all runs of a gate share."""
        self._level = self._level + self._random.normal(0, self.world.drift / 100 * days**0.5, self.gates)

    def runs(
        self, count: int, measured_s: Array | float, *, any_node: bool = False, watched: bool = True
    ) -> Runs:
        """Draw engine starts of each gate today, each measured for ``measured_s``.

        Args:
            count: the number of runs.
            measured_s: without the start-up.
            any_node: each on any node, instead of all on the gate's own node.
            watched: telemetry is read, and a run is repeated if it shows throttling.
        """
        shape = (self.gates, count)
        throttled = self._throttled(shape)
        seen = (throttled > 0) & (self._random.random(shape) < (SEEN if watched else 0.0))
        again = np.where(self._random.random(shape) < SEEN, 0.0, self._throttled(shape))
        within = np.sqrt(self.world.within_variance_s / np.broadcast_to(measured_s, (self.gates,)))
        random = self._random.normal(0, 1, (2, *shape))
        figures = random[0] * self.world.noise / 100 + random[1] * within[:, None]
        figures += np.log1p(-np.where(seen, again, throttled)) + self._level[:, None]
        if self.world.day:
            figures += self._random.normal(0, self.world.day / 100, (self.gates, 1))
        node = self._random.integers(0, NODES, shape) if any_node else self.node[:, None]
        figures += np.take_along_axis(self._nodes, np.broadcast_to(node, shape), axis=1)
        return Runs(figures, np.where(seen, 2.0, 1.0))

    def history(
        self, days: int, measured_s: Array | float, *, any_node: bool = False, watched: bool = True
    ) -> Runs:
        """Draw one run per day, the last one yesterday; see :meth:`runs`."""
        parts = []
        for _ in range(days):
            parts.append(self.runs(1, measured_s, any_node=any_node, watched=watched))
            self.days_pass(1)
        return Runs(np.hstack([p.figures for p in parts]), np.hstack([p.starts for p in parts]))

    def windows(self, figures: Array, seconds: int) -> Array:
        """Return the logarithm of the rate in each second of runs with these figures, along a new last axis.

        Their mean is the figure: a loss by throttling in a part of a run is spread over all of it.
        """
        correlation = self.world.correlation
        steps = self._random.normal(0, 1, (*figures.shape, seconds))
        steps[..., 1:] *= (1 - correlation**2) ** 0.5
        noise = lfilter([1.0], [1.0, -correlation], steps)
        noise -= noise.mean(axis=-1, keepdims=True)
        return np.asarray(figures[..., None] + noise * self.world.window / 100)

    def squared_errors(self, count: int, measured_s: float) -> Array:
        """Draw each run's squared standard error from 10 batch means: chi-squared with 9 degrees."""
        draws = self._random.chisquare(9, (self.gates, count)) / 9
        return draws * self.world.within_variance_s / measured_s

    def _throttled(self, shape: tuple[int, int]) -> Array:
        """Draw the share that each run loses; 0 for most."""
        lost = self._random.uniform(0.03, 0.15, shape)
        part = np.where(self._random.random(shape) < 0.5, self._random.uniform(0.2, 0.6, shape), 1.0)
        return np.where(self._random.random(shape) < self.world.throttled, lost * part, 0.0)
