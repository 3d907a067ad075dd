"""Clues of the load: too few requests in the engine for the number that was asked for."""

from __future__ import annotations

from collections.abc import Iterable

from pytest_dsr1.diagnosis.capacity import at_once, server_metrics
from pytest_dsr1.diagnosis.clues import Clue, clue
from pytest_dsr1.diagnosis.kv_cache import cache_is_full
from pytest_dsr1.measurement.measurement import Measurement
from pytest_dsr1.text import number

FULL = 0.9
"""Published runs kept 97.8% or more of their concurrency in flight, ramp-up and drain included."""
QUEUED = 0.05
"""Of the concurrency: a server has some requests waiting for a moment, as each new one does."""
STEADY = 0.9
"""A whole run below this share of its steady window misses a target of 5% for its ramp-up and drain alone."""
FEWEST_WAVES = 5
"""No published run has fewer (5,120 requests, 1,024 in flight)."""


@clue("low-concurrency")
def low_concurrency(measurement: Measurement) -> str | None:
    """A closed loop that held fewer requests in flight than it should."""
    found, load = measurement.metrics.get("average_concurrency"), measurement.scenario.load
    wanted = min(at_once(measurement), measurement.workload.requests)
    if load.arrival is not None or found is None or found.value >= FULL * wanted:
        return None
    return (
        f"{number(found.value)} requests were in flight in the mean, and load.concurrency "
        f"{load.concurrency:,} should keep {wanted:,} there: look for a few long answers at the end, for "
        "failed requests, and for a client that sends too slowly"
    )


@clue("engine-queue")
def engine_queue(measurement: Measurement) -> str | None:
    """Requests that wait in the engine because it takes fewer at once than are sent."""
    scenario, load = measurement.scenario, measurement.scenario.load
    most = scenario.engine.slots
    # Where all requests are sent at once the queue is what was asked for.
    if load.arrival is None and most is not None and most < load.concurrency < load.num_requests:
        return (
            f"load.concurrency is {load.concurrency:,}, and the engine takes {most:,} at once "
            f"({scenario.engine.slots_reason}), so the others wait in its queue: raise engine.max_batch_size "
            "or lower load.concurrency"
        )
    waiting = server_metrics(measurement).get("waiting_requests_mean")
    if waiting is None or waiting < QUEUED * load.concurrency or cache_is_full(measurement):
        return None
    found = f"{number(waiting)} requests waited in the server's queue in the mean"
    if reason := scenario.engine.waiting_to_be_read(load.concurrency):
        return f"{found}, though {reason}; start them one after another (load.ramp_s)"
    return (
        f"{found}, at load.concurrency {load.concurrency:,}: let the server take more at once "
        "(engine.max_batch_size), or lower load.concurrency"
    )


@clue("ramp-and-drain")
def ramp_and_drain(measurement: Measurement) -> str | None:
    """A run so short that its ends, in which fewer requests share the machine, weigh in its figures."""
    load, result = measurement.scenario.load, measurement.result
    if load.arrival is not None or result.stopped:
        return None
    whole, steady = (
        measurement.metrics.get(name) for name in ("total_output_throughput", "steady_output_throughput")
    )
    together = at_once(measurement)
    requests = len(result.records) or measurement.workload.requests
    if whole is not None and steady is not None and whole.value < STEADY * steady.value:
        return (
            f"the whole run made {number(whole.value)} tok/s, its steady window {number(steady.value)} "
            f"tok/s: ramp-up and drain cost {1 - whole.value / steady.value:.0%}; raise load.num_requests, "
            f"now {requests:,} for {together:,} at once"
        )
    if requests >= FEWEST_WAVES * together:
        return None
    return (
        f"{requests:,} requests are {requests / together:.1f} waves of the {together:,} at once, so ramp-up "
        f"and drain weigh on the whole run: raise load.num_requests to {FEWEST_WAVES * together:,} or more, "
        "as in every published run"
    )


def pytest_dsr1_clues() -> Iterable[Clue]:
    """List the clues of the load."""
    return low_concurrency, engine_queue, ramp_and_drain
