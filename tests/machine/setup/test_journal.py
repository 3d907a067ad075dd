from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from pytest_dsr1.machine import host
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
    assert two.calls() == []
    assert list(folder.glob("*.json")) == []


def test_only_what_differs_is_set(two: FakeMachine, folder: Path) -> None:
    two.set_gpu(1, vboost=3)
    for gpu in (0, 1):
        write(folder, entry(two.uuid(gpu)))
    assert restore_from_journal(os.environ).complete
    assert two.commands() == ["boost-slider -i 1 --vboost 0"]


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


@pytest.mark.parametrize("text", ["", "[]", '{"uuid": "x"}', '{"before": {}}', "\ufeff{}"])
def test_a_damaged_journal_is_reported_and_kept(two: FakeMachine, folder: Path, text: str) -> None:
    path = folder / f"{two.uuid(0)}.journal.json"
    path.write_text(text)
    assert restore_from_journal(os.environ) == journal.Restoration(
        (f"{path}: cannot be used: it is not a journal; if it is damaged, delete it",), complete=False
    )
    assert path.exists()
    assert two.commands() == []


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
    assert restore_from_journal(os.environ) == journal.Restoration(
        (f"{two.uuid(0)}: another user's run left it changed; run as root: pytest-dsr1 restore",),
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
    with pytest.raises(OSError, match="No space left"):
        write(folder, entry(two.uuid(0), pid=2))
    assert json.loads((folder / f"{two.uuid(0)}.journal.json").read_text())["pid"] == 1


def test_pending_journals_are_findings(two: FakeMachine, folder: Path) -> None:
    assert list(pending(os.environ)) == []
    write(folder, entry(two.uuid(0)))
    assert [one.severity for one in pending(os.environ)] == ["warning"]
