"""Clues about the KV cache: requests without room in it wait, or are computed again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pytest_dsr1.diagnosis.capacity import at_once
from pytest_dsr1.diagnosis.clues import Clue, clue
from pytest_dsr1.measurement.measurement import Measurement
from pytest_dsr1.roofline.bounds import roofline
from pytest_dsr1.roofline.model import NotKnownError
from pytest_dsr1.scenario.schema.engine import EngineSettings
from pytest_dsr1.scenario.schema.rule import Purpose

FULL_CACHE = 0.95
"""A cache that is this full has no room for another request of usual length."""
_WAYS: tuple[Purpose, Purpose] = ("kv_cache_memory", "kv_cache_in_fp8")
SCHEDULED = 0.9
"""With less than this share of the expected requests in a step, requests were kept out of it."""


def _remedies(engine: EngineSettings) -> str:
    """Return what to do about a cache that is too small; each setting as the engine names it."""
    memory, fp8 = (engine.setting_for(each) for each in _WAYS)
    ways = ["lower load.concurrency", "give the cache more memory" + (f" ({memory})" if memory else "")]
    if fp8:
        ways.append(f"store it in FP8 ({fp8})")
    *first, last = ways
    return f"{', '.join(first)}, or {last}"


def cache_is_full(measurement: Measurement) -> bool:
    """Return whether the server reported a full cache at any time."""
    return (measurement.result.facts.server_metrics.kv_cache_used_share_max or 0.0) >= FULL_CACHE


@clue("kv-cache")
def kv_cache(measurement: Measurement) -> str | None:
    """A KV cache that is too small: reported by the server, shown by iterations, or estimated by memory."""
    found = _reported(measurement)
    if found or measurement.scenario.load.floods:  # who sends everything at once wants a full cache
        return found
    return _iterations(measurement) or _estimate(measurement)


def _reported(measurement: Measurement) -> str | None:
    metrics, remedies = measurement.result.facts.server_metrics, _remedies(measurement.scenario.engine)
    if metrics.preemptions:
        return (
            f"the server preempted {metrics.preemptions:,.0f} requests to make room in the KV cache, "
            f"and computed them again: {remedies}"
        )
    waiting = metrics.waiting_requests_mean or 0.0
    if not cache_is_full(measurement) or waiting < 1 or measurement.scenario.load.floods:
        return None
    return (
        f"the server's KV cache was up to {metrics.kv_cache_used_share_max:.0%} full, and on average "
        f"{waiting:,.1f} requests waited: {remedies}"
    )


def _iterations(measurement: Measurement) -> str | None:
    """Judge by the iteration statistics of the engine, which are per rank."""
    facts, engine = measurement.result.facts, measurement.scenario.engine
    used, scheduled = facts.kv_cache_used_share_max, facts.scheduled_requests_mean
    if used is None or scheduled is None:
        return None
    wanted = at_once(measurement) / engine.ranks
    if used < FULL_CACHE or scheduled >= SCHEDULED * wanted:
        return None
    return (
        f"the KV cache was up to {used:.0%} full, and on average a step had {scheduled:,.1f} requests "
        f"instead of {wanted:,.0f}: {_remedies(engine)}"
    )


def _estimate(measurement: Measurement) -> str | None:
    """Compare what the requests need on each GPU with the most that it can have."""
    engine, workload = measurement.scenario.engine, measurement.workload
    limits = engine.kv_cache_limits
    if limits is None or workload.mean_input is None:
        return None
    requests, each = at_once(measurement) / engine.ranks, workload.mean_input + workload.mean_output
    demand = f"{requests:,.0f} requests of {each:,.0f} tokens"
    if limits.max_tokens is not None and requests * each > limits.max_tokens:
        limit = f"{limits.max_tokens_setting or 'its limit'} is {limits.max_tokens:,}"
        return (
            f"{demand} need a KV cache of {requests * each:,.0f} tokens, but {limit}, so requests wait for "
            "room: raise it, or lower load.concurrency"
        )
    fraction, room = limits.memory_fraction, _memory(measurement)
    if room is None or requests * each * room.token_bytes <= fraction * room.left_bytes:
        return None
    return (
        f"{demand} need {requests * each * room.token_bytes / 1e9:.1f} GB of KV cache on each GPU, but it "
        f"has at most {fraction * room.left_bytes / 1e9:.1f} GB ({fraction:g} of what the weights leave), "
        f"so requests wait for room: {_remedies(engine)}"
    )


@dataclass(frozen=True, slots=True)
class _Memory:
    """Memory of a GPU in bytes: the most that the weights leave, and the KV cache of one token."""

    left_bytes: float
    token_bytes: float


def _memory(measurement: Measurement) -> _Memory | None:
    """Return the memory of a GPU that holds the least weights possible; None if GPU or model is unknown."""
    memory_gib = measurement.fingerprint.facts.get("gpu.memory_gib")
    try:
        known = roofline(measurement)
    except NotKnownError:
        return None
    if not isinstance(memory_gib, float):
        return None
    # All GPUs together hold the weights once.
    left_bytes = memory_gib * 2**30 - known.model.memory_bytes / known.gpus
    return _Memory(left_bytes, known.model.cache_token_bytes)


def pytest_dsr1_clues() -> Iterable[Clue]:
    """List the clues about the KV cache."""
    return (kv_cache,)
