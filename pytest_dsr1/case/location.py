"""The locations of trouble in a run: which GPU and when, or which part of the requests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from pytest_dsr1.gate.history import PastRun
from pytest_dsr1.machine.gpu.inventory import gpu_list
from pytest_dsr1.machine.telemetry.health import from_to
from pytest_dsr1.machine.telemetry.throttling import (
    SOFTWARE_POWER_CAP,
    THROTTLED,
    Span,
    names,
    periods,
    spans_of,
)
from pytest_dsr1.machine.values import GpuName
from pytest_dsr1.measurement.measurement import Measurement
from pytest_dsr1.metrics.catalogue import METRICS
from pytest_dsr1.text import number

FEWEST_RUNS = 3
"""Least number of other runs to compare with: a single one may be an outlier."""
NOTABLE_PERCENT = 0.5
"""Least slowdown of a request for which a part of it is named."""
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Slow:
    """A time when a GPU was throttled or at its power cap, in seconds since the measurement began."""

    gpu: GpuName
    from_s: float
    to_s: float
    reasons: str
    throttled: bool


def locations(measurement: Measurement, others: Sequence[PastRun]) -> Iterator[str]:
    """Yield where the run went wrong, if it shows that; ``others`` are comparable runs."""
    found = [*_throttled(measurement), *_slower_part(measurement, others)]
    yield from found or _split(measurement)


def _throttled(measurement: Measurement) -> Iterator[str]:
    """Yield each throttled GPU, with its times since the measurement began."""
    gpus, from_s = gpu_spans(measurement), measurement.result.measured_from_s
    slow = [each for each in slow_times(gpus, from_s) if each.throttled]
    for each in slow[:_SHOWN]:
        yield f"{gpu_list([each.gpu])} {from_to(each.from_s, each.to_s)} ({each.reasons})"
    if len(slow) > _SHOWN:
        yield f"and {len(slow) - _SHOWN} more times"


def _slower_part(measurement: Measurement, others: Sequence[PastRun]) -> Iterator[str]:
    """Yield which part of a request takes longer than in other runs, or none; nothing without enough runs.

    A request takes TTFT + (output tokens - 1) * TPOT; the part that adds more to it is named first.
    """
    names = ("average_ttft", "average_tpot")
    known = [run for run in others if all(name in run.metrics for name in names)]
    if len(known) < FEWEST_RUNS or any(name not in measurement.metrics for name in names):
        return
    here = {name: measurement.metrics[name].value for name in names}
    usual = {name: median(run.metrics[name] for run in known) for name in names}
    tokens = max(measurement.workload.mean_output - 1, 0.0)
    weights = {"average_ttft": 1.0, "average_tpot": tokens}
    added_ms = {name: (here[name] - usual[name]) * weights[name] for name in names}
    usual_ms = sum(usual[name] * weights[name] for name in names)
    if usual_ms <= 0:
        return
    if 100 * sum(added_ms.values()) / usual_ms < NOTABLE_PERCENT:
        runs = f"the median of {len(known)} other runs on this machine"
        yield f"no part of a request takes longer than in {runs}"
        return
    parts = [
        f"{METRICS[name].label} {number(here[name])} ms ({100 * (here[name] / usual[name] - 1):+.1f}%)"
        for name in sorted(names, key=lambda name: -added_ms[name])
        if usual[name] > 0
    ]
    part = "queue/prefill" if added_ms["average_ttft"] > added_ms["average_tpot"] else "decode"
    yield f"{part}: {', '.join(parts)}, compared with the median of {len(known)} other runs on this machine"


def _split(measurement: Measurement) -> Iterator[str]:
    """Yield how the time of a request divides, if there is nothing to compare it with."""
    known = measurement.metrics
    if "average_ttft" not in known or "average_tpot" not in known:
        return
    ttft_ms, tpot_ms = known["average_ttft"].value, known["average_tpot"].value
    decode_ms = max(measurement.workload.mean_output - 1, 0.0) * tpot_ms
    if ttft_ms + decode_ms <= 0:
        return
    share = decode_ms / (ttft_ms + decode_ms)
    yield (
        f"{share:.0%} of a request's time is decode ({number(tpot_ms)} ms per output token), {1 - share:.0%} "
        f"is before its first token ({number(ttft_ms)} ms); which of them is slow is unknown without "
        f"{FEWEST_RUNS} comparable runs on this machine"
    )


def gpu_spans(measurement: Measurement) -> dict[GpuName, list[Span]]:
    """Return the samples of each GPU, each with the part of the measured time that it covers.

    :mod:`pytest_dsr1.machine.telemetry.health` judges the same samples.
    """
    telemetry, result = measurement.telemetry, measurement.result
    return {
        gpu: spans_of(telemetry, gpu, result.measured_from_s, result.measured_to_s) for gpu in telemetry.gpus
    }


def slow_times(gpus: Mapping[GpuName, Sequence[Span]], measured_from_s: float) -> list[Slow]:
    """Return the times when GPUs were throttled or at their power cap, by GPU and time.

    Args:
        gpus: the samples of each.
        measured_from_s: monotonic time at which the measured time began.
    """
    found = []
    for gpu, spans in gpus.items():
        for mask in (THROTTLED, SOFTWARE_POWER_CAP):
            for time in periods(spans, mask):
                from_s, to_s = time.from_s - measured_from_s, time.to_s - measured_from_s
                found.append(Slow(gpu, from_s, to_s, ", ".join(names(time.reasons)), mask == THROTTLED))
    return found
