"""Preflight checks that operators of GPU fleets make before a benchmark: links, firmware, power and errors.

What these checks find is a warning marked UNVERIFIED: documentation says that it can cost performance, but we
have not seen by how much.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from pytest_dsr1.findings import Finding
from pytest_dsr1.machine import dcgm, host
from pytest_dsr1.machine.gpu.inventory import GpuReading, gpu_list, ranges
from pytest_dsr1.machine.gpu.known import KNOWN_GPUS
from pytest_dsr1.machine.preflight.check import Check, Preflight, check
from pytest_dsr1.machine.values import UNVERIFIED
from pytest_dsr1.scenario.schema.scenario import GpuSetup

_ROUNDED_W = 0.5
"""NVML rounds power limits, so limits closer than this are equal."""
_Read = Callable[[GpuReading], object]

_ALIKE: Mapping[str, _Read] = {
    "VBIOS": lambda gpu: gpu.vbios,
    "power limit in W": lambda gpu: gpu.power_limit_w,
    "highest SM clock in MHz": lambda gpu: gpu.max_sm_clock_mhz,
    "application clock in MHz": lambda gpu: gpu.application_clock_mhz,
    "application memory clock in MHz": lambda gpu: gpu.application_memory_clock_mhz,
    "vboost": lambda gpu: gpu.vboost,
    "highest PCIe generation": lambda gpu: gpu.pcie_generation_max,
    "power profiles": lambda gpu: gpu.power_profiles,
}
"""Readings that are the same on all GPUs of a machine, and that no other check compares."""

_OFFERED: Mapping[str, _Read] = {
    "VBIOS": lambda gpu: gpu.vbios,
    "PCIe link": lambda gpu: gpu.pcie_width,
    "PCIe replays": lambda gpu: gpu.pcie_replays,
    "NVLink speed": lambda gpu: gpu.nvlink_mb_s,
    "NVLink errors": lambda gpu: gpu.nvlink_errors,
    "power limit in force": lambda gpu: gpu.power_enforced_w,
    "corrected memory errors": lambda gpu: gpu.ecc_corrected,
    "remapped rows": lambda gpu: gpu.remap,
    "temperature": lambda gpu: gpu.temperature_c,
    "NUMA node": lambda gpu: gpu.cpus,
}
"""Readings that a driver may lack; workload power profiles exist on Blackwell only."""


def _warnings(
    gpus: Sequence[GpuReading], subject: str, wrong: Callable[[GpuReading], str | None], fine: str | None
) -> Iterator[Finding]:
    groups: dict[str, list[int]] = {}
    for gpu in gpus:
        if message := wrong(gpu):
            groups.setdefault(message, []).append(gpu.index)
    for message, indices in groups.items():
        yield Finding("warning", f"{gpu_list(indices)} {subject}", f"{message} {UNVERIFIED}")
    if not groups and fine:
        yield Finding("ok", f"GPU {subject}", fine)


def _span(values: Iterable[float | None], unit: str = "") -> str:
    known = [value for value in values if value is not None]
    if not known:
        return ""
    low, high = min(known), max(known)
    return f"{low:g}{unit}" if low == high else f"{low:g} to {high:g}{unit}"


@check(needs="gpus")
def pcie(look: Preflight) -> Iterator[Finding]:
    """Each GPU uses all PCIe lanes that it and its slot have."""

    def wrong(gpu: GpuReading) -> str | None:
        if gpu.pcie_width is None or gpu.pcie_width_max is None or gpu.pcie_width >= gpu.pcie_width_max:
            return None
        return (
            f"{gpu.pcie_width} of {gpu.pcie_width_max} lanes are in use, which slows copies from and to the "
            "host; power the machine off and reseat the GPU or its cable"
        )

    width, generation = (
        _span(gpu.pcie_width for gpu in look.gpus),
        _span(gpu.pcie_generation_max for gpu in look.gpus),
    )
    fine = f"generation {generation or 'unknown'}, {width} lanes" if width else None
    yield from _warnings(look.gpus, "PCIe", wrong, fine)


@check(needs="gpus")
def nvlink_speed(look: Preflight) -> Iterator[Finding]:
    """Each NVLink runs at the speed of its GPU, and the fabric reports no problem."""
    if look.scenario.hardware.count == 1:
        return

    def slow(gpu: GpuReading) -> str | None:
        known = KNOWN_GPUS.get(gpu.name)
        expected = known and known.nvlink_mb_s
        if gpu.nvlink_mb_s is None or not expected or gpu.nvlink_mb_s >= expected:
            return None
        return (
            f"expected {expected:,} MB/s per link, found {gpu.nvlink_mb_s:,}; see `nvidia-smi nvlink -s`, "
            "and reset the GPUs"
        )

    def unhealthy(gpu: GpuReading) -> str | None:
        if gpu.fabric is None or not gpu.fabric.problems:
            return None
        problems = " and ".join(gpu.fabric.problems)
        return f"reports {problems}; see, on the host: journalctl -u nvidia-fabricmanager"

    speed = _span((gpu.nvlink_mb_s for gpu in look.gpus), " MB/s per link")
    yield from _warnings(look.gpus, "NVLink speed", slow, speed or None)
    yield from _warnings(look.gpus, "NVLink fabric health", unhealthy, None)


@check(needs="gpus")
def power(look: Preflight) -> Iterator[Finding]:
    """No hidden limit lowers the power below the limit that is set, and no profile trades speed for power."""

    def limited(gpu: GpuReading) -> str | None:
        if gpu.power_enforced_w is None or gpu.power_limit_w is None:
            return None
        if gpu.power_enforced_w >= gpu.power_limit_w - _ROUNDED_W:
            return None
        return (
            f"{gpu.power_enforced_w:g} W is enforced although the limit is {gpu.power_limit_w:g} W: the "
            "machine's own management (BMC, chassis power cap) limits it; raise it there"
        )

    def saving(gpu: GpuReading) -> str | None:
        if not any(name.startswith("max-Q") for name in gpu.power_profiles or ()):
            return None
        profiles = ", ".join(gpu.power_profiles or ())
        return (
            f"the profile {profiles} is in force, which saves power at the cost of speed; see "
            "`nvidia-smi power-profiles -h`"
        )

    enforced = _span((gpu.power_enforced_w for gpu in look.gpus), " W")
    yield from _warnings(look.gpus, "power limit in force", limited, enforced or None)
    profiles = sorted({", ".join(gpu.power_profiles) for gpu in look.gpus if gpu.power_profiles})
    yield from _warnings(look.gpus, "power profile", saving, "; ".join(profiles) or None)


@check(needs="gpus")
def repaired(look: Preflight) -> Iterator[Finding]:
    """Errors that the hardware repaired are shown; the telemetry judges their growth during the run."""
    groups: dict[str, list[int]] = {}
    known = False
    for gpu in look.gpus:
        counts = {
            "corrected memory errors": gpu.ecc_corrected,
            "remapped rows": None if gpu.remap is None else gpu.remap.rows,
            "PCIe replays": gpu.pcie_replays,
            "NVLink errors": gpu.nvlink_errors,
        }
        known = known or any(count is not None for count in counts.values())
        if found := ", ".join(f"{count:,} {what}" for what, count in counts.items() if count):
            groups.setdefault(found, []).append(gpu.index)
    parts = [f"{gpu_list(indices)}: {found}" for found, indices in groups.items()]
    if known:
        yield Finding("ok", "GPU repaired errors", "; ".join(parts) or "none")


@check(needs="gpus")
def temperature(look: Preflight) -> Iterator[Finding]:
    """The temperature before the start is shown."""
    if span := _span((gpu.temperature_c for gpu in look.gpus), " C"):
        yield Finding("ok", "GPU temperature", f"{span} before the start")


@check(needs="gpus")
def alike(look: Preflight) -> Iterator[Finding]:
    """All GPUs of the run are alike: firmware, limits and clocks."""
    if len(look.gpus) == 1:
        return
    differing = False
    for what, read in _ALIKE.items():
        if look.setup != "off" and what in _compared(look.scenario.gpu_setup):
            continue
        every = {gpu.index: read(gpu) for gpu in look.gpus}
        values = {index: value for index, value in every.items() if value is not None}
        if not values:
            continue
        if unread := [index for index in every if index not in values]:
            yield Finding("ok", f"{gpu_list(unread)} {what}", "not read")
        usual, count = Counter(values.values()).most_common(1)[0]
        for value in dict.fromkeys(each for each in values.values() if each != usual):
            differing = True
            indices = [index for index, each in values.items() if each == value]
            others = f"{count} others have" if count > 1 else "another has"
            message = f"{_word(value)}, but {others} {_word(usual)} {UNVERIFIED}"
            yield Finding("warning", f"{gpu_list(indices)} {what}", message)
    if not differing:
        yield Finding("ok", "GPU differences", "none: all have the same firmware, limits and clocks")


def _compared(wanted: GpuSetup) -> set[str]:
    """Return the readings that are compared with the published settings already."""
    return {"power limit in W", *(["vboost"] if wanted.vboost is not None else [])}


def _word(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(value) or "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value)


@check(needs="gpus")
def offered(look: Preflight) -> Iterator[Finding]:
    """What the driver does not offer for any GPU is named, once."""
    lacking = [what for what, read in _OFFERED.items() if all(read(gpu) is None for gpu in look.gpus)]
    if look.scenario.hardware.count == 1:
        lacking = [what for what in lacking if not what.startswith("NVLink")]
    if lacking:
        yield Finding("ok", "GPU readings", f"not offered by the driver: {', '.join(lacking)}")


@check(needs="gpus")
def affinity(look: Preflight) -> Iterator[Finding]:
    """This process may use CPUs next to each GPU."""
    mine = os.sched_getaffinity(0)

    def wrong(gpu: GpuReading) -> str | None:
        if not gpu.cpus or gpu.cpus & mine:
            return None
        return (
            f"it is attached to CPUs {ranges(gpu.cpus)}, and this process may use only {ranges(mine)}; start "
            "pytest with CPUs of all NUMA nodes (taskset, numactl, cpuset)"
        )

    yield from _warnings(look.gpus, "CPU affinity", wrong, None)


@check(needs="gpus")
def governor(_: Preflight) -> Iterator[Finding]:
    """The CPUs run at full clock."""
    found = host.cpu_governors()
    if not found:
        yield Finding("ok", "CPU governor", "not offered by the system")
    elif slow := {name: count for name, count in found.items() if name != "performance"}:
        every = sum(found.values())
        listed = ", ".join(f"{name} on {count} of {every} CPUs" for name, count in sorted(slow.items()))
        message = f"expected performance, found {listed}; as root: cpupower frequency-set -g performance"
        yield Finding("warning", "CPU governor", f"{message} {UNVERIFIED}")
    else:
        yield Finding("ok", "CPU governor", "performance")


@check(needs="gpus")
def diagnosis(look: Preflight) -> Iterator[Finding]:
    """The short diagnosis of DCGM passes, where it is installed."""
    found = dcgm.short_diagnosis(look.environ)
    if found is None:
        return
    if found.failures:
        message = f"{'; '.join(found.failures)}; see `{dcgm.COMMAND}` {UNVERIFIED}"
        yield Finding("warning", "DCGM diagnosis", message)
    else:
        yield Finding("ok", "DCGM diagnosis", found.summary)


def pytest_dsr1_checks() -> Iterable[Check]:
    """List these checks, in the order in which their findings are shown."""
    return (
        pcie,
        nvlink_speed,
        power,
        repaired,
        temperature,
        alike,
        offered,
        affinity,
        governor,
        diagnosis,
    )
