"""Periods in which a GPU was slowed down, and their causes: NVML's clock-event reasons over time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pytest_dsr1.machine.gpu.inventory import gpu_list
from pytest_dsr1.machine.values import GpuName, GpuSample, Telemetry

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
"""Slowed down by heat or by the hardware. Hardware slowdown comes with its cause (thermal or power brake),
or alone for other causes. The software power cap is normal at full load and is judged only if a scenario asks
for it. The other reasons are settings, or do not slow the GPU down."""

COVERED_SHARE = 0.9
"""The share of the measured time that samples must cover at least."""

LONGEST = 3
"""The most intervals of sampling that one sample covers: one may be late, or lost."""

BRIDGE_S = 1.0
"""Periods of throttling that are at most this far apart count as one."""


@dataclass(frozen=True, slots=True)
class Span:
    """A sample, and the seconds of the measured time that it covers.

    It covers the time until the next sample, but at most ``LONGEST`` intervals: nothing is known of a longer
    gap, such as that after the last sample of a lost GPU.
    """

    sample: GpuSample
    from_s: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Period:
    """A period in which a GPU was slowed down.

    Attributes:
        from_s: monotonic time of its first sample.
        to_s: monotonic time at which its last sample ended.
        reasons: NVML's mask of all reasons given in it.
    """

    from_s: float
    to_s: float
    reasons: int


def spans_of(telemetry: Telemetry, gpu: GpuName, from_s: float, to_s: float) -> list[Span]:
    """Return one GPU's samples, each with the time between ``from_s`` and ``to_s`` that it covers."""
    samples = [sample for sample in telemetry.samples if sample.gpu == gpu]
    spans = []
    for sample, following in zip(samples, [*samples[1:], None], strict=False):
        until_s = sample.time_s + LONGEST * telemetry.interval_s
        until_s = min(until_s, following.time_s) if following else until_s
        start_s, end_s = max(sample.time_s, from_s), min(until_s, to_s)
        if end_s > start_s:
            spans.append(Span(sample, start_s, end_s - start_s))
    return spans


def _given(span: Span, mask: int) -> int:
    return (span.sample.throttle_reasons or 0) & mask


def seconds_of(spans: Iterable[Span], mask: int) -> float:
    """Return for how long any reason of the mask was given, in s."""
    return sum(span.seconds for span in spans if _given(span, mask))


def periods(spans: Iterable[Span], mask: int) -> list[Period]:
    """Return when any reason of the mask was given, in order; short gaps are bridged."""
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


def reported(spans: Iterable[Span]) -> list[Span]:
    """Return the samples in which the driver reported reasons, or that there were none."""
    return [span for span in spans if span.sample.throttle_reasons is not None]


def covered(spans: Iterable[Span]) -> float:
    """Return the time that samples cover, in s."""
    return sum(span.seconds for span in spans)


def missing(spans: Sequence[Span], measured_s: float) -> str:
    """Return in words that samples cover too little of the measured time; empty if they do not."""
    seen_s = covered(spans)
    if seen_s >= COVERED_SHARE * measured_s:
        return ""
    return f"samples cover {seen_s / measured_s:.0%} of the measured time"


def untold(spans: Sequence[Span], measured_s: float) -> str:
    """Return in words that too few of the samples have reasons; empty if that is not so, or none has any."""
    told_s = covered(reported(spans))
    if not told_s or told_s >= min(covered(spans), COVERED_SHARE * measured_s):
        return ""
    return f"the driver reports throttling for {told_s / measured_s:.0%} of the measured time"


def unknown(gpus: Mapping[GpuName, Sequence[Span]], measured_s: float, used: int) -> list[str]:
    """Return of which GPUs and of what time it is unknown whether they were slowed down, in words.

    Args:
        gpus: the samples of each watched GPU.
        measured_s: the measured time.
        used: the number of GPUs that the run used.
    """
    seen = {gpu: spans for gpu, spans in gpus.items() if spans}
    blind = [gpu for gpu in gpus if gpu not in seen]
    silent = [gpu for gpu, spans in seen.items() if not reported(spans)]
    found = []
    if used > len(gpus):
        found.append(f"nothing is known of {used - len(gpus)} of its {used} GPUs: they were not watched")
    if blind:
        found.append(f"{gpu_list(blind)}: no sample")
    if silent:
        found.append(f"{gpu_list(silent)}: the driver does not report throttling")
    for doubt, time_s in (
        (missing, covered),
        (untold, lambda spans: covered(reported(spans)) or measured_s),
    ):
        worst = min(seen.values(), key=time_s, default=None)
        if worst is not None and (text := doubt(worst, measured_s)):
            found.append(text)
    return found


def reasons(times: Sequence[Period]) -> int:
    """Return the mask of all reasons given."""
    mask = 0
    for time in times:
        mask |= time.reasons
    return mask


def names(mask: int) -> list[str]:
    """Return the names of the reasons in a mask."""
    return [name for bit, name in REASONS.items() if mask & bit]
