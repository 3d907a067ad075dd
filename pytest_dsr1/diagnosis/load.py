"""Clues about the load: fewer requests in the engine than the scenario asks for."""

from __future__ import annotations

from collections.abc import Iterable

from pytest_dsr1.diagnosis.capacity import at_once
from pytest_dsr1.diagnosis.clues import Clue, clue
from pytest_dsr1.diagnosis.kv_cache import cache_is_full
from pytest_dsr1.measurement.measurement import Measurement
from pytest_dsr1.metrics.catalogue import MetricValue
from pytest_dsr1.text import number

FULL_CONCURRENCY = 0.9
"""Published runs kept 97.8% or more of their concurrency in flight, ramp-up and drain included."""
QUEUED = 0.05
"""The share of the concurrency above which a queue counts: each new request waits for a moment."""
STEADY = 0.9
"""Below this share of its steady window, ramp-up and drain alone miss a target with 5% tolerance."""
FEWEST_PUBLISHED_WAVES = 5
"""No published run has fewer (5,120 requests, 1,024 in flight)."""


def _wanted(measurement: Measurement) -> int:
    """Return how many requests the load asks to be in flight."""
    return min(at_once(measurement), measurement.workload.requests)


def _throughputs(measurement: Measurement) -> tuple[MetricValue | None, MetricValue | None]:
    """Return the output throughput of the whole run, and that of its steady window."""
    values = measurement.metrics
    return values.get("total_output_throughput"), values.get("steady_output_throughput")


def _idle_percent(measurement: Measurement) -> float | None:
    """Return by how much the requests in flight were fewer than asked for: speed falls by no more."""
    found = measurement.metrics.get("average_concurrency")
    return None if found is None else 100 * (1 - found.value / _wanted(measurement))


def _ends_percent(measurement: Measurement) -> float | None:
    """Return by how much the figure of the whole run is below that of its steady window."""
    whole, steady = _throughputs(measurement)
    return None if whole is None or steady is None else 100 * (1 - whole.value / steady.value)


@clue("low-concurrency", cost_percent=_idle_percent)
def low_concurrency(measurement: Measurement) -> str | None:
    """A closed loop that kept fewer requests in flight than it should."""
    found, load = measurement.metrics.get("average_concurrency"), measurement.scenario.load
    wanted = _wanted(measurement)
    if load.arrival is not None or load.floods:  # nothing takes the place of a request that ends
        return None
    if found is None or found.value >= FULL_CONCURRENCY * wanted:
        return None
    return (
        f"on average {number(found.value)} requests were in flight, but load.concurrency "
        f"{load.at_once:,} calls for {wanted:,}: look for a few long answers at the end, for "
        "failed requests, and for a client that sends too slowly"
    )


@clue("engine-queue")
def engine_queue(measurement: Measurement) -> str | None:
    """Requests that wait in the engine because it takes fewer at once than are sent."""
    scenario, load = measurement.scenario, measurement.scenario.load
    most, slots = scenario.engine.slots, scenario.engine.setting_for("slots")
    # If all requests are sent at once, the scenario asks for a queue.
    if load.arrival is None and most is not None and most < load.at_once < load.num_requests:
        limit = f" ({scenario.engine.slots_reason})" if scenario.engine.slots_reason else ""
        raise_it = f"raise {slots} or " if slots else ""
        return (
            f"load.concurrency is {load.at_once:,}, but the engine takes {most:,} at once{limit}, so "
            f"the others wait in its queue: {raise_it}lower load.concurrency"
        )
    waiting = measurement.result.facts.server_metrics.waiting_requests_mean
    if waiting is None or load.floods or waiting < QUEUED * load.at_once or cache_is_full(measurement):
        return None
    found = f"on average {number(waiting)} requests waited in the server's queue"
    if reason := scenario.engine.waiting_to_be_read(load.at_once):
        return f"{found}, although {reason}; stagger the start with load.ramp_s"
    more = f"take more at once ({slots})" if slots else "take more at once"
    return (
        f"{found}, with load.concurrency {load.at_once:,}: let the server {more}, or lower load.concurrency"
    )


@clue("ramp-and-drain", cost_percent=_ends_percent)
def ramp_and_drain(measurement: Measurement) -> str | None:
    """A run so short that its ends, with fewer requests on the machine, lower its figures."""
    load, result = measurement.scenario.load, measurement.result
    if load.arrival is not None or result.stopped:
        return None
    if load.floods and measurement.scenario.engine.slots is None:  # how many waves there are is unknown
        return None
    whole, steady = _throughputs(measurement)
    together = at_once(measurement)
    requests = len(result.records) or measurement.workload.requests
    if whole is not None and steady is not None and whole.value < STEADY * steady.value:
        return (
            f"the whole run reached {number(whole.value)} tok/s, its steady window {number(steady.value)} "
            f"tok/s: ramp-up and drain cost {1 - whole.value / steady.value:.0%}; raise load.num_requests, "
            f"now {requests:,} with {together:,} at once"
        )
    if requests >= FEWEST_PUBLISHED_WAVES * together:
        return None
    return (
        f"{requests:,} requests are only {requests / together:.1f} waves of {together:,} at once, so ramp-up "
        "and drain lower the figures of the whole run: raise load.num_requests to "
        f"{FEWEST_PUBLISHED_WAVES * together:,} or more, as in every published run"
    )


def pytest_dsr1_clues() -> Iterable[Clue]:
    """List the clues about the load."""
    return low_concurrency, engine_queue, ramp_and_drain
