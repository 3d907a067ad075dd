"""The fingerprint of a run: facts that stay the same in the next run on the same machine and software."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from typing import TypeVar

from pytest_dsr1.machine import host
from pytest_dsr1.machine.gpu.inventory import GpuReading, MachineInventory
from pytest_dsr1.machine.values import INHERITED, FactValue, Fingerprint
from pytest_dsr1.masking import masked_words, without_secrets
from pytest_dsr1.scenario.schema.scenario import Scenario
from pytest_dsr1.scenario.schema.site import Site
from pytest_dsr1.text import writable

LIBRARIES = re.compile(
    r"torch|transformers|tensorrt-llm|vllm|sglang|numpy|pytest-dsr1|nvidia-.*"
    r"|triton|flashinfer-(python|cubin|jit-cache)|flash-attn|flash-mla|deep-gemm|deep-ep|sgl-kernel|sglang-kernel"
)
"""Distributions whose versions are recorded: engines and kernels; names are normalized as in PEP 503."""
VARIABLES = re.compile(
    r"(?!CUDA_VISIBLE_DEVICES|\w+_(VERSION|HOME|PATH|DIR|ROOT)$)"
    r"(NCCL|CUDA|CUBLAS|TORCH|TORCHINDUCTOR|PYTORCH|TRITON|FLASHINFER|DG|OMP|VLLM|SGLANG|SGL|TRTLLM|TLLM)_\w+"
)
"""Inherited variables that are recorded: of engines, their kernels and NCCL. Not which GPUs a run has, nor
where something is, nor what a container was built with: other facts have that, or it costs nothing."""
_NAME = re.compile(r"^Name:[ \t]*(\S.*?)[ \t]*$", re.IGNORECASE | re.MULTILINE)


def fingerprint(
    scenario: Scenario,
    machine: MachineInventory | None,
    *,
    setup_facts: Mapping[str, FactValue],
    environ: Mapping[str, str],
) -> Fingerprint:
    """Return the facts. Values that change by themselves (temperature, current clocks) are left out.

    A fact about the GPUs is one value if they all agree, else a list with one value per GPU.
    """
    facts: dict[str, FactValue] = {}
    if machine is not None:
        facts |= _gpu_facts(machine, scenario.hardware.count)
    facts |= {
        "cpu.model": host.cpu_model(),
        "cpu.cores": os.cpu_count(),
        "kernel": platform.release(),
        "hostname": platform.node(),
        "container": host.in_container(),
        "container.image": host.container_image(environ),
        "python": platform.python_version(),
        "python.path": environ.get("PYTHONPATH", ""),
    }
    if scenario.engine.attached_url is None:
        facts[INHERITED] = _inherited(environ, scenario.engine.process_environments)
    return Fingerprint({**facts, **_libraries(), **setup_facts})


def _inherited(environ: Mapping[str, str], own: Sequence[Mapping[str, str]]) -> list[str]:
    """Return the variables that are recorded, without secrets, and without those that no process inherits."""
    names = (name for name in sorted(environ) if VARIABLES.fullmatch(name))
    return masked_words(
        writable(f"{name}={environ[name]}") for name in names if not all(name in each for each in own)
    )


def slurm_facts(scenario: Scenario, site: Site, environ: Mapping[str, str]) -> dict[str, FactValue]:
    """Return how Slurm starts an engine; nothing on one machine without an allocation.

    Partition, account and the like are no facts: they say where a run waits, not how it runs.
    """
    if scenario.hardware.nodes == 1 and "SLURM_JOB_ID" not in environ:
        return {}
    images = [word.removeprefix(_IMAGE) for word in site.slurm.srun if word.startswith(_IMAGE)]
    return {
        "slurm.image": without_secrets(images[-1]) if images else None,
        "slurm.mpi": site.slurm.mpi,
        "slurm.launcher": masked_words(site.slurm.launcher),
        "slurm.interface": site.slurm.interface,
    }


_IMAGE = "--container-image="
"""The option with which pyxis, a plugin of srun, starts a step in a container."""
_Value = TypeVar("_Value", str, float, bool, int)


def _common(gpus: tuple[GpuReading, ...], read: Callable[[GpuReading], _Value | None]) -> FactValue:
    values = [read(gpu) for gpu in gpus]
    return values[0] if len(set(values)) == 1 else [str(value) for value in values]


def _gpu_facts(machine: MachineInventory, count: int) -> dict[str, FactValue]:
    gpus = machine.used(count)
    facts: dict[str, FactValue] = {
        "driver": machine.driver,
        "cuda.driver": machine.cuda,
        "gpu.count": len(gpus),
        "gpu.uuids": [gpu.uuid for gpu in gpus],
        "processes_visible": host.pids_are_the_hosts(),
    }
    if gpus:
        facts |= {
            "gpu.name": _common(gpus, lambda gpu: gpu.name),
            "gpu.memory_gib": _common(
                gpus, lambda gpu: None if gpu.memory_gib is None else round(gpu.memory_gib, 1)
            ),
            "gpu.power_limit_w": _common(gpus, lambda gpu: gpu.power_limit_w),
            "gpu.power_default_w": _common(gpus, lambda gpu: gpu.power_default_w),
            "gpu.power_enforced_w": _common(gpus, lambda gpu: gpu.power_enforced_w),
            "gpu.vbios": _common(gpus, lambda gpu: gpu.vbios),
            "gpu.pcie_generation": _common(gpus, lambda gpu: gpu.pcie_generation_max),
            "gpu.pcie_width": _common(gpus, lambda gpu: gpu.pcie_width),
            "gpu.nvlink_mb_s": _common(gpus, lambda gpu: gpu.nvlink_mb_s),
            "gpu.power_profiles": _common(
                gpus,
                lambda gpu: None if gpu.power_profiles is None else ", ".join(gpu.power_profiles) or "none",
            ),
            "gpu.max_sm_clock_mhz": _common(gpus, lambda gpu: gpu.max_sm_clock_mhz),
            "gpu.application_clock_mhz": _common(gpus, lambda gpu: gpu.application_clock_mhz),
            "gpu.application_memory_clock_mhz": _common(gpus, lambda gpu: gpu.application_memory_clock_mhz),
            "gpu.persistence": _common(gpus, lambda gpu: gpu.persistence),
            "gpu.vboost": _common(gpus, lambda gpu: gpu.vboost),
            "gpu.mig": _common(gpus, lambda gpu: gpu.mig),
            "gpu.ecc": _common(gpus, lambda gpu: gpu.ecc),
        }
    return facts


def _libraries() -> dict[str, FactValue]:
    found: dict[str, FactValue] = {}
    for distribution in metadata.distributions():
        name = re.sub(r"[-_.]+", "-", _name(distribution)).lower()
        # The first one on the path is the one that is imported.
        if LIBRARIES.fullmatch(name) and f"library.{name}" not in found:
            found[f"library.{name}"] = distribution.version
    return dict(sorted(found.items()))


def _name(distribution: metadata.Distribution) -> str:
    """Return a distribution's name; ``Distribution.name`` would parse its whole description too."""
    text = distribution.read_text("METADATA") or ""
    found = _NAME.search(text.partition("\n\n")[0])
    return found[1] if found else distribution.name or ""
