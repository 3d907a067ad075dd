"""Queues with a known answer, which stand in for servers. Times are in units of the mean service time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaincc

Floats = NDArray[np.float64]


class Run(Protocol):
    """A running probe."""

    def more(self, count: int) -> tuple[Floats, Floats]:
        """Return start and latency of the next requests."""


class Server(Protocol):
    """A server whose answer is known."""

    @property
    def whole(self) -> bool:
        """Whether its load is a concurrency."""

    def answer(self, goal: float) -> float:
        """Return the highest load that keeps the goal."""

    @property
    def limit(self) -> float:
        """The latency that a request must keep."""

    def run(self, load: float, rng: np.random.Generator) -> Run:
        """Start a probe."""


@dataclass(frozen=True, slots=True)
class OneQueue:
    """Poisson arrivals at one server with exponential service (M/M/1): P(T > t) = exp(-(1 - rate) t)."""

    limit: float
    scale: float = 1.0
    whole: bool = False

    def answer(self, goal: float) -> float:
        """Return the highest rate that keeps the goal, in ``scale`` per service time."""
        return self.scale * (1 + math.log(1 - goal) / self.limit)

    def run(self, load: float, rng: np.random.Generator) -> Run:
        """Start with an empty queue."""
        return _OneQueue(load / self.scale, rng)


@dataclass(slots=True)
class _OneQueue:
    load: float
    rng: np.random.Generator
    left: float = 0.0
    now: float = 0.0

    def more(self, count: int) -> tuple[Floats, Floats]:
        """By Lindley's recursion: a request waits for what is left of the one before it."""
        work = self.rng.standard_exponential(count)
        gaps = self.rng.standard_exponential(count)
        gaps /= self.load
        start = self.now + np.cumsum(gaps)
        ahead = -gaps
        ahead[0] += self.left
        ahead[1:] += work[:-1]
        np.cumsum(ahead, out=ahead)
        latency = ahead - np.minimum(np.minimum.accumulate(ahead), 0.0) + work
        self.now, self.left = float(start[-1]), float(latency[-1])
        return start, latency


@dataclass(frozen=True, slots=True)
class ClosedQueue:
    """So many clients at one server, first come first served: a request waits for one service of each."""

    limit: float
    whole: bool = True

    def answer(self, goal: float) -> float:
        """Return the most clients that keep the goal: the time of a request is a gamma variable."""
        low, high = 0, 1 << 20
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if gammaincc(middle, self.limit) <= 1 - goal else (low, middle)
        return float(low)

    def run(self, load: float, rng: np.random.Generator) -> Run:
        """Start with all clients at once."""
        return _ClosedQueue(np.zeros(round(load)), rng)


@dataclass(slots=True)
class _ClosedQueue:
    starts: Floats
    rng: np.random.Generator
    now: float = 0.0

    def more(self, count: int) -> tuple[Floats, Floats]:
        """A request starts when the one ends that was as many places before it as there are clients."""
        ends = self.now + np.cumsum(self.rng.standard_exponential(count))
        begun = np.concatenate([self.starts, ends])
        self.starts, self.now = begun[count:], float(ends[-1])
        return begun[:count], ends - begun[:count]
