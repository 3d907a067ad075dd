"""When a GPU was slowed down, and by what: NVML's clock-event reasons over time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pytest_dsr1.machine.values import GpuSample, Telemetry

REASONS: dict[int, str] = {
    0x001: "idle",
    0x002: "application clocks setting",
    0x004: "software power cap",
    0x008: "hardware slowdown",
    0x010: "sync boost",
    0x020: "software thermal slowdown",
    0x040: "hardware thermal slowdown",
    0x080: "hardware power brake",
    0x100: "display clock setting",
}
"""nvmlClocksEventReason* in nvml.h, by bit."""

IDLE = 0x001
SOFTWARE_POWER_CAP = 0x004
THROTTLED = 0x008 | 0x020 | 0x040 | 0x080
"""Slowed down by heat or by the hardware. Hardware slowdown comes with its cause (thermal or power brake)
and alone for others; the software power cap is normal at full load and is judged only if a scenario says so;
the rest are settings, or no slowing down."""

BRIDGE_S = 1.0
"""Times of throttling that are no further apart are told as one."""


@dataclass(frozen=True, slots=True)
class Span:
    """A sample, and for how many seconds of the measured time it stands: until the next one."""

    sample: GpuSample
    from_s: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Period:
    """A time in which a GPU was slowed down.

    Attributes:
        from_s: monotonic time of its first sample; ``to_s``: at which its last one ended.
        reasons: NVML's mask of everything that was given as a reason in it.
    """

    from_s: float
    to_s: float
    reasons: int


def spans_of(telemetry: Telemetry, gpu: int, from_s: float, to_s: float) -> list[Span]:
    """The samples of one GPU, each with the part of the time from ``from_s`` to ``to_s`` it stands for."""
    samples = [sample for sample in telemetry.samples if sample.gpu == gpu]
    spans = []
    for sample, following in zip(samples, [*samples[1:], None], strict=False):
        # The last one stands for a few intervals: a lost GPU says nothing about the time after.
        until_s = following.time_s if following else sample.time_s + 3 * telemetry.interval_s
        start_s, end_s = max(sample.time_s, from_s), min(until_s, to_s)
        if end_s > start_s:
            spans.append(Span(sample, start_s, end_s - start_s))
    return spans


def _given(span: Span, mask: int) -> int:
    return (span.sample.throttle_reasons or 0) & mask


def seconds_of(spans: Iterable[Span], mask: int) -> float:
    """For how long any reason of the mask was given, in s."""
    return sum(span.seconds for span in spans if _given(span, mask))


def periods(spans: Iterable[Span], mask: int) -> list[Period]:
    """When any reason of the mask was given, in order; short gaps are bridged."""
    found: list[Period] = []
    for span in spans:
        given = _given(span, mask)
        if not given:
            continue
        begin_s, end_s = span.from_s, span.from_s + span.seconds
        if found and begin_s - found[-1].to_s <= BRIDGE_S:
            last = found.pop()
            begin_s, given = last.from_s, last.reasons | given
        found.append(Period(begin_s, end_s, given))
    return found


def reasons(times: Sequence[Period]) -> int:
    """The mask of everything that was given as a reason."""
    mask = 0
    for time in times:
        mask |= time.reasons
    return mask


def names(mask: int) -> list[str]:
    """The reasons of a mask in words."""
    return [name for bit, name in REASONS.items() if mask & bit]
