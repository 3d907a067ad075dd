"""Preflight checks of the GPUs: kind and number, MIG, health, links, sharing and settings.

A difference from ``hardware:`` and a broken or shared GPU are a ``mismatch``; settings that cost performance
are a ``warning``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence

from packaging.version import InvalidVersion, Version

from pytest_dsr1.findings import Finding
from pytest_dsr1.machine import host
from pytest_dsr1.machine.gpu.inventory import GpuReading, gpu_list
from pytest_dsr1.machine.gpu.known import KNOWN_GPUS, LEAST_MEMORY
from pytest_dsr1.machine.gpu.processes import ProcessWatch, describe_process
from pytest_dsr1.machine.preflight.check import Check, Preflight, check
from pytest_dsr1.machine.setup.check import by_the_site, tuning
from pytest_dsr1.machine.setup.journal import pending
from pytest_dsr1.scenario.schema.scenario import Hardware

IDLE_MEMORY_GIB = 2.0
"""More used memory than this before the run means another process: an idle H200 shows about 0.5 GiB."""


@check(of_node=True)
def found(look: Preflight) -> Iterator[Finding]:
    """The machine has GPUs and a driver, if the scenario needs them."""
    if look.machine is not None and look.machine.problem is not None:
        message = f"{look.machine.problem}; the scenario needs {_needs(look.scenario.hardware)}"
        yield Finding("mismatch", "GPUs", message)


def _needs(hardware: Hardware) -> str:
    needs = [f"{hardware.count} x {hardware.gpu}"]
    if hardware.min_memory_gib is not None:
        needs.append(f"at least {hardware.min_memory_gib:g} GiB each")
    if hardware.min_driver is not None:
        needs.append(f"driver {hardware.min_driver} or newer")
    return ", ".join(needs)


def _grouped(
    gpus: Sequence[GpuReading], wrong: Callable[[GpuReading], str | None]
) -> Iterator[tuple[str, str]]:
    """Yield (which GPUs, message) for GPUs with the same problem."""
    groups: dict[str, list[int]] = {}
    for gpu in gpus:
        message = wrong(gpu)
        if message is not None:
            groups.setdefault(message, []).append(gpu.index)
    for message, indices in groups.items():
        yield gpu_list(indices), message


def _judge(
    gpus: Sequence[GpuReading], subject: str, wrong: Callable[[GpuReading], str | None], fine: str
) -> Iterator[Finding]:
    findings = [
        Finding("mismatch", f"{where} {subject}", message) for where, message in _grouped(gpus, wrong)
    ]
    yield from findings or [Finding("ok", f"GPU {subject}", fine)]


@check(needs="driver")
def count(look: Preflight) -> Iterator[Finding]:
    """The machine has as many GPUs as the scenario needs, and CUDA_VISIBLE_DEVICES names GPUs."""
    hardware, machine = look.scenario.hardware, look.inventory
    if machine.visibility is not None:
        message = f"{machine.visibility}; list indices or UUIDs as `nvidia-smi -L` prints them, or unset it"
        yield Finding("mismatch", "CUDA_VISIBLE_DEVICES", message)
    found, needed = len(machine.gpus), hardware.count
    if found < needed:
        hidden = machine.installed - found
        if "SLURM_JOB_ID" in look.environ:
            more = [f"ask Slurm for them: --gpus-per-node={needed}"]
        else:
            more = [f"{hidden} more are hidden by CUDA_VISIBLE_DEVICES: unset it"] if hidden else []
            if machine.refused:
                more.append(
                    f"this job or container may not use {machine.refused} more: ask for them with --gpus"
                )
        unhide = f" ({'; '.join(more)})" if more else ""
        message = f"expected {needed} x {hardware.gpu}, found {found}{unhide}"
        yield Finding("mismatch", "GPU count", message)
    else:
        spare = f"; the first {needed} of {found} are used" if found > needed else ""
        yield Finding("ok", "GPU count", f"{needed}{spare}")


@check(needs="gpus")
def name(look: Preflight) -> Iterator[Finding]:
    """The GPUs are the model that the scenario names."""
    hardware, gpus = look.scenario.hardware, look.gpus

    def wrong(gpu: GpuReading) -> str | None:
        return None if gpu.name == hardware.gpu else f"expected {hardware.gpu}, found {gpu.name}"

    yield from _judge(gpus, "name", wrong, f"{hardware.gpu}")


@check(needs="gpus")
def memory(look: Preflight) -> Iterator[Finding]:
    """The GPUs have enough memory, and as much as their model has."""
    asked, gpus = look.scenario.hardware.min_memory_gib, look.gpus

    def wrong(gpu: GpuReading) -> str | None:
        found = "an unknown amount" if gpu.memory_gib is None else f"{gpu.memory_gib:.1f} GiB"
        if asked is not None and (gpu.memory_gib is None or gpu.memory_gib < asked):
            return f"expected at least {asked:g} GiB, found {found}"
        known = KNOWN_GPUS.get(gpu.name)
        if known and gpu.memory_gib is not None and gpu.memory_gib < LEAST_MEMORY * known.memory_gib:
            return (
                f"expected about {known.memory_gib:g} GiB, as an {gpu.name} has, found {found}; is the GPU "
                "divided, or its memory faulty? See `nvidia-smi -q -d MEMORY,ROW_REMAPPER`"
            )
        return None

    sizes = sorted({f"{gpu.memory_gib:.1f} GiB" for gpu in gpus if gpu.memory_gib is not None})
    yield from _judge(gpus, "memory", wrong, ", ".join(sizes) or "unknown")


@check(needs="driver")
def driver(look: Preflight) -> Iterator[Finding]:
    """The NVIDIA driver is new enough."""
    found, least = look.inventory.driver or "unknown", look.scenario.hardware.min_driver
    if least is not None and not _is_at_least(found, least):
        message = f"expected {least} or newer, found {found}; update the NVIDIA driver on the host"
        yield Finding("mismatch", "NVIDIA driver", message)
    else:
        yield Finding("ok", "NVIDIA driver", f"{found} (CUDA {look.inventory.cuda or 'unknown'})")


def _is_at_least(found: str, least: str) -> bool:
    """Return whether a version is at least another; an unknown or malformed one is older than any."""
    try:
        return Version(found) >= Version(least)
    except InvalidVersion:
        return False


@check(needs="driver")
def readable(look: Preflight) -> Iterator[Finding]:
    """Every GPU that the run uses can be read."""
    for gpu in look.used:
        if gpu.problem is not None:
            yield Finding("mismatch", f"GPU {gpu.index}", f"cannot be read: {gpu.problem}")


@check(needs="gpus")
def mig(look: Preflight) -> Iterator[Finding]:
    """No GPU is divided into instances."""

    def wrong(gpu: GpuReading) -> str | None:
        if not gpu.mig:
            return None
        return "on: the GPU is divided; as root, turn MIG off with `nvidia-smi -mig 0` and reset the GPU"

    yield from _judge(look.gpus, "MIG mode", wrong, "off")


@check(needs="gpus")
def ecc(look: Preflight) -> Iterator[Finding]:
    """The GPUs' memory is healthy: no row remap is pending, error correction is on and found no errors."""
    gpus = look.gpus

    def remap(gpu: GpuReading) -> str | None:
        if gpu.remap and gpu.remap.failed:
            return "a row remap failed: the memory is faulty; replace the GPU"
        if gpu.remap and gpu.remap.pending:
            return "a row remap is pending: memory is faulty until the GPU is reset (`nvidia-smi -r`)"
        return None

    def off(gpu: GpuReading) -> str | None:
        return (
            "error correction is off, which changes memory speed; turn it on: `nvidia-smi -e 1`"
            if gpu.ecc is False
            else None
        )

    def errors(gpu: GpuReading) -> str | None:
        if not gpu.ecc_uncorrected:
            return None
        return f"{gpu.ecc_uncorrected} uncorrectable memory errors since the driver loaded"

    yield from _judge(gpus, "row remapping", remap, "none pending")
    noted = [
        Finding("warning", f"{where} ECC", what)
        for wrong in (off, errors)
        for where, what in _grouped(gpus, wrong)
    ]
    yield from noted or [Finding("ok", "GPU ECC", "no uncorrectable errors")]


