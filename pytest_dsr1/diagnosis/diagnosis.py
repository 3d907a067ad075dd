"""Why is my number low? What a measurement itself shows of the known reasons.

Each check reads saved values only, so that it works on a replay, and says something only where its pattern is
really there: a healthy run of a published scenario gives no clue. docs/how-to/why-low.md has a section for
each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pytest_dsr1.diagnosis import gpus, kv_cache, load, model, options
from pytest_dsr1.measurement.measurement import Measurement

Check = Callable[[Measurement], str | None]
"""The sentence of a clue; None where there is no such pattern."""


@dataclass(frozen=True, slots=True)
class Clue:
    """One reason why a figure may be low.

    Attributes:
        key: the section of docs/how-to/why-low.md about it.
        sentence: what was seen, with its numbers, and what to do next.
    """

    key: str
    sentence: str


CHECKS: Mapping[str, Check] = {
    "compile-cache": options.compile_cache,
    "number-format": model.number_format,
    "acceptance-length": model.acceptance_length,
    "low-concurrency": load.low_concurrency,
    "engine-queue": load.engine_queue,
    "ramp-and-drain": load.ramp_and_drain,
    "kv-cache": kv_cache.kv_cache,
    "attention-dp": options.attention_dp,
    "chunked-context": options.chunked_context,
    "cuda-graphs": options.cuda_graphs,
    "throttled": gpus.throttled,
    "power-cap": gpus.power_cap,
    "sm-clock": gpus.sm_clock,
}
"""Every check by its key, from what spoils the whole comparison to what costs some percent."""


def diagnose(measurement: Measurement) -> tuple[Clue, ...]:
    """What the measurement shows of the reasons why its figures may be low; empty where it shows none."""
    return tuple(
        Clue(key, sentence) for key, check in CHECKS.items() if (sentence := check(measurement)) is not None
    )
