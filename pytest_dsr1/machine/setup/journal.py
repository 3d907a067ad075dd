"""The journal: how each GPU was before this project changed it, written before the first change.

One small file for each GPU beside its lock. Put back when a run ends; after a SIGKILL or a power loss by the
next run or by ``pytest-dsr1 restore``. A reboot resets every setting: the boot id in the journal shows it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from pytest_dsr1.machine import host
from pytest_dsr1.machine.gpu.inventory import read_machine
from pytest_dsr1.machine.setup import nvidia_smi
from pytest_dsr1.machine.state_dir import state_dirs
from pytest_dsr1.machine.values import Finding
from pytest_dsr1.storage.filelock import is_held, lock_file
from pytest_dsr1.storage.files import sync_folder, write_atomically

RESTORE = "pytest-dsr1 restore"
POWER_STEP_W = 0.5
"""Power limits closer than this are the same: nvidia-smi sets hundredths, NVML answers in mW."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What set-up may change on one GPU and can read back; None where the driver does not say."""

    persistence: bool | None
    power_limit_w: float | None
    vboost: int | None


@dataclass(frozen=True, slots=True)
class Entry:
    """One GPU's journal.

    Attributes:
        uuid: the GPU.
        boot_id: of the boot in which it was changed.
        pid: of the run that changed it.
        written_utc: when, ISO 8601.
        before: its settings before.
        clocks_locked: whether the run may have locked its clocks, which are then reset.
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
    """Write it so that it survives a power loss: the file and its name are on the disk when this returns."""
    write_atomically(_path(folder, entry.uuid), json.dumps(asdict(entry), indent=1))


def remove(folder: Path, uuid: str) -> None:
    """Forget a GPU that was put back."""
    _path(folder, uuid).unlink(missing_ok=True)
    sync_folder(folder)


def _read(path: Path) -> Entry:
    """Read a journal.

    Raises:
        ValueError: the file holds none.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        entry = Entry(**{**raw, "before": Settings(**raw["before"])})
    except (ValueError, TypeError, KeyError):
        raise ValueError("it holds no journal") from None
    if entry.uuid != path.name.removesuffix(".journal.json"):
        raise ValueError("it names another GPU")
    return entry


def exists(folder: Path, uuid: str) -> bool:
    """Whether this GPU waits to be put back."""
    return _path(folder, uuid).exists()


def _files(environ: Mapping[str, str]) -> list[Path]:
    return [path for folder in state_dirs(environ) for path in sorted(folder.glob("*.journal.json"))]


def pending(environ: Mapping[str, str]) -> Iterator[Finding]:
    """A warning for each GPU that an earlier run left changed (one that still runs is no such thing)."""
    for path in _files(environ):
        uuid = path.name.removesuffix(".journal.json")
        if not is_held(path.parent, uuid):
            message = f"an earlier run ended without putting {uuid} back; `{RESTORE}` does it now"
            yield Finding("warning", "GPU settings", message)


def put_back(folder: Path, entries: Sequence[Entry], environ: Mapping[str, str]) -> list[str]:
    """Make these GPUs what they were; the journals of those that are, are removed.

    Only what differs is set: persistence first, since switching it off makes the driver forget the rest.

    Returns:
        a sentence for each thing that could not be put back, with the command to run as root.
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
        left = _left(entry, now, refused[entry.uuid])
        if left is None:
            remove(folder, entry.uuid)
        else:
            problems.append(left)
    return problems


def settings_now(environ: Mapping[str, str]) -> dict[str, tuple[int, Settings]]:
    """Index and settings of every GPU that can be read, by UUID."""
    # Every GPU, whatever this run may see: an earlier run may have seen others.
    everything = {name: value for name, value in environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    gpus = read_machine(everything).gpus
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


def _left(
    entry: Entry, now: Mapping[str, tuple[int, Settings]], refused: Sequence[nvidia_smi.Refusal]
) -> str | None:
    """What is still not as before, or None."""
    if entry.uuid not in now:
        return f"{entry.uuid}: cannot be read, so it is not put back; `{RESTORE}` tries again"
    index, found = now[entry.uuid]
    # A lock cannot be read: only its command says whether it is gone.
    commands = [one.command for one in refused if one.command == nvidia_smi.reset_clocks(index)]
    if entry.before.persistence not in {None, found.persistence}:
        commands.append(nvidia_smi.persistence(index, on=bool(entry.before.persistence)))
    commands += _corrections(entry.before, index, found)
    if not commands:
        return None
    reasons = ", ".join(dict.fromkeys(refusal.reason for refusal in refused)) or "the driver did not keep it"
    what = ", ".join(dict.fromkeys(command.what for command in commands))
    fix = nvidia_smi.in_shell(list(dict.fromkeys(commands)))
    return f"GPU {index} ({entry.uuid}) is not put back to {what}: {reasons}; as root: {fix} or {RESTORE}"


@dataclass(frozen=True, slots=True)
class Restoration:
    """What came of the journals: sentences for a person, and whether no GPU is left changed."""

    notes: tuple[str, ...]
    complete: bool


def restore_from_journal(environ: Mapping[str, str]) -> Restoration:
    """Put back what runs that were killed left changed. GPUs of runs that are still going are let be."""
    notes: list[str] = []
    complete = True
    for folder in state_dirs(environ):
        with ExitStack() as stack:
            entries = []
            for path in sorted(folder.glob("*.journal.json")):
                uuid = path.name.removesuffix(".journal.json")
                try:
                    lock = lock_file(folder, uuid)
                    if lock is not None:
                        stack.enter_context(lock)
                    entry = _read(path)
                except FileNotFoundError:
                    continue  # another run has just put it back
                except PermissionError:
                    notes.append(f"{uuid}: another user's run left it changed; run as root: {RESTORE}")
                    complete = False
                    continue
                except (OSError, ValueError) as error:
                    notes.append(f"{path}: cannot be used: {error}; if it is damaged, delete it")
                    complete = False
                    continue
                if lock is None:
                    notes.append(
                        f"{uuid}: its run (pid {entry.pid}) is still going; it puts the GPU back itself"
                    )
                    continue
                if entry.boot_id != host.boot_id():
                    remove(folder, uuid)
                    notes.append(f"{uuid}: the machine was rebooted since, which reset it; journal dropped")
                    continue
                entries.append(entry)
            if entries:
                problems = put_back(folder, entries, environ)
                done = [entry for entry in entries if not exists(folder, entry.uuid)]
                notes += [f"{e.uuid}: put back as it was before the run of {e.written_utc}" for e in done]
                notes += problems
                complete = complete and not problems
    return Restoration(tuple(notes), complete)
