"""The journal: each GPU's settings before a run changed them, written before the first change.

It is one small file per GPU, next to its lock. Settings are restored when the run ends; after a SIGKILL or a
power loss, by the next run or by ``pytest-dsr1 restore``. A reboot, seen by the boot id, resets them.

Several machines may share the folder, such as a home folder on a file server. A journal belongs to the
machine that has its GPU, by UUID. The host's name says nothing, because each container has a new one.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from pytest_dsr1.errors import InvalidRunError
from pytest_dsr1.findings import Finding
from pytest_dsr1.machine import host, nvidia_smi
from pytest_dsr1.machine.gpu.inventory import read_machine
from pytest_dsr1.machine.gpu.lock import holder_elsewhere
from pytest_dsr1.machine.state_dir import VARIABLE, restore_folders
from pytest_dsr1.storage.filelock import is_held, lock_file
from pytest_dsr1.storage.files import entries as list_entries
from pytest_dsr1.storage.files import open_regular, sync_folder, write_atomically

RESTORE = "pytest-dsr1 restore"
_MOST_BYTES = 65536
"""A journal takes 300 bytes."""
POWER_STEP_W = 0.5
"""Power limits closer than this are equal: nvidia-smi sets hundredths of a W, NVML reports mW."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Settings of one GPU that setup may change and can read; None if the driver does not report one."""

    persistence: bool | None
    power_limit_w: float | None
    vboost: int | None


@dataclass(frozen=True, slots=True)
class Entry:
    """One GPU's journal.

    Attributes:
        uuid: the GPU's UUID.
        boot_id: the boot in which the GPU was changed.
        pid: the process id of the run that changed it.
        written_utc: time of writing, ISO 8601.
        before: the settings before the change.
        clocks_locked: whether the run may have locked the clocks; restoring then resets them.
    """

    uuid: str
    boot_id: str
    pid: int
    written_utc: str
    before: Settings
    clocks_locked: bool


def _path(folder: Path, uuid: str) -> Path:
    return folder / f"{uuid}.journal.json"


def write(folder: Path, entry: Entry) -> None:
    """Write an entry so that it survives a power loss: when this returns, it is on the disk.

    Raises:
        InvalidRunError: it cannot be written, such as to a full disk.
    """
    path = _path(folder, entry.uuid)
    try:
        write_atomically(path, json.dumps(asdict(entry), indent=1))
    except OSError as error:
        raise InvalidRunError(
            f"{path}: the GPU journal cannot be written: {error.strerror}; free space there, or choose "
            f"another folder with {VARIABLE}"
        ) from None


def remove(folder: Path, uuid: str) -> None:
    """Remove the journal of a restored GPU.

    Raises:
        OSError: it cannot be removed.
    """
    _path(folder, uuid).unlink(missing_ok=True)
    sync_folder(folder)


def _read(path: Path) -> Entry:
    """Read a journal.

    Raises:
        OSError: the file cannot be read, or is a device or pipe.
        ValueError: it is not a journal.
    """
    try:
        # Not a document with an envelope: older versions, which refuse unknown keys, restore from it too.
        with open_regular(path) as file:
            raw = json.loads(file.read(_MOST_BYTES))
        entry = Entry(**{**raw, "before": Settings(**raw["before"])})
    except (ValueError, TypeError, KeyError, RecursionError):
        raise ValueError("it is not a journal") from None
    if not _has_types(entry):
        raise ValueError("it is not a journal")
    if entry.uuid != path.name.removesuffix(".journal.json"):
        raise ValueError("it names another GPU")
    return entry


_MOST_W = 1e6
"""No GPU has a power limit above this; a larger number is not one that a run wrote."""


def _has_types(entry: Entry) -> bool:
    """Return whether each value has its type: another user may have written the file."""
    before = entry.before
    power_w, vboost = before.power_limit_w, before.vboost
    return (
        all(isinstance(each, str) for each in (entry.uuid, entry.boot_id, entry.written_utc))
        and type(entry.pid) is int
        and isinstance(entry.clocks_locked, bool)
        and isinstance(before.persistence, bool | None)
        and (power_w is None or (type(power_w) in {int, float} and 0 < power_w < _MOST_W))
        and (vboost is None or type(vboost) is int)
    )


def _journals(folder: Path) -> list[Path]:
    """Return the journals in a folder.

    Raises:
        OSError: the folder cannot be listed.
    """
    return [folder / one.name for one in list_entries(folder) if one.name.endswith(".journal.json")]


def exists(folder: Path, uuid: str) -> bool:
    """Return whether this GPU has yet to be restored."""
    return _path(folder, uuid).exists()


def _uuid(path: Path) -> str:
    return path.name.removesuffix(".journal.json")


