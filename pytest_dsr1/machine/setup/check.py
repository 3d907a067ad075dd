"""GPU settings compared with the published ones: each difference costs performance and is a warning."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pytest_dsr1.findings import Finding
from pytest_dsr1.machine import nvidia_smi
from pytest_dsr1.machine.gpu.inventory import GpuReading, gpu_list
from pytest_dsr1.machine.setup.journal import RESTORE
from pytest_dsr1.scenario.schema.scenario import GpuSetup


def tuning(wanted: GpuSetup, gpus: Sequence[GpuReading]) -> Iterator[Finding]:
    """Yield what differs from the published settings, with the command that changes it.

    A locked clock cannot be read. Telemetry shows it as an SM clock that does not rise under load.
    """
    readable = [gpu for gpu in gpus if gpu.problem is None]
    if not readable:
        return
    yield _persistence([gpu for gpu in readable if gpu.persistence is False])
    yield from _power(readable)
    if wanted.vboost is not None:
        yield from _vboost(wanted.vboost, readable)


def by_the_site(wanted: GpuSetup, gpus: Sequence[GpuReading]) -> Finding:
    """Return what Slurm itself would have to run as root on this node, before and after each job.

    ``gpus`` are as they were read before a setup.
    """
    indices = [gpu.index for gpu in gpus]
    after = [] if wanted.lock_sm_clock_mhz is None else [nvidia_smi.reset_clocks(each) for each in indices]
    if wanted.vboost is not None:
        after += [nvidia_smi.vboost(gpu.index, gpu.vboost or 0) for gpu in gpus]
    back = [nvidia_smi.in_shell(after)] if after else []
    message = (
        "without root, a Slurm job cannot set GPUs up; ask for these lines, in the site's Prolog: "
        f"{'; '.join(nvidia_smi.setup_lines(wanted, indices))}; and in its Epilog: "
        f"{'; '.join([*back, RESTORE])}"
    )
    return Finding("warning", "Slurm Prolog", message)


def _persistence(off: list[GpuReading]) -> Finding:
    if not off:
        return Finding("ok", "GPU persistence mode", "on")
    commands = [nvidia_smi.persistence(gpu.index, on=True) for gpu in off]
    message = f"expected on, found off; as root: {nvidia_smi.in_shell(commands)}"
    return Finding("warning", f"{gpu_list([gpu.index for gpu in off])} persistence mode", message)


def _power(gpus: list[GpuReading]) -> Iterator[Finding]:
    groups: dict[tuple[float, float], list[int]] = {}
    for gpu in gpus:
        limit, default = gpu.power_limit_w, gpu.power_default_w
        if limit is not None and default is not None and limit < default:
            groups.setdefault((limit, default), []).append(gpu.index)
    for (limit, default), indices in groups.items():
        commands = [nvidia_smi.power_limit(index, default) for index in indices]
        fix = nvidia_smi.in_shell(commands)
        message = f"expected the default of {default:g} W, found {limit:g} W; as root: {fix}"
        yield Finding("warning", f"{gpu_list(indices)} power limit", message)
    if not groups:
        known = sorted({f"{gpu.power_limit_w:g} W" for gpu in gpus if gpu.power_limit_w is not None})
        yield Finding("ok", "GPU power limit", ", ".join(known) or "unknown")


def _vboost(wanted: int, gpus: list[GpuReading]) -> Iterator[Finding]:
    groups: dict[int | None, list[int]] = {}
    for gpu in gpus:
        if gpu.vboost != wanted:
            groups.setdefault(gpu.vboost, []).append(gpu.index)
    for found, indices in groups.items():
        commands = [nvidia_smi.vboost(index, wanted) for index in indices]
        seen = "but it cannot be read" if found is None else f"found {found}"
        message = f"the published value is {wanted}, {seen}; as root: {nvidia_smi.in_shell(commands)}"
        yield Finding("warning", f"{gpu_list(indices)} vboost", message)
    if not groups:
        yield Finding("ok", "GPU vboost", str(wanted))