@check(needs="gpus")
def sharing(look: Preflight) -> Iterator[Finding]:
    """No other process computes on the GPUs."""
    if url := look.scenario.engine.attached_url:
        message = f"processes already on the GPUs are taken to be the server at {url}"
        yield Finding("ok", "GPU sharing", message)
    else:
        yield from _sharing_with_our_server(look.gpus) if look.reused else _sharing(look.gpus)


def _sharing(gpus: Sequence[GpuReading]) -> Iterator[Finding]:
    named = host.pids_are_the_hosts()

    def wrong(gpu: GpuReading) -> str | None:
        if gpu.processes:
            listed = ", ".join(describe_process(process.pid, named) for process in gpu.processes)
            return f"other compute processes are on this GPU: {listed}; end them or choose other GPUs"
        if gpu.memory_used_gib is not None and gpu.memory_used_gib > IDLE_MEMORY_GIB:
            return (
                f"{gpu.memory_used_gib:.1f} GiB of its memory is in use by processes not visible here; "
                "run nvidia-smi on the host to see them"
            )
        return None

    yield from _judge(gpus, "sharing", wrong, "no other compute process")


def _sharing_with_our_server(gpus: Sequence[GpuReading]) -> Iterator[Finding]:
    """Judge by processes, because our server uses memory; in most containers these are unknown too."""
    watch = ProcessWatch()

    def wrong(gpu: GpuReading) -> str | None:
        foreign = ", ".join(watch.foreign(gpu.index, gpu.processes or ()))
        return f"other compute processes are on this GPU: {foreign}; end them" if foreign else None

    fine = "no compute process except those of the reused server"
    if not watch.visible:
        fine = "unknown: the reused server is on the GPU, and process ids are not the host's"
    yield from _judge(gpus, "sharing", wrong, fine)


