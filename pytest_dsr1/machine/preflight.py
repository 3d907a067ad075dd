"""Is this the machine the targets were measured on, and is it fit to measure? Every answer at once.

A difference from ``hardware:``, a broken or a shared GPU is a ``mismatch`` (the run would be INVALID);
tuning is a ``warning``. Works on a :class:`~pytest_dsr1.machine.gpu.inventory.MachineReading`; for a scenario
on the CPU there is none, and NVML is not touched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from pytest_dsr1.machine import host
from pytest_dsr1.machine.gpu.inventory import GpuReading, MachineReading, gpu_list
from pytest_dsr1.machine.gpu.processes import ProcessWatch, describe_process
from pytest_dsr1.machine.setup.check import tuning
from pytest_dsr1.machine.setup.journal import pending
from pytest_dsr1.machine.values import Finding, SetupMode
from pytest_dsr1.scenario.schema.scenario import Hardware, Scenario

IDLE_MEMORY_GIB = 2.0
"""More used memory than this before the run belongs to somebody: an idle H200 shows about 0.5 GiB."""

NCCL_SHM_GIB = 1.0
"""The shared memory that NVIDIA's container documentation asks for (--shm-size=1g)."""


def preflight(
    scenario: Scenario,
    machine: MachineReading | None,
    *,
    environ: Mapping[str, str],
    writes_to: Path,
    bytes_needed: int,
    setup: SetupMode = "check",
    reused: bool = False,
) -> tuple[Finding, ...]:
    """Every finding. ``machine`` is None for a scenario on the CPU.

    Args:
        scenario: what is to run.
        machine: as read just now.
        environ: the environment of the run.
        writes_to: the folder that results go to; need not exist.
        bytes_needed: what will be written there.
        setup: tuning is judged only with ``check``: ``apply`` sets and judges it itself.
        reused: a server that this process started is on the GPUs already, and is going to answer.
    """
    findings: list[Finding] = []
    if machine is not None and scenario.hardware.gpu is not None:
        if machine.problem is not None:
            message = f"{machine.problem}; the scenario needs {_needs(scenario.hardware)}"
            findings.append(Finding("mismatch", "GPUs", message))
        else:
            findings += _gpus(scenario, machine, reused)
            findings += pending(environ)
            if setup == "check":
                findings += tuning(scenario.gpu_setup, machine.used(scenario.hardware.count))
    if scenario.hardware.count > 1:
        findings += _limits()
    findings += [
        Finding(found.severity, found.subject, found.message) for found in scenario.engine.software(environ)
    ]
    findings.append(_disk(writes_to, bytes_needed))
    return tuple(findings)


def _needs(hardware: Hardware) -> str:
    needs = [f"{hardware.count} x {hardware.gpu}"]
    if hardware.min_memory_gib is not None:
        needs.append(f"at least {hardware.min_memory_gib:g} GiB each")
    if hardware.min_driver is not None:
        needs.append(f"driver {hardware.min_driver} or newer")
    return ", ".join(needs)


def attached_to(scenario: Scenario) -> str | None:
    """The address of the running server that the scenario measures, which may be on these very GPUs."""
    return scenario.engine.attached_url


def _gpus(scenario: Scenario, machine: MachineReading, reused: bool) -> Iterator[Finding]:
    hardware = scenario.hardware
    gpus = machine.used(hardware.count)
    yield from _count(hardware, machine)
    yield _driver(hardware, machine)
    lost = [gpu for gpu in gpus if gpu.problem is not None]
    for gpu in lost:
        yield Finding("mismatch", f"GPU {gpu.index}", f"cannot be read: {gpu.problem}; reset it or reboot")
    gpus = tuple(gpu for gpu in gpus if gpu.problem is None)
    if not gpus:
        return
    for check in (_name, _memory, _mig, _ecc):
        yield from check(hardware, gpus)
    if url := attached_to(scenario):
        message = f"what runs on it before the measurement is taken for the server at {url}"
        yield Finding("ok", "GPU sharing", message)
    else:
        yield from _sharing_beside_ours(gpus) if reused else _sharing(gpus)
    if hardware.count > 1:
        yield from _links(gpus)


def _grouped(
    gpus: Sequence[GpuReading], wrong: Callable[[GpuReading], str | None]
) -> Iterator[tuple[str, str]]:
    """GPUs with the same thing wrong, as (which GPUs, what)."""
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


def _count(hardware: Hardware, machine: MachineReading) -> Iterator[Finding]:
    if machine.visibility is not None:
        message = f"{machine.visibility}; list indices or UUIDs as `nvidia-smi -L` prints them, or unset it"
        yield Finding("mismatch", "CUDA_VISIBLE_DEVICES", message)
    found, needed = len(machine.gpus), hardware.count
    if found < needed:
        hidden = machine.installed - found
        unhide = f" ({hidden} more are hidden by CUDA_VISIBLE_DEVICES: unset it)" if hidden else ""
        message = f"expected {needed} x {hardware.gpu}, found {found}{unhide}"
        yield Finding("mismatch", "GPU count", message)
    else:
        spare = f"; the first {needed} of {found} are used" if found > needed else ""
        yield Finding("ok", "GPU count", f"{needed}{spare}")


def _name(hardware: Hardware, gpus: Sequence[GpuReading]) -> Iterator[Finding]:
    def wrong(gpu: GpuReading) -> str | None:
        return None if gpu.name == hardware.gpu else f"expected {hardware.gpu}, found {gpu.name}"

    yield from _judge(gpus, "name", wrong, f"{hardware.gpu}")


