"""Searches on stand-in queues: ours, by the product's own decisions, and plain bisection."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.search.queues import ClosedQueue, Floats, OneQueue, Server
from pytest_dsr1.scenario.schema.search import WARM_UP_SHARE
from pytest_dsr1.search.decision import Found, decide, enough
from pytest_dsr1.search.evidence import Probe, probe_of
from pytest_dsr1.search.placing import Plan, Question
from pytest_dsr1.search.saturation import oversaturated

LOW, HIGH, WIDTH_PERCENT = 1.0, 2048.0, 5.0
_FIRST = 200
"""The requests at a probe's first look."""
_QUEUE_SEEN = 20_000
"""A longer probe is not looked at for over-saturation: its misses have decided by then."""
_FAR = 0.3
"""Bisection surely decides a probe whose load is this far from the answer, on the natural logarithm."""
_CHUNK = 1 << 18


@dataclass(frozen=True, slots=True)
class World:
    """A kind of server; each search has one of its own, so that answers lie anywhere between probes.

    Attributes:
        name: for tables.
        rate: whether the load is a rate; otherwise a concurrency.
        limit: the latency to keep, in mean service times.
        goal: the share of requests that must keep it.
    """

    name: str
    rate: bool
    limit: float
    goal: float

    def server(self, rng: np.random.Generator) -> Server:
        """Return the server of one search."""
        if self.rate:
            return OneQueue(self.limit, scale=float(rng.uniform(20, 200)))
        return ClosedQueue(self.limit * float(rng.uniform(0.8, 1.25)))

    def asked(self) -> Question:
        """Return what is searched."""
        return Question(LOW, HIGH, self.goal, WIDTH_PERCENT, whole=not self.rate)


WORLDS = (
    World("rate, limit 20 service times", rate=True, limit=20.0, goal=0.99),
    World("rate, limit 10 service times", rate=True, limit=10.0, goal=0.99),
    World("rate, limit 20 service times", rate=True, limit=20.0, goal=0.95),
    World("rate, limit 10 service times", rate=True, limit=10.0, goal=0.9),
    World("concurrency, about 15", rate=False, limit=27.0, goal=0.99),
    World("concurrency, about 40", rate=False, limit=60.0, goal=0.99),
    World("concurrency, about 350", rate=False, limit=400.0, goal=0.99),
)


@dataclass(frozen=True, slots=True)
class Search:
    """One search and the truth."""

    found: Found
    probes: tuple[Probe, ...]
    answer: float

    @property
    def holds(self) -> bool:
        """Whether the interval holds the answer."""
        return self.found.low <= self.answer <= self.found.high

    @property
    def requests(self) -> int:
        """The requests of all probes."""
        return sum(probe.sent for probe in self.probes)


def probe(server: Server, plan: Plan, goal: float, rng: np.random.Generator) -> Probe:
    """Run a probe, and look at it as it grows, as a run of an engine does."""
    return measured(server, plan, goal, rng)[0]