def _of_this_boot(path: Path) -> bool:
    """Return whether this machine wrote the journal since it was started; True for a damaged one."""
    try:
        return _read(path).boot_id == host.boot_id() != ""
    except ValueError:
        return True
    except OSError:
        return False


def _rebooted(entry: Entry) -> bool:
    """Return whether the machine that has the GPU was started again since."""
    return host.boot_id() not in {entry.boot_id, ""}


def pending(environ: Mapping[str, str], uuids: Collection[str]) -> Iterator[Finding]:
    """Yield a warning for each GPU that an earlier run left changed; GPUs in use are skipped.

    Args:
        environ: the environment variables that name the folder.
        uuids: the GPUs of this machine that can be read.
    """
    for folder in restore_folders(environ):
        paths: list[Path] = []
        with suppress(OSError):  # restoring reports what it cannot read
            paths = _journals(folder)
        for path in paths:
            uuid = _uuid(path)
            message = f"an earlier run ended without restoring {uuid}"
            try:
                if uuid in uuids and _rebooted(_read(path)):
                    continue
                message += f"; `{RESTORE}` restores it now"
            except FileNotFoundError:
                continue
            except (OSError, ValueError):
                message += f", and {path} cannot be read; `{RESTORE}` says why"
            if uuid not in uuids:
                message = (
                    f"an earlier run ended without restoring {uuid}, which cannot be read here now; run "
                    f"`{RESTORE}` where it can be read, such as on the host"
                )
            if (uuid in uuids or _of_this_boot(path)) and not is_held(folder, uuid):
                yield Finding("warning", "GPU settings", message)


def restore_settings(folder: Path, entries: Sequence[Entry], environ: Mapping[str, str]) -> list[str]:
    """Restore the settings of these GPUs, and remove the journal of each restored GPU.

    Only what differs is set. Persistence mode is first, because the driver forgets the rest when it goes off.

    Returns:
        a sentence for each GPU that could not be restored, with the command to run as root.
    """
    refused: dict[str, list[nvidia_smi.Refusal]] = {entry.uuid: [] for entry in entries}

    def attempt(entry: Entry, command: nvidia_smi.Command) -> None:
        refusal = nvidia_smi.run(command, environ)
        if refusal is not None:
            refused[entry.uuid].append(refusal)

    now = settings_now(environ)
    for entry in entries:
        if entry.uuid in now:
            index, found = now[entry.uuid]
            if entry.clocks_locked:
                attempt(entry, nvidia_smi.reset_clocks(index))
            if entry.before.persistence not in {None, found.persistence}:
                attempt(entry, nvidia_smi.persistence(index, on=bool(entry.before.persistence)))
    now = settings_now(environ)
    for entry in entries:
        if entry.uuid in now:
            for command in _corrections(entry.before, *now[entry.uuid]):
                attempt(entry, command)
    now = settings_now(environ)
    problems = []
    for entry in entries:
        problem = _not_restored(entry, now, refused[entry.uuid])
        if problem is None:
            problem = _not_removed(folder, entry.uuid)
        if problem is not None:
            problems.append(problem)
    return problems


def _not_removed(folder: Path, uuid: str) -> str | None:
    """Remove the journal of a restored GPU; return a sentence if that fails."""
    try:
        remove(folder, uuid)
    except OSError as error:
        path = _path(folder, uuid)
        return f"{path}: {uuid} is restored, but this file cannot be deleted: {error.strerror}; delete it"
    return None


