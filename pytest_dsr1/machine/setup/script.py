"""The published set-up as shell lines, for ``--dsr1-plan``."""

from __future__ import annotations

from collections.abc import Iterable

from pytest_dsr1.machine.setup import nvidia_smi
from pytest_dsr1.scenario.schema.scenario import GpuSetup


def shell_lines(wanted: GpuSetup, count: int) -> Iterable[str]:
    """What ``--dsr1-gpu-setup=apply`` does to the first ``count`` GPUs, to be run as root.

    Nothing is put back by them.
    """
    gpus = range(count)
    changes = []
    if wanted.persistence:
        changes += [[nvidia_smi.persistence(gpu, on) for gpu in gpus] for on in (False, True)]
    if wanted.vboost is not None:
        changes.append([nvidia_smi.vboost(gpu, wanted.vboost) for gpu in gpus])
    if wanted.lock_sm_clock_mhz is not None:
        changes.append([nvidia_smi.lock_clocks(gpu, wanted.lock_sm_clock_mhz) for gpu in gpus])
    if changes:
        yield "# GPU set-up, as root; note the settings before: nvidia-smi -q, nvidia-smi boost-slider -l"
        yield from map(nvidia_smi.in_shell, changes)