def _memory(hardware: Hardware, gpus: Sequence[GpuReading]) -> Iterator[Finding]:
    least = hardware.min_memory_gib

    def wrong(gpu: GpuReading) -> str | None:
        if least is None or (gpu.memory_gib is not None and gpu.memory_gib >= least):
            return None
        found = "an unknown amount" if gpu.memory_gib is None else f"{gpu.memory_gib:.1f} GiB"
        return f"expected at least {least:g} GiB, found {found}"

    sizes = sorted({f"{gpu.memory_gib:.1f} GiB" for gpu in gpus if gpu.memory_gib is not None})
    yield from _judge(gpus, "memory", wrong, ", ".join(sizes) or "unknown")


def _driver(hardware: Hardware, machine: MachineReading) -> Finding:
    found, least = machine.driver or "unknown", hardware.min_driver
    if least is not None and not _at_least(found, least):
        message = f"expected {least} or newer, found {found}; update the NVIDIA driver on the host"
        return Finding("mismatch", "NVIDIA driver", message)
    return Finding("ok", "NVIDIA driver", f"{found} (CUDA {machine.cuda or 'unknown'})")


def _at_least(found: str, least: str) -> bool:
    from packaging.version import InvalidVersion, Version

    try:
        return Version(found) >= Version(least)
    except InvalidVersion:
        return False


def _mig(_: Hardware, gpus: Sequence[GpuReading]) -> Iterator[Finding]:
    def wrong(gpu: GpuReading) -> str | None:
        if not gpu.mig:
            return None
        return "on: the GPU is divided; switch it off as root with `nvidia-smi -mig 0` and reset the GPU"

    yield from _judge(gpus, "MIG mode", wrong, "off")


def _ecc(_: Hardware, gpus: Sequence[GpuReading]) -> Iterator[Finding]:
    def remap(gpu: GpuReading) -> str | None:
        if gpu.remap_failed:
            return "a row remap failed: the memory is faulty, the GPU must be replaced"
        if gpu.remap_pending:
            return "a row remap is pending: memory is faulty until the GPU is reset (`nvidia-smi -r`)"
        return None

    def off(gpu: GpuReading) -> str | None:
        return (
            "error correction is off, which changes memory speed; `nvidia-smi -e 1`"
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


def _sharing(gpus: Sequence[GpuReading]) -> Iterator[Finding]:
    named = host.pids_are_the_hosts()

    def wrong(gpu: GpuReading) -> str | None:
        if gpu.processes:
            listed = ", ".join(describe_process(process.pid, named) for process in gpu.processes)
            return f"other compute processes are on it: {listed}; end them or choose other GPUs"
        if gpu.memory_used_gib is not None and gpu.memory_used_gib > IDLE_MEMORY_GIB:
            return (
                f"{gpu.memory_used_gib:.1f} GiB of its memory are in use by processes not visible here; "
                "look with nvidia-smi on the host"
            )
        return None

    yield from _judge(gpus, "sharing", wrong, "no other compute process")


def _sharing_beside_ours(gpus: Sequence[GpuReading]) -> Iterator[Finding]:
    """Memory says nothing here, and in most containers the processes do not either."""
    watch = ProcessWatch()

    def wrong(gpu: GpuReading) -> str | None:
        foreign = ", ".join(watch.foreign(gpu.index, gpu.processes or ()))
        return f"other compute processes are on it: {foreign}; end them" if foreign else None

    fine = "no process but the server's that is reused"
    if not watch.visible:
        fine = "not known: the server that is reused is on it, and process ids here are not the host's"
    yield from _judge(gpus, "sharing", wrong, fine)


def _links(gpus: Sequence[GpuReading]) -> Iterator[Finding]:
    def links(gpu: GpuReading) -> str | None:
        if gpu.nvlinks is None:
            return "no NVLink is found; `nvidia-smi nvlink -s` shows them"
        if gpu.nvlinks_active != gpu.nvlinks:
            return f"{gpu.nvlinks_active} of {gpu.nvlinks} are active; `nvidia-smi nvlink -s` shows them"
        return None

    def fabric(gpu: GpuReading) -> str | None:
        if gpu.fabric in {None, "not supported", "completed"}:
            return None
        return f"{gpu.fabric}; start it on the host: systemctl start nvidia-fabricmanager"

    yield from _judge(gpus, "NVLink", links, f"{gpus[0].nvlinks} active on each GPU")
    states = sorted({gpu.fabric or "unknown" for gpu in gpus})
    yield from _judge(gpus, "NVLink fabric", fabric, ", ".join(states))


def _limits() -> Iterator[Finding]:
    shm = host.shm_gib()
    if shm is None or shm < NCCL_SHM_GIB:
        found = "there is none" if shm is None else f"found {shm:.2f} GiB"
        message = (
            f"NCCL needs {NCCL_SHM_GIB:g} GiB of /dev/shm, {found}; in Docker: --shm-size=1g or --ipc=host"
        )
        yield Finding("warning", "shared memory", message)
    else:
        yield Finding("ok", "shared memory", f"{shm:.1f} GiB")
    memlock = host.memlock_bytes()
    if memlock is None:
        yield Finding("ok", "locked memory", "unlimited")
    else:
        message = f"expected unlimited, found {memlock // 1024} KiB; in Docker: --ulimit memlock=-1"
        yield Finding("warning", "locked memory", message)


def _disk(writes_to: Path, bytes_needed: int) -> Finding:
    free = host.free_bytes(writes_to)
    if free is not None and free < bytes_needed:
        message = (
            f"{bytes_needed / host.GIB:.1f} GiB will be written to {writes_to}, {free / host.GIB:.1f} GiB "
            "are free; make room or give another folder"
        )
        return Finding("mismatch", "disk space", message)
    return Finding("ok", "disk space", "unknown" if free is None else f"{free / host.GIB:.1f} GiB free")