def measured(server: Server, plan: Plan, goal: float, rng: np.random.Generator) -> tuple[Probe, float]:
    """Run a probe, and return it with its throughput, in requests per mean service time."""
    run = server.run(plan.load, rng)
    clients = round(plan.load) if server.whole else 0
    count = max(_FIRST, 2 * clients, 0 if plan.sides else plan.requests // 4)
    starts, latencies = np.empty(0), np.empty(0)
    while True:
        count = min(count, plan.requests)
        more = run.more(count - len(starts))
        starts, latencies = np.concatenate([starts, more[0]]), np.concatenate([latencies, more[1]])
        strain = latencies / server.limit
        seen = probe_of(plan.load, strain, settling=clients)
        throughput = count / float((starts + latencies).max() - starts[0])
        if not server.whole and count <= _QUEUE_SEEN and hopeless(starts, latencies, strain, goal):
            return replace(seen, oversaturated=True), throughput
        if enough(plan, seen, goal) or count == plan.requests:
            return seen, throughput
        missing = 1.05 * plan.effective / max(seen.effective, 1.0)
        count = int(count * min(max(missing, 1.3), 1.7 if plan.sides else 4.0)) + 1


def hopeless(start: Floats, latency: Floats, strain: Floats, goal: float) -> bool:
    """Return whether the queue is over-saturated, by what is known when the last request comes."""
    end = start + latency
    return oversaturated(start, np.where(end > start[-1], np.inf, end), strain, goal)


def stopped_after(server: Server, rate: float, goal: float, seed: int) -> int:
    """Return after how many requests a probe of an open loop is stopped, of 6,400; 0 if it never is."""
    start, latency = server.run(rate, np.random.default_rng(seed)).more(6_400)
    strain = latency / server.limit
    for count in (100, 200, 400, 800, 1_600, 3_200, 6_400):
        if hopeless(start[:count], latency[:count], strain[:count], goal):
            return count
    return 0


def search(world: World, seed: int) -> Search:
    """Search once."""
    rng = np.random.default_rng(seed)
    server, asked = world.server(rng), world.asked()
    probes: list[Probe] = []
    while isinstance(step := decide(asked, probes), Plan):
        probes.append(probe(server, step, asked.goal, rng))
    return Search(step, tuple(probes), server.answer(asked.goal))


@dataclass(frozen=True, slots=True)
class Bisection:
    """Plain bisection with probes of one size.

    Attributes:
        size: requests per probe.
        held: the share of searches whose interval holds the answer.
        requests: of a search, on average.
    """

    size: int
    held: float
    requests: float


def bisected(world: World, size: int, seeds: Sequence[int]) -> Bisection:
    """Return how bisection does with probes of this size: a load keeps the goal if its requests do."""
    held, loads = 0, list[float]()
    for seed in seeds:
        rng = np.random.default_rng(seed)
        server = world.server(rng)
        answer = server.answer(world.goal)

        def keeps(
            load: float, server: Server = server, answer: float = answer, rng: np.random.Generator = rng
        ) -> bool:
            loads.append(load)
            if abs(math.log(load / answer)) > _FAR:
                return load < answer
            return _missed(server, load, size, rng) <= 1 - world.goal

        low, high = bisect(keeps, LOW, HIGH, WIDTH_PERCENT, whole=server.whole)
        held += low <= answer <= (high - 1 if server.whole else high)
    return Bisection(size, held / len(seeds), len(loads) * size / len(seeds))


def bisect(
    keeps: Callable[[float], bool], low: float, high: float, width_percent: float, *, whole: bool
) -> tuple[float, float]:
    """Return the highest load that kept the goal and the lowest that did not, by plain bisection.

    Args:
        keeps: probes a load, and returns whether it keeps the goal.
        low: a load that is said to keep it, without a probe.
        high: one that is said to miss it.
        width_percent: of ``low``; a smaller difference ends the search, as does one step of whole numbers.
        whole: whether loads are whole numbers.
    """
    while high - low > max(low * width_percent / 100, 1.0 if whole else 0.0):
        load = math.sqrt(low * high)
        load = float(min(max(round(load), low + 1), high - 1)) if whole else load
        low, high = (load, high) if keeps(load) else (low, load)
    return low, high


def _missed(server: Server, load: float, size: int, rng: np.random.Generator) -> float:
    """Return the share of misses of a probe, without its first tenth."""
    run = server.run(load, rng)
    first = max(round(WARM_UP_SHARE * size), round(load) if server.whole else 0)
    run.more(first)
    missed = sum(
        int((run.more(min(_CHUNK, size - first - done))[1] > server.limit).sum())
        for done in range(0, size - first, _CHUNK)
    )
    return missed / (size - first)


def sizes(most: int) -> Iterator[int]:
    """Yield probe sizes to try for bisection."""
    size = 2_000
    while size <= most:
        yield size
        size *= 2
