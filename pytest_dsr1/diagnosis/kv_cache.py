"""Clues of the KV cache: requests that find no room in it wait, or are computed again."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from pytest_dsr1.diagnosis.capacity import at_once, server_metrics
from pytest_dsr1.diagnosis.clues import Clue, clue
from pytest_dsr1.measurement.measurement import Measurement
from pytest_dsr1.roofline.bounds import roofline
from pytest_dsr1.roofline.model import NotKnownError

FULL_CACHE = 0.95
"""A cache used to this share has no room for another request of usual length."""
SCHEDULED = 0.9
"""Of the requests that the load keeps there: fewer in a step did not get in."""

_DO = (
    "lower load.concurrency, give the cache more memory (engine.kv_cache_free_gpu_mem_fraction), or store "
    "it in FP8 (kv_cache_config.dtype)"
)


def cache_is_full(measurement: Measurement) -> bool:
    """Whether the server told that its cache was full at some time."""
    return server_metrics(measurement).get("kv_cache_used_share_max", 0.0) >= FULL_CACHE


@clue("kv-cache")
def kv_cache(measurement: Measurement) -> str | None:
    """A KV cache that is too small: as the server told, as iterations showed, else by the memory it needs."""
    return _told(measurement) or _iterations(measurement) or _estimate(measurement)


def _told(measurement: Measurement) -> str | None:
    told = server_metrics(measurement)
    if preemptions := told.get("preemptions"):
        return (
            f"the server threw {preemptions:,.0f} requests out of the batch to make room in the KV cache, "
            "and computed them again: lower load.concurrency, or give the cache more memory "
            "(engine.gpu_memory_fraction)"
        )
    waiting = told.get("waiting_requests_mean", 0.0)
    if not cache_is_full(measurement) or waiting < 1:
        return None
    return (
        f"the server's KV cache was used up to {told['kv_cache_used_share_max']:.0%}, and {waiting:,.1f} "
        "requests waited in the mean: lower load.concurrency, or give the cache more memory "
        "(engine.gpu_memory_fraction)"
    )


def _iterations(measurement: Measurement) -> str | None:
    """By the iteration statistics of the engine trtllm, which are those of a rank."""
    facts, engine = measurement.result.facts, measurement.scenario.engine
    used, scheduled = facts.kv_cache_used_share_max, facts.scheduled_requests_mean
    if used is None or scheduled is None:
        return None
    wanted = at_once(measurement) / engine.ranks
    if used < FULL_CACHE or scheduled >= SCHEDULED * wanted:
        return None
    return (
        f"the KV cache was used up to {used:.0%}, and {scheduled:,.1f} requests were in a step in the mean, "
        f"of {wanted:,.0f}: {_DO}"
    )


def _estimate(measurement: Measurement) -> str | None:
    """What the requests need on each GPU, beside what there can be at most."""
    engine, workload = measurement.scenario.engine, measurement.workload
    limits = engine.kv_cache_limits
    if limits is None or workload.mean_input is None:
        return None
    requests, each = at_once(measurement) / engine.ranks, workload.mean_input + workload.mean_output
    who = f"{requests:,.0f} requests of {each:,.0f} tokens"
    if limits.max_tokens is not None and requests * each > limits.max_tokens:
        return (
            f"{who} need a KV cache of {requests * each:,.0f} tokens, and kv_cache_config.max_tokens is "
            f"{limits.max_tokens:,}, so requests wait for room: raise it, or lower load.concurrency"
        )
    fraction, room = limits.memory_fraction, _memory(measurement)
    if room is None or requests * each * room.token_bytes <= fraction * room.left_bytes:
        return None
    return (
        f"{who} need {requests * each * room.token_bytes / 1e9:.1f} GB of KV cache on each GPU, and there "
        f"are at most {fraction * room.left_bytes / 1e9:.1f} GB ({fraction:g} of what the weights leave), "
        f"so requests wait for room: {_DO}"
    )


@dataclass(frozen=True, slots=True)
class _Memory:
    """Of a GPU: the most that the weights leave, and what a token takes in the KV cache; in bytes."""

    left_bytes: float
    token_bytes: float


def _memory(measurement: Measurement) -> _Memory | None:
    """None where GPU or model are not known. All GPUs together hold the weights once, the least they can."""
    memory_gib = measurement.fingerprint.facts.get("gpu.memory_gib")
    try:
        known = roofline(measurement)
    except NotKnownError:
        return None
    if not isinstance(memory_gib, float):
        return None
    left_bytes = memory_gib * 2**30 - known.model.memory_bytes / known.gpus
    return _Memory(left_bytes, known.model.cache_token_bytes)


def pytest_dsr1_clues() -> Iterable[Clue]:
    """List the clues of the KV cache."""
    return (kv_cache,)