def settings_now(environ: Mapping[str, str]) -> dict[str, tuple[int, Settings]]:
    """Return index and settings of every readable GPU, by UUID."""
    # All GPUs, not only those visible to this run: an earlier run may have used others.
    all_visible = {name: value for name, value in environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    gpus = read_machine(all_visible).gpus
    return {
        gpu.uuid: (gpu.index, Settings(gpu.persistence, gpu.power_limit_w, gpu.vboost))
        for gpu in gpus
        if gpu.problem is None
    }


def _corrections(before: Settings, index: int, now: Settings) -> Iterator[nvidia_smi.Command]:
    if (
        before.power_limit_w is not None
        and now.power_limit_w is not None
        and abs(before.power_limit_w - now.power_limit_w) > POWER_STEP_W
    ):
        yield nvidia_smi.power_limit(index, before.power_limit_w)
    if before.vboost is not None and before.vboost != now.vboost:
        yield nvidia_smi.vboost(index, before.vboost)


def _not_restored(
    entry: Entry, now: Mapping[str, tuple[int, Settings]], refused: Sequence[nvidia_smi.Refusal]
) -> str | None:
    """Return a sentence on what still differs from before, or None."""
    if entry.uuid not in now:
        return f"{entry.uuid}: it cannot be read, so it is not restored; `{RESTORE}` tries again"
    index, found = now[entry.uuid]
    # A lock cannot be read: only the command that resets it shows whether it is gone.
    commands = [one.command for one in refused if one.command == nvidia_smi.reset_clocks(index)]
    if entry.before.persistence not in {None, found.persistence}:
        commands.append(nvidia_smi.persistence(index, on=bool(entry.before.persistence)))
    commands += _corrections(entry.before, index, found)
    if not commands:
        return None
    reasons = ", ".join(dict.fromkeys(refusal.reason for refusal in refused)) or "the driver did not keep it"
    what = ", ".join(dict.fromkeys(command.what for command in commands))
    fix = nvidia_smi.in_shell(list(dict.fromkeys(commands)))
    return (
        f"GPU {index} ({entry.uuid}) could not be restored to {what}: {reasons}; as root: {fix} or {RESTORE}"
    )


@dataclass(frozen=True, slots=True)
class Restoration:
    """The result of restoring.

    Attributes:
        notes: sentences for the user about GPUs of this machine.
        complete: whether every GPU of this machine is restored.
        elsewhere: sentences about GPUs of other machines, whose journals were left alone, and about folders
            that cannot be searched.
        searched: the folders that were searched for journals.
    """

    notes: tuple[str, ...]
    complete: bool
    elsewhere: tuple[str, ...] = ()
    searched: tuple[Path, ...] = field(default=(), compare=False)


def restore_from_journal(environ: Mapping[str, str]) -> Restoration:
    """Restore GPUs that killed runs left changed; skip GPUs of other machines and those in use.

    Root also restores what runs of other users left changed.
    """
    notes: list[str] = []
    searched: list[Path] = []
    elsewhere: list[str] = []
    complete = True
    present: Collection[str] | None = None
    for folder in restore_folders(environ):
        try:
            paths = _journals(folder)
        except OSError as error:
            elsewhere.append(f"{folder}: cannot be searched for journals: {error.strerror}")
            continue
        searched.append(folder)
        with ExitStack() as stack:
            entries = []
            for path in paths:
                if present is None:
                    present = settings_now(environ)
                if _uuid(path) not in present and not _of_this_boot(path):
                    elsewhere.append(
                        f"{path}: this machine does not have this GPU; the machine that has it restores it"
                    )
                    continue
                taken = _take(path, environ, stack)
                if isinstance(taken, Entry):
                    entries.append(taken)
                elif taken is not None:
                    notes.append(taken.note)
                    complete = complete and taken.complete
            if entries:
                problems = restore_settings(folder, entries, environ)
                done = [entry for entry in entries if not exists(folder, entry.uuid)]
                notes += [f"{e.uuid}: restored to its state before the run of {e.written_utc}" for e in done]
                notes += problems
                complete = complete and not problems
    return Restoration(tuple(notes), complete, tuple(elsewhere), tuple(searched))


@dataclass(frozen=True, slots=True)
class _LeftAlone:
    """A journal that is not restored now: why, and whether this is complete without it."""

    note: str
    complete: bool


def _take(path: Path, environ: Mapping[str, str], stack: ExitStack) -> Entry | _LeftAlone | None:
    """Lock the GPU of a journal of this machine and read it; None if another run has just restored it.

    Args:
        path: the journal.
        environ: the environment variables of this process.
        stack: releases the lock.
    """
    folder, uuid = path.parent, _uuid(path)
    try:
        lock = lock_file(folder, uuid)
        if lock is not None:
            stack.enter_context(lock)
        entry = _read(path)
        if lock is None:
            note = f"{uuid}: its run (pid {entry.pid}) is in progress and will restore it at the end"
            return _LeftAlone(note, complete=True)
        if by := holder_elsewhere(folder, uuid, environ):
            return _LeftAlone(f"{uuid}: in use by {by}; when that has ended, run: {RESTORE}", complete=False)
        if _rebooted(entry):
            remove(folder, uuid)
            note = f"{uuid}: a reboot has reset it since; its journal was deleted"
            return _LeftAlone(note, complete=True)
    except FileNotFoundError:
        return None
    except PermissionError as error:
        note = f"{uuid}: another user's run left it changed; run as root: {RESTORE}"
        if os.geteuid() == 0:  # a file server may give root no rights
            note = f"{uuid}: not restored; {path} refuses root: {error.strerror}; run as its owner: {RESTORE}"
        return _LeftAlone(note, complete=False)
    except ValueError as error:
        note = f"{path}: cannot be used: {error}; if it is damaged, delete it"
        return _LeftAlone(note, complete=False)
    except OSError as error:
        note = f"{error.filename or path}: {error.strerror}; correct that, then run: {RESTORE}"
        return _LeftAlone(note, complete=False)
    return entry
