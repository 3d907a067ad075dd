"""What the telemetry and the warnings of a run say about its machine."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from statistics import median

from pytest_dsr1.case.cause.evidence import Watched
from pytest_dsr1.findings import Finding
from pytest_dsr1.machine.cpu_load import SHARED
from pytest_dsr1.machine.gpu.inventory import sentences
from pytest_dsr1.machine.gpu.xids import XIDS, described
from pytest_dsr1.machine.telemetry.health import NOTABLE_CAP_SHARE, NOTABLE_SPREAD_SHARE
from pytest_dsr1.machine.telemetry.throttling import spans_of, unknown
from pytest_dsr1.machine.values import UNVERIFIED, Event, FactValue, GpuName
from pytest_dsr1.measurement.measurement import Measurement

SHARING = "sharing"
"""The subject of processes that were on a GPU before the run; the user may allow them."""
_NOT_ALLOWED = ("throttled", "power capped")
"""Subjects of what slowed down a GPU by more than the scenario allows."""
_KNOWN_OTHERWISE = (
    "",
    "Xid",
    "lost",
    "not watched",
    "power capped",
    "shared",
    "telemetry",
    "throttled",
    "throttling",
)
"""Subjects whose evidence is taken from probes, samples and events; the empty one is that of probes."""
_REFUTABLE = (
    "CPU affinity",
    "ECC",
    "MIG mode",
    "NVLink speed",
    "PCIe",
    "VBIOS",
    "application clock in MHz",
    "application memory clock in MHz",
    "count",
    "governor",
    "highest PCIe generation",
    "highest SM clock in MHz",
    "memory",
    "name",
    "persistence mode",
    "power limit",
    "power limit in W",
    "power limit in force",
    "power profile",
    "power profiles",
    "vboost",
)
"""Subjects of states from before the run, in which probes then ran too. They can refute nothing else."""


def watched(measurement: Measurement, clues: Collection[str]) -> Watched | None:
    """Return what the telemetry shows of the measured time; None without any.

    Args:
        measurement: the run.
        clues: the keys of its clues.
    """
    telemetry, health = measurement.telemetry, measurement.gpu_health
    if not telemetry.gpus or health is None:
        other = any(f.severity == "mismatch" and f.subject == SHARED for f in measurement.findings)
        return Watched(shared=True) if other else None
    end_s = measurement.result.measured_to_s
    codes = [event.xid for event in telemetry.events if event.xid is not None and _inside(event, measurement)]
    throttled = [gpu.throttled_share for gpu in health.gpus if gpu.throttled_share is not None]
    ecc = zip(telemetry.ecc_uncorrected_before, telemetry.ecc_uncorrected_after, strict=False)
    lowered = _limit_is_lowered(measurement.fingerprint.facts)
    locked = "sm-clock" in clues and measurement.scenario.gpu_setup.lock_sm_clock_mhz is None
    return Watched(
        throttled_share=max(throttled, default=None),
        power_capped="power-cap" in clues and lowered,
        behind=_behind(measurement) if "power-cap" in clues else {},
        locked_clock=locked,
        clock_loss_percent=_clock_loss_percent(measurement) if lowered or locked else None,
        lost=any(event.kind == "lost" for event in telemetry.events),
        # A process is reported once: one from before the measured time may still have been there.
        shared=any(
            event.kind == "foreign process" and event.time_s <= end_s + 1 for event in telemetry.events
        ),
        xid=next(iter(sorted(codes, key=lambda code: not _of_the_hardware(code))), None),
        ecc_grew=any(old is not None and new is not None and new > old for old, new in ecc),
        not_allowed=tuple(_not_allowed(measurement)),
        unseen=tuple(_unseen(measurement)),
    )


def had_company(measurement: Measurement) -> bool:
    """Return whether other processes were on the GPUs before the run, and the user allowed it."""
    return any(f.severity == "warning" and _about(f) == SHARING for f in measurement.findings)


def doubts(measurement: Measurement) -> Iterator[str]:
    """Yield warnings about states of the machine that probes can refute."""
    for finding in _warnings(measurement):
        if _about(finding) in _REFUTABLE:
            yield _sentence(finding)


def seen(measurement: Measurement, clues: Collection[str]) -> Iterator[str]:
    """Yield what speaks against the machine, without states in which probes ran before the run.

    Args:
        measurement: the run.
        clues: the keys of its clues.
    """
    otherwise = (*_KNOWN_OTHERWISE, *(["SM clock"] if "sm-clock" in clues else []))
    for finding in _warnings(measurement):
        if _about(finding) not in (*_REFUTABLE, *otherwise):
            yield _sentence(finding)
    for event in measurement.telemetry.events:
        if event.xid is None or (_of_the_hardware(event.xid) and _inside(event, measurement)):
            continue
        if _of_the_hardware(event.xid) or event.xid not in XIDS:
            where = "" if _inside(event, measurement) else "outside the measured time, "
            yield f"{where}{described(event.xid)}"


def _warnings(measurement: Measurement) -> Iterator[Finding]:
    """Yield the warnings about GPUs and what they are connected with."""
    for finding in measurement.findings:
        if finding.severity == "warning" and re.match(r"GPUs?\b|CPU |NVLink|DCGM", finding.subject):
            yield finding


def _about(finding: Finding) -> str:
    """Return what a finding is about, without its GPUs: ``PCIe`` of ``GPUs 0-3, 5 PCIe``."""
    named = re.fullmatch(r"(?:GPUs? (?:\d[\d, -]*)?|CPU (?=governor))(.*)", f"{finding.subject} ")
    return named[1].strip() if named else finding.subject


def _sentence(finding: Finding) -> str:
    """Return a finding without its advice, which the warning itself gives."""
    return f"{finding.where}: {finding.message.removesuffix(UNVERIFIED).strip().partition('; ')[0]}"


def _of_the_hardware(code: int) -> bool:
    return code in XIDS and XIDS[code].kind == "hardware"


def _inside(event: Event, measurement: Measurement) -> bool:
    """Return whether an event is of the measured time; events are read once per second."""
    return measurement.result.measured_from_s <= event.time_s <= measurement.result.measured_to_s + 1


def _not_allowed(measurement: Measurement) -> Iterator[str]:
    wrong = (f for f in measurement.findings if f.severity == "mismatch" and _about(f) in _NOT_ALLOWED)
    for sentence in sentences(wrong):
        yield sentence.rpartition("; ")[0]


def _unseen(measurement: Measurement) -> Iterator[str]:
    telemetry, result = measurement.telemetry, measurement.result
    spans = {
        gpu: spans_of(telemetry, gpu, result.measured_from_s, result.measured_to_s) for gpu in telemetry.gpus
    }
    yield from unknown(spans, measurement.measured_s, measurement.scenario.hardware.count)


def _behind(measurement: Measurement) -> dict[GpuName, float]:
    """Return by how many percent the clock of each GPU at its power cap was below that of the others."""
    health = measurement.gpu_health
    clocks = {
        gpu.gpu: gpu.sm_clock_mhz_mean
        for gpu in (health.gpus if health else ())
        if gpu.sm_clock_mhz_mean is not None
    }
    capped = [
        gpu.gpu
        for gpu in (health.gpus if health else ())
        if (gpu.power_capped_share or 0.0) >= NOTABLE_CAP_SHARE and gpu.gpu in clocks
    ]
    behind = {
        gpu: 100 * (1 - clocks[gpu] / median(others))
        for gpu in capped
        if (others := [clock for other, clock in clocks.items() if other != gpu])
    }
    return {gpu: percent for gpu, percent in behind.items() if percent > 100 * NOTABLE_SPREAD_SHARE}


def _clock_loss_percent(measurement: Measurement) -> float | None:
    """Return the most that a lower SM clock can have cost; None if it is unknown."""
    telemetry, health = measurement.telemetry, measurement.gpu_health
    most_mhz = dict(zip(telemetry.gpus, telemetry.max_sm_clock_mhz, strict=False))
    losses = [
        100 * (1 - gpu.sm_clock_mhz_mean / most)
        for gpu in (health.gpus if health else ())
        if gpu.sm_clock_mhz_mean is not None and (most := most_mhz.get(gpu.gpu))
    ]
    return max(losses, default=None)


def _limit_is_lowered(facts: Mapping[str, FactValue]) -> bool:
    """Return whether a power limit is below the default: at the default, published runs are capped too."""
    limits, defaults = _watts(facts.get("gpu.power_limit_w")), _watts(facts.get("gpu.power_default_w"))
    length = max(len(limits), len(defaults))
    limits, defaults = (each * length if len(each) == 1 else each for each in (limits, defaults))
    pairs = zip(limits, defaults, strict=False)
    return any(limit is not None and default is not None and limit < default for limit, default in pairs)


def _watts(value: FactValue) -> list[float | None]:
    """Return a power of each GPU, or one for all; None for a GPU that does not report it."""
    values = value if isinstance(value, list) else [str(value)]
    return [_number(each) for each in values]


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:  # "None" of a GPU that does not report it
        return None
