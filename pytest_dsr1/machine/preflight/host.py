"""Preflight checks of the host: memory limits, the software of the engine, and disk space."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from pytest_dsr1.findings import Finding
from pytest_dsr1.machine import host
from pytest_dsr1.machine.named_files import left_relative
from pytest_dsr1.machine.preflight.check import Check, Preflight, check

NCCL_SHM_GIB = 1.0
"""The shared memory that NVIDIA's container documentation asks for (--shm-size=1g)."""

_MOST_PATHS = 5
"""Paths that one warning names."""


@check(of_node=True)
def limits(look: Preflight) -> Iterator[Finding]:
    """NCCL has the shared and locked memory that several GPUs need."""
    if look.scenario.hardware.count <= 1:
        return
    shm = host.shm_gib()
    if shm is None or shm < NCCL_SHM_GIB:
        found = "found none" if shm is None else f"found {shm:.2f} GiB"
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


@check()
def nodes(look: Preflight) -> Iterator[Finding]:
    """A run on several nodes is in a Slurm job."""
    wanted = look.scenario.hardware.nodes
    if wanted > 1 and "SLURM_JOB_ID" not in look.environ:
        message = (
            f"expected a Slurm job with {wanted}, found none; submit one: pytest-dsr1 sbatch "
            f"{look.scenario.name}, or start pytest in one: salloc --nodes={wanted} --exclusive"
        )
        yield Finding("mismatch", "nodes", message)


@check()
def software(look: Preflight) -> Iterator[Finding]:
    """The engine's software is installed."""
    if not look.in_container:
        yield from look.scenario.engine.software(look.environ)


@check()
def speculation(look: Preflight) -> Iterator[Finding]:
    """No inherited variable forces the acceptance length of a scenario without `speculation`."""
    if look.scenario.speculation is not None:
        return  # the engine sets its own value
    for variable, length in look.scenario.engine.forced_by_hand(look.environ):
        forced = "" if length is None else f": {length:.10g}"
        message = (
            f"{variable} in the environment forces the acceptance length; unset it, or set "
            f"speculation.acceptance_length{forced} in the scenario"
        )
        yield Finding("mismatch", "speculation", message)


@check()
def files(look: Preflight) -> Iterator[Finding]:
    """The relative paths that the engine is given mean files in the folder in which pytest was started."""
    engine, folder = look.scenario.engine, Path.cwd()
    variables = [pair for each in engine.process_environments for pair in each.items()]
    if left := left_relative(engine.command_words, variables, folder):
        more = f" and {len(left) - _MOST_PATHS} more" if len(left) > _MOST_PATHS else ""
        message = (
            f"the engine looks for these relative paths in a folder of its own, but {folder} has them: "
            f"{'; '.join(left[:_MOST_PATHS])}{more}; write absolute paths"
        )
        yield Finding("warning", "files", message)


@check()
def disk(look: Preflight) -> Iterator[Finding]:
    """The disk has room for the results."""
    writes_to, bytes_needed = look.writes_to, look.bytes_needed
    free = host.free_bytes(writes_to)
    if free is not None and free < bytes_needed:
        message = (
            f"{bytes_needed / host.GIB:.1f} GiB will be written to {writes_to}, but only "
            f"{free / host.GIB:.1f} GiB is free; free some space or choose another folder"
        )
        yield Finding("mismatch", "disk space", message)
    else:
        yield Finding("ok", "disk space", "unknown" if free is None else f"{free / host.GIB:.1f} GiB free")


def pytest_dsr1_checks() -> Iterable[Check]:
    """List the checks of the host and the software, in the order in which their findings are shown."""
    return limits, nodes, software, speculation, files, disk
