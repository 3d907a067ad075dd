from __future__ import annotations

import json
import os
import platform
import socket
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from pytest_dsr1.errors import InvalidRunError
from pytest_dsr1.machine import host, state_dir
from pytest_dsr1.machine.gpu.inventory import read_machine
from pytest_dsr1.machine.setup import journal
from pytest_dsr1.machine.setup.journal import (
    Entry,
    Settings,
    pending,
    restore_from_journal,
    restore_settings,
    write,
)
from pytest_dsr1.storage.filelock import lock_file
from tests.standins.nvml.control import FakeMachine


def entry(uuid: str, **changes: object) -> Entry:
    fields: dict[str, object] = {
        "uuid": uuid,
        "boot_id": host.boot_id(),
        "pid": 1,
        "written_utc": "2025-11-23T20:00:00+00:00",
        "before": Settings(persistence=True, power_limit_w=700.0, vboost=0),
        "clocks_locked": False,
        **changes,
    }
    return Entry(**fields)  # type: ignore[arg-type]


@pytest.fixture
def folder(two: FakeMachine) -> Path:
    two.state_dir.mkdir()
    return two.state_dir


def test_nothing_to_restore(two: FakeMachine) -> None:
    assert restore_from_journal(os.environ) == journal.Restoration((), complete=True)
    assert two.calls() == []


def test_a_reboot_drops_the_journal_with_a_note(two: FakeMachine, folder: Path) -> None:
    two.set_all(vboost=4)
    write(folder, entry(two.uuid(0), boot_id="an-earlier-boot"))
    assert restore_from_journal(os.environ) == journal.Restoration(
        (f"{two.uuid(0)}: a reboot has reset it since; its journal was deleted",), complete=True
    )
    assert two.commands() == []
    assert list(folder.glob("*.json")) == []


def test_only_what_differs_is_set(two: FakeMachine, folder: Path) -> None:
    two.set_gpu(1, vboost=3)
    for gpu in (0, 1):
        write(folder, entry(two.uuid(gpu)))
    assert restore_from_journal(os.environ).complete
    assert two.commands() == ["boost-slider -i 1 --vboost 0"]


@pytest.mark.parametrize(("now_mw", "commands"), [(700_500, []), (700_501, ["-i 1 -pl 700"])])
def test_a_power_limit_that_the_driver_rounded_is_not_set_again(
    two: FakeMachine, folder: Path, now_mw: int, commands: list[str]
) -> None:
    two.set_gpu(1, power_limit_mw=now_mw)
    write(folder, entry(two.uuid(1)))
    assert restore_from_journal(os.environ).complete
    assert two.commands() == commands


def test_every_setting_is_restored(two: FakeMachine, folder: Path) -> None:
    two.set_gpu(1, vboost=3, power_limit_mw=500_000, persistence=0, locked="1500,1500")
    write(folder, entry(two.uuid(1), clocks_locked=True))
    assert restore_from_journal(os.environ).complete
    assert two.commands() == ["-i 1 -rgc", "-i 1 -pm 1", "-i 1 -pl 700", "boost-slider -i 1 --vboost 0"]
    assert two.settings()[1] == ("1", "700000", "0", "none")