@check(needs="gpus")
def nvlink(look: Preflight) -> Iterator[Finding]:
    """All NVLinks are active, if the run uses several GPUs."""
    gpus = look.gpus
    if look.scenario.hardware.count == 1:
        return

    def links(gpu: GpuReading) -> str | None:
        if gpu.nvlinks is None:
            return "no NVLink was found; see `nvidia-smi nvlink -s`"
        known = KNOWN_GPUS.get(gpu.name)
        every = max(gpu.nvlinks, (known and known.nvlinks) or 0)
        if gpu.nvlinks_active != every:
            return f"{gpu.nvlinks_active} of {every} links are active; see `nvidia-smi nvlink -s`"
        return None

    def fabric(gpu: GpuReading) -> str | None:
        if gpu.fabric is None or gpu.fabric.state in {"not supported", "completed"}:
            return None
        return f"{gpu.fabric.state}; start it on the host: systemctl start nvidia-fabricmanager"

    numbers = sorted({gpu.nvlinks for gpu in gpus if gpu.nvlinks is not None})
    yield from _judge(gpus, "NVLink", links, f"{' or '.join(map(str, numbers))} active on each GPU")
    looked_at = [gpu for gpu in gpus if gpu.fabric is not None]
    if unknown := [gpu.index for gpu in gpus if gpu.fabric is None]:
        message = (
            f"not looked at: driver {look.inventory.driver} does not report it; see, on the host: systemctl "
            "status nvidia-fabricmanager"
        )
        yield Finding("warning", f"{gpu_list(unknown)} NVLink fabric", message)
    if looked_at:
        states = sorted({gpu.fabric.state for gpu in looked_at if gpu.fabric})
        yield from _judge(looked_at, "NVLink fabric", fabric, ", ".join(states))


@check(needs="driver")
def left_changed(look: Preflight) -> Iterable[Finding]:
    """No earlier run left GPU settings changed."""
    return pending(look.environ, look.inventory.uuids)


@check(needs="driver")
def settings(look: Preflight) -> Iterable[Finding]:
    """The settings are the published ones; `--dsr1-gpu-setup=apply` checks them after it sets them."""
    if look.setup != "check":
        return
    found = tuple(tuning(look.scenario.gpu_setup, look.used))
    yield from found
    is_wrong = any(finding.severity == "warning" for finding in found)
    if is_wrong and "SLURM_JOB_ID" in look.environ and os.geteuid() != 0:
        yield by_the_site(look.scenario.gpu_setup, look.used)


def pytest_dsr1_checks() -> Iterable[Check]:
    """List the checks of the GPUs, in the order in which their findings are shown."""
    return (
        found,
        count,
        driver,
        readable,
        name,
        memory,
        mig,
        ecc,
        sharing,
        nvlink,
        left_changed,
        settings,
    )
