"""The health of the GPUs during the measured time: telemetry, judged and summed up."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import TypeVar

from pytest_dsr1.findings import Finding, Severity
from pytest_dsr1.machine.gpu.inventory import gpu_finding, node_of
from pytest_dsr1.machine.telemetry.energy import Energy
from pytest_dsr1.machine.telemetry.hardware_errors import hardware_errors, xid
from pytest_dsr1.machine.telemetry.throttling import (
    COVERED_SHARE,
    IDLE,
    REASONS,
    SOFTWARE_POWER_CAP,
    THROTTLED,
    Span,
    covered,
    missing,
    names,
    periods,
    reasons,
    reported,
    seconds_of,
    spans_of,
    unknown,
    untold,
)
from pytest_dsr1.machine.values import UNVERIFIED, Conditions, Event, GpuName, GpuSample, Telemetry
from pytest_dsr1.scenario.schema.scenario import Validity
from pytest_dsr1.text import clock

CLOCK_CEILING_SHARE = 0.95
"""A busy GPU whose SM clock never exceeds this share of its maximum, for no given reason, is locked."""

LOCK_TOLERANCE_MHZ = 30
"""Two steps of the SM clock, which moves in steps of 15 MHz."""

GPU_BUSY_PERCENT = 50

NOTABLE_CAP_SHARE = 0.05
"""The overview does not mention a smaller share of time at the software power cap."""

NOTABLE_SPREAD_SHARE = 0.02
"""GPUs that differ by more than this share of their mean are shown as a range: two H200s of one machine drew
power 2.3% to 3.8% apart at the same clock."""


_Number = TypeVar("_Number", int, float)


@dataclass(frozen=True, slots=True)
class GpuStatistics:
    """One GPU over the measured time. Means are over time; None: NVML does not report it.

    Attributes:
        gpu: its name in the run.
        samples: number of samples in the measured time; without any, the other values are missing.
        energy_j: from the GPU's energy counter; from the power samples in results of earlier versions.
        power_capped_share: share of the time with reasons at the software power cap.
        throttled_share: share of the time with reasons in which heat or the hardware slowed the GPU down.
        reason_share: share of that time by reason, for every reason that NVML gave.
    """

    gpu: GpuName
    samples: int = 0
    sm_clock_mhz_mean: float | None = None
    sm_clock_mhz_min: int | None = None
    sm_clock_mhz_max: int | None = None
    power_w_mean: float | None = None
    temperature_c_max: int | None = None
    memory_used_gib_max: float | None = None
    utilization_percent_mean: float | None = None
    energy_j: float | None = None
    power_capped_share: float | None = None
    throttled_share: float | None = None
    reason_share: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GpuSummary:
    """All GPUs of a run over the measured time.

    Attributes:
        text: the summary in one line.
        power_w_total: power of all GPUs by its samples; None if NVML does not report it for each of them.
        energy_j_total: energy of all GPUs by their counters; None if that of any is unknown.
        overhead_share: measured share of one CPU core that sampling took.
        processes_visible: whether process ids could be matched (not in most containers).
        gpus: each GPU.
        why_no_energy: why there is no total energy; None if there is, and in results of earlier versions.
    """

    text: str
    power_w_total: float | None = None
    energy_j_total: float | None = None
    overhead_share: float = 0.0
    processes_visible: bool = True
    gpus: tuple[GpuStatistics, ...] = ()
    why_no_energy: str | None = None


def from_to(from_s: float, to_s: float) -> str:
    """Format a period, such as from 01:05 to 02:10; in its first minute, such as from 0.4 s to 2.9 s."""
    if to_s < 60:
        return f"from {from_s:.1f} s to {to_s:.1f} s"
    return f"from {clock(from_s)} to {clock(to_s)}"


def assess(
    telemetry: Telemetry,
    validity: Validity,
    from_s: float,
    to_s: float,
    *,
    sm_clock_lock_mhz: int | None = None,
    used: int = 0,
) -> tuple[Finding, ...]:
    """Return what is wrong by the telemetry: ``mismatch`` makes a measurement INVALID. Empty for the CPU.

    Args:
        telemetry: the telemetry of the run.
        validity: the scenario's limits.
        from_s: monotonic time at which the measured time began.
        to_s: monotonic time at which it ended.
        sm_clock_lock_mhz: the SM clock that the scenario locks; None without a lock.
        used: the number of GPUs that the run used; those that were not watched are a warning.
    """
    findings = [*_unseen(len(telemetry.gpus), used), *_events(telemetry, from_s, to_s)]
    findings += hardware_errors(telemetry)
    if telemetry.gpus and not telemetry.xids_watched:
        findings.append(Finding("ok", "Xid errors", "not offered by the driver"))
    for position, gpu in enumerate(telemetry.gpus):
        spans = spans_of(telemetry, gpu, from_s, to_s)
        findings += _coverage(gpu, spans, to_s - from_s)
        if not spans:
            continue
        findings += _throttled(gpu, reported(spans), validity, from_s)
        most_mhz = telemetry.max_sm_clock_mhz[position] if telemetry.max_sm_clock_mhz else None
        findings += _clocks(gpu, spans, most_mhz, sm_clock_lock_mhz)
        most = telemetry.pcie_generation_max[position] if telemetry.pcie_generation_max else None
        findings += _pcie(gpu, spans, most)
    return tuple(findings)


def _unseen(watched: int, used: int) -> Iterator[Finding]:
    if used > watched:
        message = (
            f"the run used {used} GPUs, and {watched} of them were watched: whether the others were "
            f"throttled or shared is unknown. Figures per GPU divide by all {used}; power and energy have no "
            "total"
        )
        yield Finding("warning", "GPUs not watched", message)


def _when(time_s: float, from_s: float, to_s: float) -> str:
    if time_s < from_s:
        return f"{clock(from_s - time_s)} before the measurement began"
    if time_s > to_s:
        return "after the measurement"
    return f"{clock(time_s - from_s)} after the measurement began"


def _events(telemetry: Telemetry, from_s: float, to_s: float) -> Iterator[Finding]:
    for event in telemetry.events:
        when = _when(event.time_s, from_s, to_s)
        if event.kind == "xid":
            in_time = from_s <= event.time_s <= to_s + 1
            severity, message = xid(event, when, in_time=in_time)
            yield _of_event(severity, event, "Xid", message)
        elif event.kind == "lost":
            hint = "" if event.gpu is None else "; see dmesg for the Xid"
            yield _of_event("mismatch", event, "lost", f"{when}: {event.message}{hint}")
        elif event.kind == "foreign process":
            # Processes are checked once per second: one seen just after the end may have started before it.
            severity = "mismatch" if event.time_s <= to_s + 1 else "warning"
            message = (
                f"{when}, another process was on this GPU: {event.message}; run again without other processes"
            )
            yield _of_event(severity, event, "shared", message)
        else:
            yield _of_event("warning", event, "telemetry", f"{when}: {event.message}")


def _of_event(severity: Severity, event: Event, what: str, message: str) -> Finding:
    if event.gpu is None:
        return Finding(severity, f"GPUs {what}", message, event.node)
    return gpu_finding(severity, event.gpu, what, message)


def _pcie(gpu: GpuName, spans: Sequence[Span], most: int | None) -> Iterator[Finding]:
    """Yield a warning if the PCIe link never reached its generation; an idle GPU lowers it."""
    found = [span.sample.pcie_generation for span in spans if span.sample.pcie_generation is not None]
    if found and most is not None and max(found) < most:
        message = (
            f"the link ran at generation {max(found)} of {most} under load, which slows copies from and to "
            f"the host; look for a slot or BIOS limit {UNVERIFIED}"
        )
        yield gpu_finding("warning", gpu, "PCIe", message)


def _coverage(gpu: GpuName, spans: Sequence[Span], measured_s: float) -> Iterator[Finding]:
    if not spans:
        message = "there is no sample of the measured time, so it is unknown whether the GPU was throttled"
        yield gpu_finding("mismatch", gpu, "telemetry", message)
        return
    if message := missing(spans, measured_s):
        yield gpu_finding("warning", gpu, "telemetry", message)
    if not reported(spans):
        message = "the driver does not report throttling, so it is not judged"
        yield gpu_finding("warning", gpu, "throttling", message)
    if message := untold(spans, measured_s):
        yield gpu_finding("warning", gpu, "throttling", message)


def _throttled(gpu: GpuName, spans: Sequence[Span], validity: Validity, from_s: float) -> Iterator[Finding]:
    told_s = covered(spans)
    judged = [("throttled", THROTTLED, "check cooling and power supply")]
    if validity.software_power_cap == "invalid":
        advice = "raise the power limit, or set validity.software_power_cap: record"
        judged.append(("power capped", SOFTWARE_POWER_CAP, advice))
    for what, mask, advice in judged:
        seconds = seconds_of(spans, mask)
        if not seconds:
            continue
        times = periods(spans, mask)
        first, last = times[0], times[-1]
        when = from_to(first.from_s - from_s, last.to_s - from_s)
        if len(times) > 1:
            when = f"{len(times)} times {when}"
        share, allowed = seconds / told_s, validity.throttled_share
        message = (
            f"{', '.join(names(reasons(times)))}: {when} into the measurement, {seconds:.1f} s of "
            f"{told_s:.1f} s in total ({share:.1%}; allowed {allowed:.1%}); {advice}"
        )
        severity: Severity = "mismatch" if share > allowed else "warning"
        yield gpu_finding(severity, gpu, what, message)


def _clocks(
    gpu: GpuName, spans: Sequence[Span], most_mhz: int | None, lock_mhz: int | None
) -> Iterator[Finding]:
    """Yield a warning if a busy GPU is slow for no reported reason: a clock ceiling cannot be read."""
    slowing = IDLE | THROTTLED | SOFTWARE_POWER_CAP
    busy_mhz = [
        span.sample.sm_clock_mhz
        for span in spans
        if span.sample.sm_clock_mhz is not None
        and (span.sample.utilization_percent or 0) >= GPU_BUSY_PERCENT
        and not (span.sample.throttle_reasons or 0) & slowing
    ]
    if not busy_mhz:
        return
    lowest, highest = min(busy_mhz), max(busy_mhz)
    if lock_mhz is not None:
        if max(abs(lowest - lock_mhz), abs(highest - lock_mhz)) > LOCK_TOLERANCE_MHZ:
            message = f"expected {lock_mhz} MHz (locked), found {lowest} to {highest} MHz under load"
            yield gpu_finding("warning", gpu, "SM clock", message)
    elif most_mhz is not None and highest < CLOCK_CEILING_SHARE * most_mhz:
        message = (
            f"at most {highest} of {most_mhz} MHz under load, and the driver reports no reason: clocks are "
            f"probably locked; as root: nvidia-smi -i {node_of(gpu)[1]} -rgc"
        )
        yield gpu_finding("warning", gpu, "SM clock", message)


def summary(telemetry: Telemetry, from_s: float, to_s: float, *, used: int = 0) -> GpuSummary | None:
    """Sum up the GPUs over the measured time; None for the CPU.

    Args:
        telemetry: of the GPUs that were watched.
        from_s: monotonic time at which the measured time began.
        to_s: monotonic time at which it ended.
        used: the number of GPUs that the run used, if more than those.
    """
    used = max(used, len(telemetry.gpus))
    if not used:
        return None
    spans = {gpu: spans_of(telemetry, gpu, from_s, to_s) for gpu in telemetry.gpus}
    energy = Energy.of(telemetry, from_s, to_s, used)
    gpus = tuple(_statistics(gpu, each, energy.gpu_j(gpu)) for gpu, each in spans.items())
    whole = len(gpus) == used
    return GpuSummary(
        text=_one_line(gpus, unknown(spans, to_s - from_s, used)),
        power_w_total=_total(gpu.power_w_mean for gpu in gpus) if whole else None,
        energy_j_total=energy.total_j,
        overhead_share=telemetry.overhead_share,
        processes_visible=telemetry.processes_visible,
        gpus=gpus,
        why_no_energy=energy.why_no_total or None,
    )


def conditions(telemetry: Telemetry, from_s: float, to_s: float) -> Conditions | None:
    """Return the GPUs over the measured time in four numbers, rounded to a tenth; None for the CPU."""
    if not telemetry.gpus:
        return None
    spans = [spans_of(telemetry, gpu, from_s, to_s) for gpu in telemetry.gpus]
    gpus = [_statistics(gpu, each, None) for gpu, each in zip(telemetry.gpus, spans, strict=True)]
    # No throttling in a part of the time does not say that there was none.
    whole_s = COVERED_SHARE * (to_s - from_s)
    found_s = [(seconds_of(each, THROTTLED), covered(reported(each))) for each in spans]
    slowed_s = [seconds for seconds, told_s in found_s if seconds or (told_s and told_s >= whole_s)]

    def rounded(values: Sequence[float], combine: Callable[[Sequence[float]], float]) -> float | None:
        return round(combine(values), 1) if values else None

    return Conditions(
        sm_clock_mhz=rounded(_known(gpu.sm_clock_mhz_mean for gpu in gpus), fmean),
        power_w=rounded(_known(gpu.power_w_mean for gpu in gpus), fmean),
        temperature_c=rounded(_known(gpu.temperature_c_max for gpu in gpus), max),
        throttled_s=rounded(slowed_s, max),
    )


def _known(values: Iterable[_Number | None]) -> list[_Number]:
    return [value for value in values if value is not None]


def _total(values: Iterable[float | None]) -> float | None:
    found = list(values)
    known = _known(found)
    return sum(known) if len(known) == len(found) else None


def _one_line(gpus: Sequence[GpuStatistics], doubts: Sequence[str]) -> str:
    if not any(gpu.samples for gpu in gpus):
        return "; ".join(doubts)
    parts = []
    if clocks := _known(gpu.sm_clock_mhz_mean for gpu in gpus):
        parts.append(f"{_mean_or_range(clocks)} MHz SM clock")
    if powers := _known(gpu.power_w_mean for gpu in gpus):
        parts.append(f"{_mean_or_range(powers)} W each")
    if hottest := _known(gpu.temperature_c_max for gpu in gpus):
        parts.append(f"at most {max(hottest):.0f} C")
    parts.append(throttling(_known(gpu.throttled_share for gpu in gpus), doubts))
    capped = max(_known(gpu.power_capped_share for gpu in gpus), default=0.0)
    if capped >= NOTABLE_CAP_SHARE:
        parts.append(f"at the software power cap {capped:.0%} of the time")
    return ", ".join(parts)


def throttling(shares: Sequence[float], doubts: Sequence[str]) -> str:
    """Return how long GPUs were throttled, in words, with what is unknown in brackets.

    Args:
        shares: the share of the time of each GPU of which it is known.
        doubts: of :func:`~pytest_dsr1.machine.telemetry.throttling.unknown`.
    """
    if worst := max(shares, default=0.0):
        text = f"throttled {worst:.1%} of the time"
    elif not shares:
        text = "throttling unknown"
    else:
        text = "not throttled as far as seen" if doubts else "not throttled"
    return f"{text} ({'; '.join(doubts)})" if doubts else text


def _mean_or_range(values: Sequence[float]) -> str:
    """Return the mean, or the range if GPUs differ: a mean would hide one slow GPU of eight."""
    mean = sum(values) / len(values)
    if max(values) - min(values) > NOTABLE_SPREAD_SHARE * mean:
        return f"{min(values):.0f} to {max(values):.0f}"
    return f"{mean:.0f}"


def _statistics(gpu: GpuName, spans: Sequence[Span], energy_j: float | None) -> GpuStatistics:
    def values(read: Callable[[GpuSample], _Number | None]) -> list[tuple[_Number, float]]:
        pairs = ((read(span.sample), span.seconds) for span in spans)
        return [(value, seconds) for value, seconds in pairs if value is not None]

    def mean(pairs: Sequence[tuple[float, float]]) -> float | None:
        return sum(value * s for value, s in pairs) / sum(s for _, s in pairs) if pairs else None

    clocks = values(lambda one: one.sm_clock_mhz)
    powers = values(lambda one: one.power_w)
    told = reported(spans)
    told_s = covered(told)
    shares = {name: seconds_of(told, bit) / told_s for bit, name in REASONS.items()} if told else {}
    return GpuStatistics(
        gpu=gpu,
        samples=len(spans),
        sm_clock_mhz_mean=mean(clocks),
        sm_clock_mhz_min=min((value for value, _ in clocks), default=None),
        sm_clock_mhz_max=max((value for value, _ in clocks), default=None),
        power_w_mean=mean(powers),
        temperature_c_max=max((v for v, _ in values(lambda one: one.temperature_c)), default=None),
        memory_used_gib_max=max((v for v, _ in values(lambda one: one.memory_used_gib)), default=None),
        utilization_percent_mean=mean(values(lambda one: one.utilization_percent)),
        energy_j=energy_j,
        power_capped_share=seconds_of(told, SOFTWARE_POWER_CAP) / told_s if told else None,
        throttled_share=seconds_of(told, THROTTLED) / told_s if told else None,
        reason_share={name: share for name, share in shares.items() if share},
    )
