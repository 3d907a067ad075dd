"""The published GPU settings, applied and restored: ``--dsr1-gpu-setup=apply``.

Settings are restored on success, failure, any exception, Ctrl-C, SIGTERM and SIGHUP. After SIGKILL or a power
loss the journal remains for the next run. Commands run with the user's rights, never with sudo.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path

from pytest_dsr1.errors import InvalidRunError
from pytest_dsr1.findings import Finding
from pytest_dsr1.machine import host, nvidia_smi
from pytest_dsr1.machine.gpu.inventory import GpuReading, gpu_list, read_machine
from pytest_dsr1.machine.setup import journal
from pytest_dsr1.machine.setup.check import by_the_site, tuning
from pytest_dsr1.machine.setup.ending import restoring
from pytest_dsr1.machine.state_dir import MACHINE_FOLDER, lost_with_container, state_dir
from pytest_dsr1.machine.values import FactValue, Notify
from pytest_dsr1.scenario.schema.scenario import GpuSetup


@dataclass(frozen=True, slots=True)
class Applied:
    """The effect of setup: findings for the result, facts for the fingerprint."""

    findings: tuple[Finding, ...] = ()
    facts: Mapping[str, FactValue] = field(default_factory=dict)


@contextmanager
def applied(
    wanted: GpuSetup, gpus: Sequence[GpuReading], environ: Mapping[str, str], notify: Notify
) -> Iterator[Applied]:
    """Set up the GPUs for the block and restore them after it. Hold their locks, and no NVML handle.

    Raises:
        InvalidRunError: an earlier run's changes are not restored yet, or a GPU cannot be read.
    """
    folder = state_dir(environ)
    entries = _entries(wanted, gpus, folder, environ)
    findings = list(_volatile(folder))

    def restore() -> None:
        left = [entry for entry in entries if journal.exists(folder, entry.uuid)]
        for problem in journal.restore_settings(folder, left, environ) if left else ():
            notify(problem)

    with restoring(restore):
        _note_before(folder, entries)
        refusals = _make(wanted, gpus, environ, notify)
        _note_unlocked(wanted, gpus, refusals, entries, folder)
        findings += _refused(refusals, in_job="SLURM_JOB_ID" in environ)
        if "SLURM_JOB_ID" in environ and any(refusal.permission for refusal in refusals):
            findings.append(by_the_site(wanted, gpus))
        findings += tuning(wanted, _read_again(gpus, environ))
        not_set = [f"{refusal.command.what} on GPU {refusal.command.gpu}" for refusal in refusals]
        yield Applied(
            tuple(findings),
            {
                "setup.persistence_cycled": wanted.persistence and not _touches(not_set, "persistence"),
                "setup.vboost": wanted.vboost if not _touches(not_set, "vboost") else None,
                "setup.sm_clock_lock_mhz": wanted.lock_sm_clock_mhz if not _touches(not_set, "SM") else None,
                "setup.not_set": not_set,
            },
        )


def _touches(not_set: list[str], word: str) -> bool:
    return any(what.startswith(word) for what in not_set)


def _entries(
    wanted: GpuSetup, gpus: Sequence[GpuReading], folder: Path, environ: Mapping[str, str]
) -> list[journal.Entry]:
    changed = [gpu.index for gpu in gpus if journal.exists(folder, gpu.uuid)]
    if changed:
        raise InvalidRunError(
            f"{gpu_list(changed)}: an earlier run changed the settings and did not restore them, so the "
            f"original ones would be lost; run as root: {journal.RESTORE}"
        )
    settings = journal.settings_now(environ)
    lost = [gpu.index for gpu in gpus if gpu.uuid not in settings]
    if lost:
        raise InvalidRunError(f"{gpu_list(lost)}: can no longer be read, so nothing was changed")
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return [
        journal.Entry(
            uuid=gpu.uuid,
            boot_id=host.boot_id(),
            pid=os.getpid(),
            written_utc=now,
            before=settings[gpu.uuid][1],
            clocks_locked=wanted.lock_sm_clock_mhz is not None,
        )
        for gpu in gpus
    ]


def _note_before(folder: Path, entries: Sequence[journal.Entry]) -> None:
    """Write the journals; if one cannot be written, leave none, because nothing was changed.

    Raises:
        InvalidRunError: a journal cannot be written.
    """
    try:
        for entry in entries:
            journal.write(folder, entry)
    except InvalidRunError:
        with suppress(OSError):
            for entry in entries:
                journal.remove(folder, entry.uuid)
        raise


def _volatile(folder: Path) -> Iterator[Finding]:
    if lost_with_container(folder):
        message = (
            f"{folder} is not mounted from the host: if this container is killed, the original GPU "
            f"settings are lost; in Docker: -v {MACHINE_FOLDER}:{MACHINE_FOLDER}"
        )
        yield Finding("warning", "GPU journal", message)


def _make(
    wanted: GpuSetup, gpus: Sequence[GpuReading], environ: Mapping[str, str], notify: Notify
) -> list[nvidia_smi.Refusal]:
    """Change every GPU in the order of the published procedure; return the refused changes."""
    indices = [gpu.index for gpu in gpus]
    refusals: list[nvidia_smi.Refusal] = []

    def each(make: Callable[[int], nvidia_smi.Command], among: Sequence[int]) -> list[int]:
        done = []
        for index in among:
            refusal = nvidia_smi.run(make(index), environ)
            if refusal is None:
                done.append(index)
            else:
                refusals.append(refusal)
        return done

    if wanted.persistence:
        off = each(lambda index: nvidia_smi.persistence(index, on=False), indices)
        each(lambda index: nvidia_smi.persistence(index, on=True), off)
    vboost, clock_mhz = wanted.vboost, wanted.lock_sm_clock_mhz
    if vboost is not None:
        each(lambda index: nvidia_smi.vboost(index, vboost), indices)
    if clock_mhz is not None:
        notify(
            f"locking the SM clock of {gpu_list(indices)} to {clock_mhz} MHz; NVML cannot read an earlier "
            "lock, so it will be lost: at the end the clocks are reset (nvidia-smi -rgc)"
        )
        each(lambda index: nvidia_smi.lock_clocks(index, clock_mhz), indices)
    return refusals


def _note_unlocked(
    wanted: GpuSetup,
    gpus: Sequence[GpuReading],
    refusals: Sequence[nvidia_smi.Refusal],
    entries: list[journal.Entry],
    folder: Path,
) -> None:
    """Note GPUs without a lock to reset: a user who may not lock clocks may not reset them either."""
    if wanted.lock_sm_clock_mhz is None:
        return
    refused = {refusal.command for refusal in refusals}
    for position, gpu in enumerate(gpus):
        if nvidia_smi.lock_clocks(gpu.index, wanted.lock_sm_clock_mhz) in refused:
            entries[position] = replace(entries[position], clocks_locked=False)
            journal.write(folder, entries[position])


def _refused(refusals: Sequence[nvidia_smi.Refusal], *, in_job: bool) -> Iterator[Finding]:
    groups: dict[tuple[str, str, bool], list[nvidia_smi.Command]] = {}
    for refusal in refusals:
        key = (refusal.command.what, refusal.reason, refusal.permission)
        groups.setdefault(key, []).append(refusal.command)
    for (what, reason, permission), commands in groups.items():
        where = gpu_list([command.gpu for command in commands])
        advice = "the run continues without it"
        if permission:
            advice = "see Slurm Prolog" if in_job else f"run as root: {nvidia_smi.in_shell(commands)}"
        yield Finding("warning", f"{where} setup", f"could not set {what}: {reason}; {advice}")


def _read_again(gpus: Sequence[GpuReading], environ: Mapping[str, str]) -> list[GpuReading]:
    uuids = {gpu.uuid for gpu in gpus}
    return [gpu for gpu in read_machine(environ).gpus if gpu.uuid in uuids]
