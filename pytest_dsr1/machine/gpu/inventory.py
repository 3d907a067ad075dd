"""The inventory of the machine: identity, health and settings of every GPU, read in one pass.

NVML is open only while it is read; everything that judges a machine works on these values.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from pytest_dsr1.findings import Finding, Severity
from pytest_dsr1.machine import nvidia_smi
from pytest_dsr1.machine.gpu import nvml
from pytest_dsr1.machine.gpu.fabric import Fabric
from pytest_dsr1.machine.gpu.nvml_calls import GpuLostError, NotPermittedError, NvmlError
from pytest_dsr1.machine.values import GpuName


@dataclass(frozen=True, slots=True)
class GpuReading:
    """One GPU. None: the driver does not report the value.

    ``problem``: why the GPU cannot be read at all, and what to do.
    """

    index: int
    uuid: str = ""
    name: str = ""
    problem: str | None = None
    memory_gib: float | None = None
    memory_used_gib: float | None = None
    mig: bool | None = None
    ecc: bool | None = None
    ecc_uncorrected: int | None = None
    ecc_corrected: int | None = None
    remap: nvml.Remap | None = None
    nvlinks_active: int | None = None
    nvlinks: int | None = None
    nvlink_mb_s: int | None = None
    nvlink_errors: int | None = None
    fabric: Fabric | None = None
    vbios: str | None = None
    pcie_generation_max: int | None = None
    pcie_width: int | None = None
    pcie_width_max: int | None = None
    pcie_replays: int | None = None
    cpus: frozenset[int] | None = None
    processes: tuple[nvml.GpuProcess, ...] | None = None
    persistence: bool | None = None
    power_limit_w: float | None = None
    power_default_w: float | None = None
    power_enforced_w: float | None = None
    power_profiles: tuple[str, ...] | None = None
    temperature_c: int | None = None
    max_sm_clock_mhz: int | None = None
    application_clock_mhz: int | None = None
    application_memory_clock_mhz: int | None = None
    vboost: int | None = None


@dataclass(frozen=True, slots=True)
class MachineInventory:
    """The machine's GPUs.

    Attributes:
        problem: why there is nothing to read, such as no driver; else None.
        driver: the driver's version.
        cuda: the newest CUDA version the driver supports.
        installed: number of GPUs that this job or container may use.
        refused: number of GPUs that the driver shows but does not let this process use.
        uuids: the installed GPUs that can be read.
        gpus: the GPUs that a CUDA program sees, in its order (NVML's, filtered by CUDA_VISIBLE_DEVICES).
        visibility: what is wrong with CUDA_VISIBLE_DEVICES; else None.
    """

    problem: str | None = None
    driver: str | None = None
    cuda: str | None = None
    installed: int = 0
    refused: int = 0
    uuids: tuple[str, ...] = ()
    gpus: tuple[GpuReading, ...] = ()
    visibility: str | None = None

    def used(self, count: int) -> tuple[GpuReading, ...]:
        """Return the first ``count`` GPUs: those that a run uses."""
        return self.gpus[:count]


def readable(gpus: Iterable[GpuReading]) -> tuple[GpuReading, ...]:
    """Return the GPUs that can be read at all."""
    return tuple(gpu for gpu in gpus if gpu.problem is None)


def visible(installed: Sequence[GpuReading], setting: str | None) -> tuple[list[GpuReading], str | None]:
    """Return the GPUs that CUDA_VISIBLE_DEVICES selects, in its order, and what is wrong with it.

    CUDA reads indices or UUIDs (or their first characters), up to the first entry that names no GPU. It
    counts only the GPUs that the process may use, so its indices may differ from NVML's.
    """
    if setting is None:
        return list(installed), None
    chosen: list[GpuReading] = []
    for word in (part.strip() for part in setting.split(",")):
        if word.isascii() and word.isdigit():
            found = list(installed[int(word) : int(word) + 1])
        elif word.startswith("GPU-"):
            found = [gpu for gpu in installed if gpu.uuid.startswith(word)]
        else:
            found = []
        if len(found) != 1 or found[0] in chosen:
            why = "is named twice" if found and found[0] in chosen else "does not name exactly one whole GPU"
            return chosen, f"CUDA_VISIBLE_DEVICES={setting}: {word or 'an empty entry'!s} {why}"
        chosen += found
    return chosen, None


_Value = TypeVar("_Value")


def _tolerant(read: Callable[[], _Value | None]) -> _Value | None:
    """Read a value that a healthy GPU may lack; a lost GPU still raises."""
    try:
        return read()
    except GpuLostError:
        raise
    except NvmlError:
        return None


def _read_gpu(library: nvml.Nvml, index: int, vboost: int | None) -> GpuReading | None:
    """Return one GPU; None if this process may not use it."""
    try:
        gpu = library.gpu(index)
        memory = _tolerant(gpu.memory_gib) or (None, None)
        links = _tolerant(gpu.nvlinks) or (None, None)
        return GpuReading(
            index=index,
            uuid=gpu.uuid,
            name=gpu.name,
            memory_gib=memory[0],
            memory_used_gib=memory[1],
            mig=_tolerant(gpu.mig),
            ecc=_tolerant(gpu.ecc),
            ecc_uncorrected=_tolerant(gpu.ecc_uncorrected),
            ecc_corrected=_tolerant(gpu.ecc_corrected),
            remap=_tolerant(gpu.remap),
            nvlinks_active=links[0],
            nvlinks=links[1],
            nvlink_mb_s=_tolerant(gpu.nvlink_mb_s),
            nvlink_errors=_tolerant(gpu.nvlink_errors),
            fabric=_tolerant(gpu.fabric),
            vbios=_tolerant(gpu.vbios),
            pcie_generation_max=_tolerant(gpu.pcie_generation_max),
            pcie_width=_tolerant(gpu.pcie_width),
            pcie_width_max=_tolerant(gpu.pcie_width_max),
            pcie_replays=_tolerant(gpu.pcie_replays),
            cpus=_tolerant(gpu.cpus),
            processes=_tolerant(gpu.processes),
            persistence=_tolerant(gpu.persistence),
            power_limit_w=_tolerant(gpu.power_limit_w),
            power_default_w=_tolerant(gpu.power_default_w),
            power_enforced_w=_tolerant(gpu.power_enforced_w),
            power_profiles=_tolerant(gpu.power_profiles),
            temperature_c=_tolerant(gpu.temperature_c),
            max_sm_clock_mhz=_tolerant(gpu.max_sm_clock_mhz),
            application_clock_mhz=_tolerant(gpu.application_clock_mhz),
            application_memory_clock_mhz=_tolerant(gpu.application_memory_clock_mhz),
            vboost=vboost,
        )
    except NotPermittedError:
        return None
    except NvmlError as error:
        return GpuReading(index=index, problem=f"{error}; {error.advice}")


def read_machine(environ: Mapping[str, str]) -> MachineInventory:
    """Read the machine without changing it. Never raises: the values say what cannot be read."""
    try:
        with nvml.opened() as library:
            count = library.count()
            vboost = nvidia_smi.read_vboost(environ) if count else {}
            read = [_read_gpu(library, index, vboost.get(index)) for index in range(count)]
            driver, cuda = library.driver(), library.cuda()
    except NvmlError as error:
        return MachineInventory(problem=str(error))
    gpus = [gpu for gpu in read if gpu is not None]
    if not gpus:
        problem = f"the NVIDIA driver {driver} shows no GPU (in a container: start it with --gpus all)"
        if count:
            problem = (
                f"the NVIDIA driver {driver} shows {count} GPUs, but this job or container may not use any "
                "of them; ask for them with --gpus"
            )
        return MachineInventory(problem=problem, driver=driver, cuda=cuda, refused=count)
    seen, wrong = visible(gpus, environ.get("CUDA_VISIBLE_DEVICES"))
    uuids = tuple(gpu.uuid for gpu in gpus if gpu.uuid)
    return MachineInventory(None, driver, cuda, len(gpus), count - len(gpus), uuids, tuple(seen), wrong)


def ranges(indices: Iterable[int]) -> str:
    """Format whole numbers for messages: ``3``, ``0-7``, ``0, 2-4``."""
    runs: list[list[int]] = []
    for index in sorted(indices):
        if runs and index == runs[-1][-1] + 1:
            runs[-1].append(index)
        else:
            runs.append([index])
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs)


def node_of(gpu: GpuName) -> tuple[str, int]:
    """Return the node of a GPU, empty if the run used one, and NVML's index there."""
    node, _, index = str(gpu).rpartition(":")
    return node, int(index)


def on(node: str) -> str:
    """Return the words that name a node after what happened there; empty if the run used one."""
    return f" on {node}" if node else ""


def gpu_list(gpus: Sequence[GpuName]) -> str:
    """Format GPUs for messages: ``GPU 3``, ``GPUs 0, 2-4``, ``GPUs 0-7 on node1 and GPU 3 on node2``."""
    by_node: dict[str, list[int]] = {}
    for node, index in map(node_of, gpus):
        by_node.setdefault(node, []).append(index)
    return " and ".join(
        f"GPU{'s' if len(indices) > 1 else ''} {ranges(indices)}{on(node)}"
        for node, indices in by_node.items()
    )


def gpu_finding(severity: Severity, gpu: GpuName, what: str, message: str) -> Finding:
    """Return a finding about one GPU, whose subject is such as ``GPU 3 throttled``."""
    node, index = node_of(gpu)
    return Finding(severity, f"GPU {index} {what}", message, node)


def sentences(findings: Iterable[Finding]) -> list[str]:
    """Return a sentence per finding; those that differ only in the GPU and in figures are joined to one."""
    alike: dict[tuple[str, str, str], list[tuple[int, Finding]]] = {}
    for number, finding in enumerate(findings):
        found = re.fullmatch(r"GPU (\d+)\b(.*)", finding.subject)
        text = re.sub(r"\d[\d.,:]*", "0", finding.message)
        key = (finding.node, found[2], text) if found else (f"{number}", "", "")
        alike.setdefault(key, []).append((int(found[1]) if found else -1, finding))
    said = []
    for (_, rest, _), members in alike.items():
        (index, first), others = members[0], members[1:]
        if not others:
            said.append(f"{first.where}: {first.message}")
            continue
        same = {finding.message for _, finding in members} == {first.message}
        of_one = "" if same else f" (figures of GPU {index})"
        gpus = gpu_list([gpu for gpu, _ in members])
        said.append(f"{gpus}{rest}{on(first.node)}: {first.message}{of_one}")
    return said
