"""Clues about the GPUs: what kept their clocks down over the measured time."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from statistics import fmean

from pytest_dsr1.diagnosis.clues import Clue, clue
from pytest_dsr1.machine.gpu.inventory import gpu_list, node_of
from pytest_dsr1.machine.telemetry.by_node import by_node
from pytest_dsr1.machine.telemetry.health import (
    CLOCK_CEILING_SHARE,
    GPU_BUSY_PERCENT,
    NOTABLE_CAP_SHARE,
    NOTABLE_SPREAD_SHARE,
    GpuStatistics,
)
from pytest_dsr1.machine.values import GpuName
from pytest_dsr1.measurement.measurement import Measurement

KEPT_CLOCK_SHARE = 0.99
"""A GPU at its power cap that keeps this share of its highest SM clock loses at most 1%: an H200 was at
its cap for 12% of a run with one request at a time, at 1,978 of 1,980 MHz."""

NOTABLE_THROTTLED_SHARE = 0.001
"""The share of time that counts: a single sample in a run of minutes explains nothing."""


def _gpus(measurement: Measurement) -> Sequence[GpuStatistics]:
    """Return the summary of each GPU's telemetry."""
    return measurement.gpu_health.gpus if measurement.gpu_health else ()


def _named(gpus: Sequence[GpuStatistics]) -> str:
    return gpu_list([gpu.gpu for gpu in gpus])


def _most_mhz(measurement: Measurement) -> Mapping[GpuName, int]:
    """Return the highest SM clock of each GPU in MHz, if known."""
    telemetry = measurement.telemetry
    pairs = zip(telemetry.gpus, telemetry.max_sm_clock_mhz, strict=False)
    return {gpu: most for gpu, most in pairs if most is not None}


@clue("throttled")
def throttled(measurement: Measurement) -> str | None:
    """GPUs that heat or the hardware slowed down, for less time than makes the run INVALID."""
    slowed = [gpu for gpu in _gpus(measurement) if (gpu.throttled_share or 0.0) >= NOTABLE_THROTTLED_SHARE]
    if not slowed:
        return None
    share = max(gpu.throttled_share for gpu in slowed if gpu.throttled_share is not None)
    temperatures_c = [gpu.temperature_c_max for gpu in slowed if gpu.temperature_c_max is not None]
    at = f", at up to {max(temperatures_c):.0f} C" if temperatures_c else ""
    return (
        f"heat or power slowed down {_named(slowed)} for {share:.1%} of the time{at}: "
        "check cooling and power supply"
    )


@clue("power-cap", gpu_state="at their power cap")
def power_cap(measurement: Measurement) -> str | None:
    """GPUs at the software power cap for a notable share of the time, with a lower clock because of it."""
    most_mhz = _most_mhz(measurement)
    capped = [
        gpu
        for gpu in _gpus(measurement)
        if (gpu.power_capped_share or 0.0) >= NOTABLE_CAP_SHARE
        and (gpu.sm_clock_mhz_mean or 0.0) < KEPT_CLOCK_SHARE * most_mhz.get(gpu.gpu, math.inf)
    ]
    if not capped:
        return None
    clocks = [gpu.sm_clock_mhz_mean for gpu in capped if gpu.sm_clock_mhz_mean is not None]
    at = "" if len(clocks) < len(capped) else f", at {sum(clocks) / len(clocks):,.0f} MHz SM clock on average"
    share = max(gpu.power_capped_share for gpu in capped if gpu.power_capped_share is not None)
    cause = _of_power([gpu.gpu for gpu in capped], measurement)
    return f"{_named(capped)} ran at the software power cap for up to {share:.0%} of the time{at}: {cause}"


