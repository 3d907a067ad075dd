from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pytest_dsr1.errors import InvalidRunError
from pytest_dsr1.machine import host, nvidia_smi
from pytest_dsr1.machine.gpu.inventory import GpuReading, read_machine
from pytest_dsr1.machine.setup import journal
from pytest_dsr1.machine.setup.apply import Applied, applied
from pytest_dsr1.machine.setup.journal import restore_from_journal
from pytest_dsr1.scenario.schema.scenario import GpuSetup, Scenario
from tests.standins.nvml.control import FakeMachine

PUBLISHED = GpuSetup(persistence=True, vboost=4)
LOCKED = GpuSetup(persistence=True, vboost=4, lock_sm_clock_mhz=1500)

CHILD = """
import os, sys
from pytest_dsr1.machine.lease import prepared
from pytest_dsr1.scenario.schema.scenario import Scenario
with prepared(Scenario.model_validate_json(sys.argv[1]), "apply", os.environ):
    print("applied", flush=True)
    if sys.stdin.readline() == "raise\\n":
        raise ValueError("an exception anywhere")
"""


def gpus() -> tuple[GpuReading, ...]:
    return read_machine(os.environ).gpus


@contextmanager
def applying(wanted: GpuSetup, told: list[str] | None = None) -> Iterator[Applied]:
    told = [] if told is None else told
    with applied(wanted, gpus(), os.environ, told.append) as done:
        yield done


def journals(machine: FakeMachine) -> list[Path]:
    return sorted(machine.state_dir.glob("*.journal.json"))


def messages(done: Applied, severity: str = "warning") -> list[str]:
    return [f"{one.subject}: {one.message}" for one in done.findings if one.severity == severity]


def test_the_published_procedure_and_back(two: FakeMachine) -> None:
    before = two.settings()
    with applying(PUBLISHED) as done:
        assert two.commands() == [
            "-i 0 -pm 0",
            "-i 1 -pm 0",
            "-i 0 -pm 1",
            "-i 1 -pm 1",
            "boost-slider -i 0 --vboost 4",
            "boost-slider -i 1 --vboost 4",
        ]
        assert two.settings() == [("1", "700000", "4", "none")] * 2
        assert messages(done) == []
        assert done.facts == {
            "setup.persistence_cycled": True,
            "setup.vboost": 4,
            "setup.sm_clock_lock_mhz": None,
            "setup.not_set": [],
        }
    assert two.settings() == before
    assert two.commands()[6:] == ["boost-slider -i 0 --vboost 0", "boost-slider -i 1 --vboost 0"]
    assert journals(two) == []


def test_no_nvml_handle_is_held_across_the_persistence_step(two: FakeMachine) -> None:
    two.set_all(persistence=0)  # so that persistence is switched again at the end
    with applying(PUBLISHED):
        pass
    handles = switched = 0
    for call in two.calls():
        handles += call.startswith("nvmlInit")
        handles -= call.startswith("nvmlShutdown")
        if "-pm" in call:
            switched += 1
            assert handles == 0, call
    assert switched == 6


def test_what_switching_persistence_off_lost_is_restored(two: FakeMachine) -> None:
    two.set_gpu(0, power_limit_mw=550_000, vboost=2)
    before = two.settings()
    with applying(PUBLISHED):
        assert two.settings()[0] == ("1", "700000", "4", "none")
    assert two.settings() == before


def test_persistence_that_was_off_is_off_again_and_the_rest_as_before(two: FakeMachine) -> None:
    two.set_all(persistence=0, power_limit_mw=600_000, vboost=1)
    before = two.settings()
    with applying(PUBLISHED):
        assert two.settings() == [("1", "600000", "4", "none")] * 2
    assert two.settings() == before
    assert journals(two) == []