def test_gpus_that_this_run_does_not_see_are_restored_too(
    two: FakeMachine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    two.set_gpu(1, vboost=3)
    write(folder, entry(two.uuid(1)))
    assert restore_from_journal(os.environ).complete
    assert two.settings()[1][2] == "0"


def test_what_the_driver_did_not_say_before_is_let_be(two: FakeMachine, folder: Path) -> None:
    two.set_gpu(1, vboost=3, persistence=0, power_limit_mw=1)
    assert restore_settings(folder, [entry(two.uuid(1), before=Settings(None, None, None))], os.environ) == []
    assert two.commands() == []


def test_a_setting_that_does_not_stick_is_reported(two: FakeMachine, folder: Path) -> None:
    two.set("smi.ignore", "vboost pm")
    two.set_gpu(0, vboost=4, persistence=0)
    write(folder, entry(two.uuid(0)))
    assert restore_from_journal(os.environ) == journal.Restoration(
        (
            f"GPU 0 ({two.uuid(0)}) could not be restored to persistence mode on, vboost 0: the driver did "
            "not keep it; as root: nvidia-smi -i 0 -pm 1; nvidia-smi boost-slider -i 0 --vboost 0 or "
            "pytest-dsr1 restore",
        ),
        complete=False,
    )
    assert journal.exists(folder, two.uuid(0))


def changed(key: str, value: object) -> str:
    """A journal of GPU 0, with one value of another type."""
    made = asdict(entry("GPU-0"))
    (made["before"] if key in made["before"] else made)[key] = value
    return json.dumps(made)


DAMAGED = [
    *("", "[]", '{"uuid": "x"}', '{"before": {}}', "\ufeff{}", "[" * 200_000, '{"a":' * 200_000, "\ud800"),
    *(changed("before", value) for value in ("", [1], None, "lots")),
    *(
        changed("power_limit_w", value)
        for value in ("lots", True, float("nan"), float("inf"), [1], 10**400, -1, 0, 10**6)
    ),
    *(changed("vboost", value) for value in ("4", 4.5, True)),
    *(changed("persistence", value) for value in ("on", 1)),
    *(changed(key, None) for key in ("uuid", "boot_id", "pid", "written_utc", "clocks_locked")),
]


@pytest.mark.parametrize("text", DAMAGED, ids=range(len(DAMAGED)))
def test_a_damaged_journal_is_reported_and_kept(two: FakeMachine, folder: Path, text: str) -> None:
    two.set_gpu(0, vboost=4)
    text = text.replace("GPU-0", two.uuid(0))
    path = folder / f"{two.uuid(0)}.journal.json"
    path.write_text(text, errors="surrogatepass")
    assert restore_from_journal(os.environ) == journal.Restoration(
        (f"{path}: cannot be used: it is not a journal; if it is damaged, delete it",), complete=False
    )
    assert [one.message for one in pending(os.environ, (two.uuid(0),))] == [
        f"an earlier run ended without restoring {two.uuid(0)}, and {path} cannot be read; `pytest-dsr1 "
        "restore` says why"
    ]
    assert path.exists()
    assert two.commands() == []


@pytest.mark.parametrize("power_w", [1, 999_999.5])
def test_any_power_limit_of_a_gpu_is_taken(two: FakeMachine, folder: Path, power_w: float) -> None:
    write(folder, entry(two.uuid(0), before=Settings(True, power_w, 0)))
    (warning,) = pending(os.environ, (two.uuid(0),))
    assert warning.message.endswith("; `pytest-dsr1 restore` restores it now")


def test_a_damaged_journal_of_an_absent_gpu_may_be_of_this_machine(two: FakeMachine, folder: Path) -> None:
    path = folder / "GPU-lost-since.journal.json"
    path.write_text("")
    assert [one.message for one in pending(os.environ, (two.uuid(0),))] == [
        "an earlier run ended without restoring GPU-lost-since, which cannot be read here now; run "
        "`pytest-dsr1 restore` where it can be read, such as on the host"
    ]
    assert restore_from_journal(os.environ) == journal.Restoration(
        (f"{path}: cannot be used: it is not a journal; if it is damaged, delete it",), complete=False
    )


def test_a_journal_that_is_a_pipe_is_not_waited_for(two: FakeMachine, folder: Path) -> None:
    path = folder / f"{two.uuid(0)}.journal.json"
    os.mkfifo(path)
    os.mkfifo(folder / "GPU-x.journal.json")
    assert restore_from_journal(os.environ) == journal.Restoration(
        (f"{path}: it is a device or pipe; correct that, then run: pytest-dsr1 restore",),
        complete=False,
        elsewhere=(
            f"{folder}/GPU-x.journal.json: this machine does not have this GPU; the machine that has it "
            "restores it",
        ),
    )
    assert [one.message for one in pending(os.environ, (two.uuid(0),))] == [
        f"an earlier run ended without restoring {two.uuid(0)}, and {path} cannot be read; `pytest-dsr1 "
        "restore` says why"
    ]


def test_a_link_to_nothing_is_no_journal(two: FakeMachine, folder: Path) -> None:
    (folder / f"{two.uuid(0)}.journal.json").symlink_to("/nonexistent")
    assert list(pending(os.environ, (two.uuid(0),))) == []
    write(folder, entry(two.uuid(1)))
    assert len(list(pending(os.environ, (two.uuid(0), two.uuid(1))))) == 1, "the next one is seen"


def test_a_gpu_that_a_container_may_not_use_is_restored_elsewhere(two: FakeMachine, folder: Path) -> None:
    write(folder, entry(two.uuid(0)))
    two.set_gpu(0, **{"error.nvmlDeviceGetHandleByIndex_v2": 4})
    assert [one.message for one in pending(os.environ, read_machine(os.environ).uuids)] == [
        f"an earlier run ended without restoring {two.uuid(0)}, which cannot be read here now; run "
        "`pytest-dsr1 restore` where it can be read, such as on the host"
    ]


@pytest.fixture
def ada(two: FakeMachine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The state folder of a user, whose killed run left GPU 0 changed, for root without DSR1_STATE_DIR."""
    monkeypatch.delenv("DSR1_STATE_DIR")
    monkeypatch.delenv("SLURM_JOB_USER", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "root"))
    monkeypatch.setattr(state_dir, "MACHINE_FOLDER", tmp_path / "machine")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(host, "homes_in_use", lambda: iter(()))
    monkeypatch.setattr(host, "home_of", {"ada": tmp_path / "ada"}.get)
    folder = tmp_path / "ada" / ".local" / "state" / "pytest-dsr1"
    folder.mkdir(parents=True)
    write(folder, entry(two.uuid(0)))
    two.set_gpu(0, vboost=4)
    return folder


@pytest.mark.parametrize("known", ["by a process", "by Slurm"])
def test_root_restores_what_the_run_of_a_user_left(
    two: FakeMachine, ada: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: str
) -> None:
    """In an Epilog the user's processes have ended, and Slurm names the user."""
    assert restore_from_journal(os.environ).notes == ()
    assert two.settings()[0][2] == "4"
    if known == "by Slurm":
        monkeypatch.setenv("SLURM_JOB_USER", "ada")
    else:
        monkeypatch.setattr(host, "homes_in_use", lambda: iter((tmp_path / "ada",)))
    assert len(list(pending(os.environ, (two.uuid(0),)))) == 1
    done = restore_from_journal(os.environ)
    assert done.notes == (
        f"{two.uuid(0)}: restored to its state before the run of 2025-11-23T20:00:00+00:00",
    )
    assert done.searched == (tmp_path / "machine", tmp_path / "root" / "pytest-dsr1", ada)
    assert two.settings()[0][2] == "0"
    assert not journal.exists(ada, two.uuid(0))


def test_a_user_restores_only_what_is_of_the_user(
    two: FakeMachine, ada: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_USER", "ada")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert restore_from_journal(os.environ).notes == ()
    assert journal.exists(ada, two.uuid(0))


def test_folders_that_root_may_not_search_are_named_and_the_others_searched(
    two: FakeMachine, ada: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_USER", "ada")
    refused = (tmp_path / "machine", ada)

    def refuse(folder: Path) -> list[Any]:
        if folder in refused:
            raise PermissionError(13, "Permission denied")
        return []

    monkeypatch.setattr(journal, "list_entries", refuse)
    done = restore_from_journal(os.environ)
    assert done.elsewhere == tuple(
        f"{folder}: cannot be searched for journals: Permission denied" for folder in refused
    )
    assert done.searched == (tmp_path / "root" / "pytest-dsr1",)
    assert list(pending(os.environ, (two.uuid(0),))) == []


def test_a_journal_under_another_gpus_name_is_not_used(two: FakeMachine, folder: Path) -> None:
    write(folder, entry(two.uuid(0)))
    (folder / f"{two.uuid(0)}.journal.json").rename(folder / f"{two.uuid(1)}.journal.json")
    notes = restore_from_journal(os.environ).notes
    assert notes[0].endswith("cannot be used: it names another GPU; if it is damaged, delete it")


def test_another_users_journal_asks_for_root(
    two: FakeMachine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    write(folder, entry(two.uuid(0)))
    monkeypatch.setattr(journal, "lock_file", denied)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert restore_from_journal(os.environ) == journal.Restoration(
        (f"{two.uuid(0)}: another user's run left it changed; run as root: pytest-dsr1 restore",),
        complete=False,
    )
    monkeypatch.setattr(os, "geteuid", lambda: 0)  # on a file server that gives root no rights
    path = folder / f"{two.uuid(0)}.journal.json"
    assert restore_from_journal(os.environ) == journal.Restoration(
        (
            f"{two.uuid(0)}: not restored; {path} refuses root: Permission denied; run as its owner: "
            "pytest-dsr1 restore",
        ),
        complete=False,
    )


def test_a_journal_that_another_run_puts_back_meanwhile(
    two: FakeMachine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder, entry(two.uuid(0)))

    def late(place: Path, uuid: str) -> object:
        journal.remove(place, uuid)
        return lock_file(place, uuid)

    monkeypatch.setattr(journal, "lock_file", late)
    assert restore_from_journal(os.environ) == journal.Restoration((), complete=True)


def test_a_failed_write_leaves_the_old_journal(
    two: FakeMachine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder, entry(two.uuid(0)))

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InvalidRunError) as caught:
        write(folder, entry(two.uuid(0), pid=2))
    assert str(caught.value) == (
        f"{folder}/{two.uuid(0)}.journal.json: the GPU journal cannot be written: No space left on device; "
        "free space there, or choose another folder with DSR1_STATE_DIR"
    )
    assert json.loads((folder / f"{two.uuid(0)}.journal.json").read_text())["pid"] == 1


def test_pending_journals_are_findings(two: FakeMachine, folder: Path) -> None:
    uuids = (two.uuid(0), two.uuid(1))
    assert list(pending(os.environ, uuids)) == []
    write(folder, entry(two.uuid(0)))
    assert [one.severity for one in pending(os.environ, uuids)] == ["warning"]
    write(folder, entry(two.uuid(1), boot_id="an-earlier-boot"))
    assert len(list(pending(os.environ, uuids))) == 1, "a reboot has reset the other"
    write(folder, entry(two.uuid(0), boot_id="an-earlier-boot"))
    write(folder, entry(two.uuid(1)))
    (warning,) = pending(os.environ, uuids)
    assert two.uuid(1) in warning.message


def test_pending_journals_of_another_machine_are_its_own(two: FakeMachine, folder: Path) -> None:
    write(folder, entry("GPU-of-another", boot_id="the boot of another machine"))
    assert list(pending(os.environ, (two.uuid(0),))) == []
    write(folder, entry("GPU-lost-since"))
    assert [one.message for one in pending(os.environ, (two.uuid(0),))] == [
        "an earlier run ended without restoring GPU-lost-since, which cannot be read here now; run "
        "`pytest-dsr1 restore` where it can be read, such as on the host"
    ]


@pytest.fixture
def another(library: Path, tmp_path_factory: pytest.TempPathFactory, two: FakeMachine) -> FakeMachine:
    """A second machine with other GPUs, which has the same state folder."""
    machine = FakeMachine(library, tmp_path_factory.mktemp("another"), 2)
    machine.state_dir = two.state_dir
    for gpu in (0, 1):
        machine.set_gpu(gpu, uuid=f"GPU-{gpu}-of-another-machine")
    return machine


def moved_to(machine: FakeMachine, boot_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process be on another machine, or in another boot of it."""
    for name, value in machine.environ({}).items():
        if name.startswith("DSR1_"):
            monkeypatch.setenv(name, value)
    monkeypatch.setattr(host, "boot_id", lambda: boot_id)


def test_two_machines_on_one_folder(
    two: FakeMachine, another: FakeMachine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved_to(two, "boot of the first", monkeypatch)
    two.set_all(vboost=4)
    for gpu in (0, 1):
        write(folder, entry(two.uuid(gpu)))
    with monkeypatch.context() as on_second:
        moved_to(another, "boot of the second", on_second)
        assert restore_from_journal(os.environ) == journal.Restoration(
            (),
            complete=True,
            elsewhere=tuple(
                f"{folder}/{two.uuid(gpu)}.journal.json: this machine does not have this GPU; the machine "
                "that has it restores it"
                for gpu in (0, 1)
            ),
        )
        assert another.commands() == []
        assert list(folder.glob("*.lock")) == [], "a run that starts on the first is not locked out"
    assert [journal.exists(folder, two.uuid(gpu)) for gpu in (0, 1)] == [True, True]
    assert restore_from_journal(os.environ).complete
    assert [setting[2] for setting in two.settings()] == ["0", "0"]
    assert list(folder.glob("*.json")) == []


def test_a_reboot_of_one_machine_drops_only_its_own(
    two: FakeMachine, another: FakeMachine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder, entry(two.uuid(0), boot_id="boot of the first"))
    write(folder, entry("GPU-0-of-another-machine", boot_id="boot of the second"))
    moved_to(another, "next boot of the second", monkeypatch)
    done = restore_from_journal(os.environ)
    assert done.notes == ("GPU-0-of-another-machine: a reboot has reset it since; its journal was deleted",)
    assert [path.name for path in folder.glob("*.json")] == [f"{two.uuid(0)}.journal.json"]


def test_the_second_container_restores_what_the_first_left(
    two: FakeMachine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hostname = "unset"
    monkeypatch.setattr(socket, "gethostname", lambda: hostname)
    monkeypatch.setattr(platform, "node", lambda: hostname)
    hostname = "0a1b2c"
    two.set_all(vboost=4)
    for gpu in (0, 1):
        write(folder, entry(two.uuid(gpu)))
    hostname = "3d4e5f"
    assert [len(restore_from_journal(os.environ).notes), two.settings()[1][2]] == [2, "0"]
    assert list(folder.glob("*.json")) == []


@pytest.mark.parametrize("boot_id", ["", "an-earlier-boot"])
def test_a_gpu_is_restored_if_it_is_unknown_whether_the_machine_rebooted(
    two: FakeMachine, folder: Path, monkeypatch: pytest.MonkeyPatch, boot_id: str
) -> None:
    monkeypatch.setattr(host, "boot_id", lambda: "")
    two.set_gpu(0, vboost=4)
    write(folder, entry(two.uuid(0), boot_id=boot_id))
    assert restore_from_journal(os.environ).complete
    assert two.settings()[0][2] == "0"


def test_a_gpu_that_was_lost_in_this_boot_is_not_another_machines(two: FakeMachine, folder: Path) -> None:
    write(folder, entry(two.uuid(0)))
    two.set_gpu(0, error=15)
    assert restore_from_journal(os.environ) == journal.Restoration(
        (f"{two.uuid(0)}: it cannot be read, so it is not restored; `pytest-dsr1 restore` tries again",),
        complete=False,
    )


def test_a_gpu_that_another_user_measures_on_is_not_changed(
    two: FakeMachine, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "roots").mkdir()
    monkeypatch.setattr(state_dir, "MACHINE_FOLDER", tmp_path / "roots")
    two.set_gpu(0, vboost=4)
    write(folder, entry(two.uuid(0)))
    file = lock_file(tmp_path / "roots", two.uuid(0))
    assert file is not None
    with file:
        assert restore_from_journal(os.environ) == journal.Restoration(
            (
                f"{two.uuid(0)}: in use by a run that is just starting; when that has ended, run: "
                "pytest-dsr1 restore",
            ),
            complete=False,
        )
    assert two.commands() == []
    assert restore_from_journal(os.environ).complete


def test_a_journal_that_cannot_be_locked_or_deleted_is_named(
    two: FakeMachine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, lock = (folder / f"{two.uuid(0)}.{ending}" for ending in ("journal.json", "lock"))
    write(folder, entry(two.uuid(0)))

    def broken(*_: object) -> None:
        raise OSError(28, "No space left on device", str(lock))

    with monkeypatch.context() as locking:
        locking.setattr(journal, "lock_file", broken)
        assert restore_from_journal(os.environ) == journal.Restoration(
            (f"{lock}: No space left on device; correct that, then run: pytest-dsr1 restore",), complete=False
        )
    monkeypatch.setattr(journal, "sync_folder", broken)
    assert restore_settings(folder, [entry(two.uuid(0))], os.environ) == [
        f"{path}: {two.uuid(0)} is restored, but this file cannot be deleted: No space left on device; "
        "delete it"
    ]