def _of_power(capped: Sequence[GpuName], measurement: Measurement) -> str:
    """Return why these GPUs are at their power cap: a limit below the default, else heat."""
    limits_w, defaults_w = (_by_gpu(measurement, f"gpu.power_{what}_w") for what in ("limit", "default"))
    known = limits_w.keys() & defaults_w.keys()
    below = {gpu for gpu in known if limits_w[gpu] < defaults_w[gpu]}
    lowered = [gpu for gpu in capped if gpu in below]
    if lowered:
        watts = [limits_w[gpu] for gpu in lowered]
        limit_w = " to ".join(f"{each:g}" for each in sorted({min(watts), max(watts)}))
        default_w = max(defaults_w[gpu] for gpu in lowered)
        of = "" if len(below) == len(measurement.telemetry.gpus) else f" of {gpu_list(lowered)}"
        indices = f"-i {','.join(str(node_of(gpu)[1]) for gpu in lowered)} " if of else ""
        return (
            f"the power limit{of} is {limit_w} W (default {default_w:g} W); as root: nvidia-smi "
            f"{indices}-pl {default_w:g}"
        )
    at_default = known.issuperset(capped)
    limit = "the power limit is the default" if at_default else "NVML does not report the power limit"
    return f"{limit}, and a warmer GPU runs at a lower clock; compare temperatures across GPUs"


def _by_gpu(measurement: Measurement, key: str) -> Mapping[GpuName, float]:
    """Return a fact for each GPU that reports it; a single value holds for all of them."""
    gpus, value = measurement.telemetry.gpus, measurement.fingerprint.facts.get(key)
    values = value if isinstance(value, list) else [str(value)] * len(gpus)
    known = {}
    for gpu, each in zip(gpus, values, strict=False):
        with suppress(ValueError):  # "None" of a GPU that does not report it
            known[gpu] = float(each)
    return known


@clue("sm-clock")
def sm_clock(measurement: Measurement) -> str | None:
    """An SM clock clearly below its maximum, with nothing that slows it down."""
    most_mhz, lock_mhz = _most_mhz(measurement), measurement.scenario.gpu_setup.lock_sm_clock_mhz
    highest = max(most_mhz.values(), default=0)
    if lock_mhz is not None:
        if lock_mhz >= CLOCK_CEILING_SHARE * highest:
            return None
        return (
            f"the scenario locks the SM clock at {lock_mhz:,} of {highest:,} MHz (gpu_setup."
            "lock_sm_clock_mhz): the published figures were measured without a lock"
        )
    slow = [
        gpu
        for gpu in _gpus(measurement)
        if gpu.gpu in most_mhz
        and (gpu.utilization_percent_mean or 0) >= GPU_BUSY_PERCENT
        and (gpu.power_capped_share or 0.0) < NOTABLE_CAP_SHARE
        and (gpu.throttled_share or 0.0) < NOTABLE_THROTTLED_SHARE
        and (gpu.sm_clock_mhz_max or highest) < CLOCK_CEILING_SHARE * most_mhz[gpu.gpu]
    ]
    if not slow:
        return None
    reached = max(gpu.sm_clock_mhz_max or highest for gpu in slow)
    return (
        f"the SM clock of {_named(slow)} reached at most {reached:,} of {highest:,} MHz, and neither heat "
        "nor power limited it: the clock is probably locked or set; as root: nvidia-smi -rgc; nvidia-smi -rac"
    )


@clue("slow-node")
def slow_node(measurement: Measurement) -> str | None:
    """A node of several whose GPUs ran at a clearly lower clock than those of the others."""
    nodes = by_node(_gpus(measurement))
    clocks = {each.node: each.sm_clock_mhz for each in nodes if each.sm_clock_mhz is not None}
    if len(clocks) < 2:
        return None
    slowest = min(clocks, key=lambda node: clocks[node])
    others = fmean(clock for node, clock in clocks.items() if node != slowest)
    behind = 1 - clocks[slowest] / others
    if behind <= NOTABLE_SPREAD_SHARE:
        return None
    return (
        f"the GPUs of {slowest} ran at {clocks[slowest]:,.0f} MHz, {behind:.1%} below those of the other "
        "nodes, and every step waits for the slowest GPU: look at power and cooling of that node, or leave "
        f"it out: sbatch --exclude={slowest}"
    )


def pytest_dsr1_clues() -> Iterable[Clue]:
    """List the clues about the GPUs."""
    return throttled, power_cap, sm_clock, slow_node