def test_the_journal_is_written_before_the_first_change(
    two: FakeMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []
    run = nvidia_smi.run

    def watched(command: nvidia_smi.Command, environ: dict[str, str]) -> nvidia_smi.Refusal | None:
        if not ran:
            entries = [json.loads(path.read_text()) for path in journals(two)]
            assert [entry["uuid"] for entry in entries] == [two.uuid(0), two.uuid(1)]
            assert entries[0]["boot_id"] == host.boot_id() != ""
            assert entries[0]["pid"] == os.getpid()
            assert entries[0]["before"] == {"persistence": True, "power_limit_w": 700.0, "vboost": 0}
        ran.append(command.what)
        return run(command, environ)

    monkeypatch.setattr(nvidia_smi, "run", watched)
    with applying(PUBLISHED):
        pass
    assert len(ran) == 8


def test_if_one_journal_cannot_be_written_nothing_is_changed_and_none_is_left(
    two: FakeMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = journal.write

    def fails_at_the_second(folder: Path, entry: journal.Entry) -> None:
        if entry.uuid == two.uuid(1):
            assert len(journals(two)) == 1
            two.set_gpu(0, error=15)  # what was not changed need not be read again
            raise InvalidRunError("the disk is full")
        write(folder, entry)

    monkeypatch.setattr(journal, "write", fails_at_the_second)
    told: list[str] = []
    with pytest.raises(InvalidRunError, match=r"^the disk is full$"), applying(PUBLISHED, told):
        pytest.fail("setup should have been refused")
    assert (journals(two), two.commands(), told) == ([], [], [])


def test_locked_clocks_are_announced_and_reset(two: FakeMachine) -> None:
    told: list[str] = []
    with applying(LOCKED, told) as done:
        assert two.settings() == [("1", "700000", "4", "1500,1500")] * 2
        assert done.facts["setup.sm_clock_lock_mhz"] == 1500
    assert told == [
        "locking the SM clock of GPUs 0-1 to 1500 MHz; NVML cannot read an earlier lock, so it will be "
        "lost: at the end the clocks are reset (nvidia-smi -rgc)"
    ]
    assert two.settings() == [("1", "700000", "0", "none")] * 2


def test_nothing_is_done_that_the_scenario_does_not_ask(two: FakeMachine) -> None:
    with applying(GpuSetup()):
        pass
    assert two.commands() == []


def test_missing_permission_in_a_slurm_job_is_for_its_site(
    two: FakeMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    two.set("smi.permission", 0)
    with applying(LOCKED) as done:
        found = [line for line in messages(done) if "setup:" in line or "Slurm" in line]
    loop = "for i in 0 1; do nvidia-smi"
    assert found == [
        "GPUs 0-1 setup: could not set persistence mode off: no permission; see Slurm Prolog",
        "GPUs 0-1 setup: could not set vboost 4: no permission; see Slurm Prolog",
        "GPUs 0-1 setup: could not set SM clock 1500 MHz: no permission; see Slurm Prolog",
        "Slurm Prolog: without root, a Slurm job cannot set GPUs up; ask for these lines, in the site's "
        f"Prolog: {loop} -i $i -pm 0; done; {loop} -i $i -pm 1; done; "
        f"{loop} boost-slider -i $i --vboost 4; done; {loop} -i $i -lgc 1500,1500; done; "
        f"and in its Epilog: {loop} -i $i -rgc; done; {loop} boost-slider -i $i --vboost 0; done; "
        "pytest-dsr1 restore",
    ]


def test_the_prolog_only_sets_what_is_asked(two: FakeMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    two.set("smi.permission", 0)
    with applying(GpuSetup(persistence=True)) as done:
        (found,) = [line for line in messages(done) if "without root" in line]
    assert found.endswith("-pm 1; done; and in its Epilog: pytest-dsr1 restore")


def test_missing_permission_is_reported_with_the_commands(two: FakeMachine) -> None:
    two.set("smi.permission", 0)
    told: list[str] = []
    with applying(LOCKED, told) as done:
        assert messages(done)[:3] == [
            "GPUs 0-1 setup: could not set persistence mode off: no permission; run as root: "
            "for i in 0 1; do nvidia-smi -i $i -pm 0; done",
            "GPUs 0-1 setup: could not set vboost 4: no permission; run as root: "
            "for i in 0 1; do nvidia-smi boost-slider -i $i --vboost 4; done",
            "GPUs 0-1 setup: could not set SM clock 1500 MHz: no permission; run as root: "
            "for i in 0 1; do nvidia-smi -i $i -lgc 1500,1500; done",
        ]
        assert done.facts == {
            "setup.persistence_cycled": False,
            "setup.vboost": None,
            "setup.sm_clock_lock_mhz": None,
            "setup.not_set": [
                "persistence mode off on GPU 0",
                "persistence mode off on GPU 1",
                "vboost 4 on GPU 0",
                "vboost 4 on GPU 1",
                "SM clock 1500 MHz on GPU 0",
                "SM clock 1500 MHz on GPU 1",
            ],
        }
    assert len(told) == 1  # the announcement of the lock: nothing was changed, nothing is left to restore
    assert journals(two) == []


def test_a_partial_set_up_does_not_look_like_a_whole_one(two: FakeMachine) -> None:
    two.set_gpu(1, **{"smi.deny": "vboost", "smi.fail": "lgc"})
    with applying(LOCKED) as done:
        assert messages(done) == [
            "GPU 1 setup: could not set vboost 4: no permission; run as root: "
            "nvidia-smi boost-slider -i 1 --vboost 4",
            "GPU 1 setup: could not set SM clock 1500 MHz: Unable to change clocks for GPU "
            "00000001:00:00.0: Invalid Argument; the run continues without it",
            "GPU 1 vboost: the published value is 4, found 0; as root: "
            "nvidia-smi boost-slider -i 1 --vboost 4",
        ]
        assert done.facts["setup.vboost"] is None
        assert done.facts["setup.sm_clock_lock_mhz"] is None
        assert done.facts["setup.not_set"] == ["vboost 4 on GPU 1", "SM clock 1500 MHz on GPU 1"]
    assert two.settings() == [("1", "700000", "0", "none")] * 2


def test_a_setting_that_reports_success_without_effect_is_seen(two: FakeMachine) -> None:
    two.set("smi.ignore", "vboost")
    with applying(PUBLISHED) as done:
        assert messages(done) == [
            "GPUs 0-1 vboost: the published value is 4, found 0; as root: "
            "for i in 0 1; do nvidia-smi boost-slider -i $i --vboost 4; done"
        ]


def test_without_sliders_the_rest_is_set_and_restored(two: FakeMachine) -> None:
    two.set("smi.vboost", 0)
    two.set_all(**{"smi.fail": "vboost"})
    with applying(PUBLISHED) as done:
        assert messages(done)[0] == (
            "GPU 0 setup: could not set vboost 4: Unable to set vboost slider for GPU 00000000:00:00.0: "
            "Invalid Argument; the run continues without it"
        )
    assert journals(two) == []


def test_a_container_that_forgets_is_warned_of(two: FakeMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "in_container", lambda: True)
    monkeypatch.setattr(host, "is_mounted", lambda _: False)
    with applying(GpuSetup()) as done:
        assert messages(done) == [
            f"GPU journal: {two.state_dir} is not mounted from the host: if this container is killed, "
            "the original GPU settings are lost; in Docker: -v /var/lib/pytest-dsr1:/var/lib/pytest-dsr1"
        ]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_exception_anywhere_restores(two: FakeMachine, error: type[BaseException]) -> None:
    with pytest.raises(error), applying(LOCKED):
        raise error
    assert two.settings() == [("1", "700000", "0", "none")] * 2
    assert journals(two) == []


@pytest.mark.parametrize("broken_off", range(1, 9))
def test_an_exception_between_any_two_changes_restores(
    two: FakeMachine, monkeypatch: pytest.MonkeyPatch, broken_off: int
) -> None:
    ran: list[str] = []
    run = nvidia_smi.run

    def interrupted(command: nvidia_smi.Command, environ: dict[str, str]) -> nvidia_smi.Refusal | None:
        ran.append(command.what)
        if len(ran) == broken_off:
            raise KeyboardInterrupt
        return run(command, environ)

    monkeypatch.setattr(nvidia_smi, "run", interrupted)
    with pytest.raises(KeyboardInterrupt), applying(LOCKED):
        pytest.fail("setup should have been interrupted")
    assert two.settings() == [("1", "700000", "0", "none")] * 2
    assert journals(two) == []


def test_what_cannot_be_restored_is_reported_and_stays_in_the_journal(two: FakeMachine) -> None:
    told: list[str] = []
    with applying(PUBLISHED, told):
        two.set("smi.permission", 0)
    assert told == [
        f"GPU {gpu} ({two.uuid(gpu)}) could not be restored to vboost 0: no permission; as root: "
        f"nvidia-smi boost-slider -i {gpu} --vboost 0 or pytest-dsr1 restore"
        for gpu in (0, 1)
    ]
    assert len(journals(two)) == 2
    with pytest.raises(InvalidRunError) as caught, applying(PUBLISHED):
        pass
    assert str(caught.value) == (
        "GPUs 0-1: an earlier run changed the settings and did not restore them, so the original ones "
        "would be lost; run as root: pytest-dsr1 restore"
    )
    two.set("smi.permission", 1)
    assert restore_from_journal(os.environ).complete
    assert two.settings() == [("1", "700000", "0", "none")] * 2


def test_a_lock_that_cannot_be_reset_stays_in_the_journal(two: FakeMachine) -> None:
    told: list[str] = []
    with applying(LOCKED, told):
        two.set_gpu(0, **{"smi.deny": "rgc"})
    assert told[1:] == [
        f"GPU 0 ({two.uuid(0)}) could not be restored to unlocked SM clock: no permission; as root: "
        "nvidia-smi -i 0 -rgc or pytest-dsr1 restore"
    ]
    assert [path.name for path in journals(two)] == [f"{two.uuid(0)}.journal.json"]


def test_a_gpu_lost_during_the_run_stays_in_the_journal(two: FakeMachine) -> None:
    told: list[str] = []
    with applying(PUBLISHED, told):
        two.set_gpu(1, error=15)
    assert told == [
        f"{two.uuid(1)}: it cannot be read, so it is not restored; `pytest-dsr1 restore` tries again"
    ]
    assert two.settings()[0] == ("1", "700000", "0", "none")


def test_a_gpu_lost_before_set_up(two: FakeMachine) -> None:
    found = gpus()
    two.set_gpu(1, error=15)
    with (
        pytest.raises(InvalidRunError, match=r"^GPU 1: can no longer be read, so nothing was changed$"),
        applied(PUBLISHED, found, os.environ, print),
    ):
        pass
    assert two.commands() == []


@pytest.fixture
def child(two: FakeMachine, machine_scenario: Callable[..., Scenario]) -> Iterator[subprocess.Popen[str]]:
    """A run of its own that has applied everything and waits for a line on its standard input."""
    wanted = machine_scenario({"gpu": "NVIDIA H200", "count": 2}, gpu_setup=LOCKED.model_dump())
    with subprocess.Popen(
        [sys.executable, "-c", CHILD, wanted.model_dump_json()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "applied\n"
            assert two.settings() == [("1", "700000", "4", "1500,1500")] * 2
            yield process
        finally:
            process.kill()


def test_a_run_that_ends_well_restores(two: FakeMachine, child: subprocess.Popen[str]) -> None:
    child.communicate("done\n")
    assert child.returncode == 0
    assert two.settings() == [("1", "700000", "0", "none")] * 2


def test_a_run_that_fails_restores(two: FakeMachine, child: subprocess.Popen[str]) -> None:
    _, errors = child.communicate("raise\n")
    assert "ValueError: an exception anywhere" in errors
    assert two.settings() == [("1", "700000", "0", "none")] * 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_restores_and_then_ends_the_run(
    two: FakeMachine, child: subprocess.Popen[str], number: signal.Signals
) -> None:
    child.send_signal(number)
    _, errors = child.communicate()
    assert child.returncode == -number
    assert ("KeyboardInterrupt" in errors) == (number == signal.SIGINT)
    assert two.settings() == [("1", "700000", "0", "none")] * 2
    assert journals(two) == []


def test_after_a_sigkill_the_next_run_restores(two: FakeMachine, child: subprocess.Popen[str]) -> None:
    child.kill()
    child.communicate()
    assert two.settings() == [("1", "700000", "4", "1500,1500")] * 2
    written = [json.loads(path.read_text())["written_utc"] for path in journals(two)]
    restoration = restore_from_journal(os.environ)
    assert restoration.complete
    assert restoration.notes == tuple(
        f"{two.uuid(gpu)}: restored to its state before the run of {written[gpu]}" for gpu in (0, 1)
    )
    assert two.settings() == [("1", "700000", "0", "none")] * 2
    assert journals(two) == []


def test_a_run_that_still_goes_is_let_be(two: FakeMachine, child: subprocess.Popen[str]) -> None:
    restoration = restore_from_journal(os.environ)
    assert restoration.complete
    assert restoration.notes == tuple(
        f"{two.uuid(gpu)}: its run (pid {child.pid}) is in progress and will restore it at the end"
        for gpu in (0, 1)
    )
    assert two.settings() == [("1", "700000", "4", "1500,1500")] * 2


def test_a_handler_that_was_there_is_called_and_decides(two: FakeMachine) -> None:
    calls: list[int] = []
    earlier = signal.signal(signal.SIGTERM, lambda number, _: calls.append(number))
    try:
        with applying(PUBLISHED):
            os.kill(os.getpid(), signal.SIGTERM)
            assert calls == [signal.SIGTERM]
            assert two.settings()[0][2] == "4"  # the process lives on, and so does the setup
        os.kill(os.getpid(), signal.SIGTERM)
        assert calls == [signal.SIGTERM] * 2
    finally:
        signal.signal(signal.SIGTERM, earlier)


def test_an_ignored_signal_stays_ignored(two: FakeMachine) -> None:
    earlier = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with applying(PUBLISHED):
            os.kill(os.getpid(), signal.SIGHUP)
            assert two.settings()[0][2] == "4"
    finally:
        signal.signal(signal.SIGHUP, earlier)


def test_a_ctrl_c_while_restoring_waits_for_it(two: FakeMachine, monkeypatch: pytest.MonkeyPatch) -> None:
    run = nvidia_smi.run

    def impatient(command: nvidia_smi.Command, environ: dict[str, str]) -> nvidia_smi.Refusal | None:
        if command.what == "vboost 0":
            os.kill(os.getpid(), signal.SIGINT)
        return run(command, environ)

    with pytest.raises(KeyboardInterrupt), applying(PUBLISHED):
        monkeypatch.setattr(nvidia_smi, "run", impatient)
    assert two.settings() == [("1", "700000", "0", "none")] * 2
    assert journals(two) == []
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_outside_the_main_thread_no_handler_is_installed(two: FakeMachine) -> None:
    seen: list[object] = []

    def work() -> None:
        with applying(PUBLISHED):
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.SIG_DFL]
    assert two.settings() == [("1", "700000", "0", "none")] * 2


FORK = """
import os, signal, sys, time
from pytest_dsr1.machine.gpu.inventory import read_machine
from pytest_dsr1.machine.setup.apply import applied
from pytest_dsr1.scenario.schema.scenario import GpuSetup
reader, writer = os.pipe()
with applied(GpuSetup(vboost=4), read_machine(os.environ).gpus, os.environ, print):
    child = os.fork()
    if child == 0:
        os.write(writer, b"!")
        while True:
            time.sleep(0.01)
    os.read(reader, 1)
    os.kill(child, signal.SIGTERM)
    print(os.WTERMSIG(os.waitpid(child, 0)[1]), read_machine(os.environ).gpus[0].vboost)
"""


def test_a_forked_child_puts_nothing_back(two: FakeMachine) -> None:
    done = subprocess.run([sys.executable, "-c", FORK], capture_output=True, text=True, check=True)
    assert done.stdout == f"{signal.SIGTERM} 4\n"
    assert two.settings()[0][2] == "0"
