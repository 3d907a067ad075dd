"""Why is my number low? What a measurement itself shows of the known reasons.

Each check reads saved values only, so that it works on a replay, and says something only where its pattern is
really there: a healthy run of a published scenario gives no clue. docs/why-low.md has a section for each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pytest_dsr1.measurement.values import Measurement
from pytest_dsr1.verdict import clues_of_engine, clues_of_gpus, clues_of_load, clues_of_memory, clues_of_model

Check = Callable[[Measurement], str | None]
"""The sentence of a clue; None where there is no such pattern."""


@dataclass(frozen=True, slots=True)
class Clue:
    """One reason why a figure may be low.

    Attributes:
        key: the section of docs/why-low.md about it.
        sentence: what was seen, with its numbers, and what to do next.
    """

    key: str
    sentence: str


CHECKS: Mapping[str, Check] = {
    "compile-cache": clues_of_engine.compile_cache,
    "number-format": clues_of_model.number_format,
    "acceptance-length": clues_of_model.acceptance_length,
    "low-concurrency": clues_of_load.low_concurrency,
    "engine-queue": clues_of_load.engine_queue,
    "ramp-and-drain": clues_of_load.ramp_and_drain,
    "kv-cache": clues_of_memory.kv_cache,
    "attention-dp": clues_of_engine.attention_dp,
    "chunked-context": clues_of_engine.chunked_context,
    "cuda-graphs": clues_of_engine.cuda_graphs,
    "throttled": clues_of_gpus.throttled,
    "power-cap": clues_of_gpus.power_cap,
    "sm-clock": clues_of_gpus.sm_clock,
}
"""Every check by its key, from what spoils the whole comparison to what costs some percent."""


def diagnose(measurement: Measurement) -> tuple[Clue, ...]:
    """What the measurement shows of the reasons why its figures may be low; empty where it shows none."""
    return tuple(
        Clue(key, sentence) for key, check in CHECKS.items() if (sentence := check(measurement)) is not None
    )
