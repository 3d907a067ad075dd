"""The front door: the order of things in a run, from the look to the state the machine is left in."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from pytest_dsr1.errors import InvalidRunError
from pytest_dsr1.findings import Finding
from pytest_dsr1.machine import host, lease
from pytest_dsr1.machine.cpu_load import CpuLoad, CpuWatch
from pytest_dsr1.machine.gpu.inventory import read_machine
from pytest_dsr1.machine.gpu.lock import gpu_lock
from pytest_dsr1.machine.lease import Machine, look, prepared
from pytest_dsr1.machine.probe.run import probe
from pytest_dsr1.machine.setup.journal import Entry, Settings, write
from pytest_dsr1.scenario.schema.scenario import Scenario
from pytest_dsr1.storage.filelock import is_held
from tests.helpers.full_disk import disk
from tests.helpers.probes import child
from tests.standins.nvml.control import GIB, FakeMachine

Make = Callable[..., Scenario]


@pytest.fixture
def pair(machine_scenario: Make) -> Scenario:
    return machine_scenario(
        {"gpu": "NVIDIA H200", "count": 2},
        gpu_setup={"persistence": True, "vboost": 4, "lock_sm_clock_mhz": 1500},
    )


def test_looking_changes_nothing(two: FakeMachine, pair: Scenario, tmp_path: Path) -> None:
    findings = look(pair, "check", os.environ, tmp_path)
    assert [one.subject for one in findings if one.severity != "ok"] == ["GPUs 0-1 vboost"]
    assert two.commands() == []
    assert not two.state_dir.exists()


def test_a_gpu_that_draws_less_shows(two: FakeMachine, pair: Scenario, tmp_path: Path) -> None:
    two.set_gpu(0, power_mw=569_000)
    two.set_gpu(1, power_mw=548_000, temperature=60)
    with prepared(pair, "check", os.environ) as machine:
        with machine.watched(tmp_path / "telemetry.jsonl") as watched:
            machine.measuring()
        seen = watched.telemetry.samples
        told = machine.summary(seen[0].time_s, seen[-1].time_s + 0.1)
    assert told is not None
    assert told.text == "1980 MHz SM clock, 548 to 569 W each, at most 60 C, not throttled"


def test_gpus_of_another_node_are_not_called_healthy(
    two: FakeMachine, machine_scenario: Make, tmp_path: Path
) -> None:
    four = machine_scenario({"gpu": "NVIDIA H200", "count": 4})
    with prepared(four, "check", os.environ) as machine, machine.watched(tmp_path / "t.jsonl") as watched:
        machine.measuring()
    seen = watched.telemetry.samples
    from_s, to_s = seen[0].time_s, seen[-1].time_s + 0.1
    told = machine.summary(from_s, to_s)
    assert told is not None
    assert told.text.endswith("(nothing is known of 2 of its 4 GPUs: they were not watched)")
    assert [found.subject for found in machine.assess(from_s, to_s)] == ["GPUs not watched"]


def test_a_run_with_set_up(two: FakeMachine, pair: Scenario, tmp_path: Path) -> None:
    before = two.settings()
    with prepared(pair, "apply", os.environ, notify=print) as machine:
        assert is_held(two.state_dir, two.uuid(0))
        assert machine.inventory is not None
        assert [gpu.vboost for gpu in machine.inventory.gpus] == [4, 4]
        assert machine.now() == ""
        with machine.watched(tmp_path / "telemetry.jsonl") as watched:
            machine.measuring()
        seen = watched.telemetry
        start_s, end_s = seen.samples[0].time_s, seen.samples[-1].time_s + 0.1
        assert machine.now() == "100 W 1980 MHz"
        summary = machine.summary(start_s, end_s)
        assert summary is not None
        assert summary.text == "1980 MHz SM clock, 100 W each, at most 40 C, not throttled"
        facts = machine.fingerprint({"dataset.sha256": "0123"}).facts
        assert (facts["setup.mode"], facts["setup.vboost"], facts["gpu.vboost"]) == ("apply", 4, 4)
        assert facts["dataset.sha256"] == "0123"
        assert machine.assess(start_s, end_s) == ()
    assert two.settings() == before
    assert not is_held(two.state_dir, two.uuid(0))


def test_the_lock_that_was_asked_for_is_judged_under_load(
    two: FakeMachine, pair: Scenario, tmp_path: Path
) -> None:
    two.set_all(utilization=100)
    with prepared(pair, "check", os.environ) as machine:
        with machine.watched(tmp_path / "telemetry.jsonl") as watched:
            pass
        start_s = watched.telemetry.samples[0].time_s
        assert [one.message for one in machine.assess(start_s, start_s + 0.1)] == [
            "expected 1500 MHz (locked), found 1980 to 1980 MHz under load"
        ] * 2


def test_a_machine_serves_another_scenario_as_it_is(
    two: FakeMachine, pair: Scenario, machine_scenario: Make
) -> None:
    other = machine_scenario({"gpu": "NVIDIA H200", "count": 2}, name="another", gpu_setup=pair.gpu_setup)
    with prepared(pair, "apply", os.environ, notify=print) as machine:
        made = two.commands()
        again = machine.of(other)
        assert (again.findings, again.fingerprint({}).facts) == (
            machine.findings,
            machine.fingerprint({}).facts,
        )
        assert again.inventory is not machine.inventory
        assert two.commands() == made


@pytest.mark.parametrize("mode", ["check", "off"])
def test_without_apply_nothing_is_set(two: FakeMachine, pair: Scenario, mode: str) -> None:
    with prepared(pair, mode, os.environ) as machine:  # type: ignore[arg-type]
        assert machine.findings == ()
        assert machine.fingerprint({}).facts["setup.mode"] == mode
        assert is_held(two.state_dir, two.uuid(1))
    assert two.commands() == []


def test_what_an_earlier_run_left_is_restored_first(
    two: FakeMachine, pair: Scenario, capsys: pytest.CaptureFixture[str]
) -> None:
    two.state_dir.mkdir()
    two.set_gpu(0, vboost=4)
    write(two.state_dir, Entry(two.uuid(0), "an-earlier-boot", 1, "then", Settings(True, 700.0, 0), False))
    note = f"{two.uuid(0)}: a reboot has reset it since; its journal was deleted"
    with prepared(pair, "check", os.environ) as machine:
        assert machine.findings == (Finding("warning", "GPU settings", note),)
    assert capsys.readouterr().err == f"dsr1: {note}\n"


def test_a_gpu_in_use_is_refused_before_anything_is_set(two: FakeMachine, pair: Scenario) -> None:
    with (
        gpu_lock(read_machine(os.environ).gpus[1:], os.environ),
        pytest.raises(InvalidRunError, match=rf"^GPU 1 \({two.uuid(1)}\) is in use by pid {os.getpid()} "),
        prepared(pair, "apply", os.environ),
    ):
        pass
    assert two.commands() == []


def test_gpus_beyond_the_scenarios_are_not_touched(h200: FakeMachine, machine_scenario: Make) -> None:
    one = machine_scenario({"gpu": "NVIDIA H200", "count": 1}, gpu_setup={"persistence": True, "vboost": 4})
    with prepared(one, "apply", os.environ):
        assert not is_held(h200.state_dir, h200.uuid(1))
    assert {command.replace("boost-slider ", "").split()[1] for command in h200.commands()} == {"0"}


def test_a_lost_gpu_that_was_allowed_is_left_out(two: FakeMachine, pair: Scenario, tmp_path: Path) -> None:
    """With --dsr1-allow-mismatch a run continues without it."""
    two.set_gpu(1, error=15)
    with (
        prepared(pair, "apply", os.environ) as machine,
        machine.watched(tmp_path / "telemetry.jsonl") as watched,
    ):
        pass
    assert [(one.gpu, one.kind) for one in watched.telemetry.events] == [(1, "lost")]


def test_on_the_cpu_no_gpu_is_touched(two: FakeMachine, machine_scenario: Make, tmp_path: Path) -> None:
    cpu = machine_scenario({})
    assert {one.severity for one in look(cpu, "apply", os.environ, tmp_path)} == {"ok"}
    with prepared(cpu, "apply", os.environ) as machine:
        machine.measuring()
        assert (machine.now(), machine.assess(0, 1), machine.summary(0, 1)) == ("", (), None)
        with machine.watched(tmp_path / "telemetry.jsonl") as watched:
            machine.measuring()
            assert machine.now() == ""
        assert (machine.inventory, watched.telemetry.samples) == (None, ())
        assert (machine.assess(0, 1), machine.summary(0, 1)) == ((), None)
        assert "gpu.name" not in machine.fingerprint({}).facts
    assert two.calls() == []
    assert not two.state_dir.exists()


@pytest.mark.parametrize("visible", [True, False])
def test_a_server_that_runs_already_may_be_on_the_gpus(
    two: FakeMachine, machine_scenario: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, visible: bool
) -> None:
    monkeypatch.setattr(host, "pids_are_the_hosts", lambda: visible)
    attached = machine_scenario(
        {"gpu": "NVIDIA H200", "count": 1},
        model={"name": "made-up"},
        engine={"type": "openai", "url": "http://127.0.0.1:8000"},
    )
    server = f"{os.getppid()}:0"
    two.set_gpu(0, processes=server, memory_used=120 * GIB)
    findings = look(attached, "check", os.environ, tmp_path)
    assert {one.message for one in findings if one.subject == "GPU sharing"} == {
        "processes already on the GPUs are taken to be the server at http://127.0.0.1:8000"
    }
    assert "mismatch" not in {one.severity for one in findings}
    with prepared(attached, "check", os.environ) as machine:
        with machine.watched(tmp_path / "alone.jsonl") as watched:
            machine.measuring()
        assert watched.telemetry.events == ()
        if visible:  # else their number shows it, which the tests of the watch cover
            two.set_gpu(0, processes=f"{server} 1:0")
            with machine.watched(tmp_path / "joined.jsonl") as watched:
                machine.measuring()
            assert [one.message.split()[1] for one in watched.telemetry.events] == ["1"]


def test_the_cpus_are_watched_if_the_engine_computes_on_them(
    two: FakeMachine, pair: Scenario, machine_scenario: Make, tmp_path: Path
) -> None:
    """The engine is a process that sleeps, so it waits for no processor, however busy this machine is."""
    on_cpu, with_gpus, cuda = machine_scenario({}), pair, {"type": "transformers", "device": "cuda"}
    started = {"type": "openai", "command": ["serve", "{port}"]}
    attached = {"type": "openai", "url": "http://127.0.0.1:8000"}
    others = [machine_scenario({}, engine=engine) for engine in (cuda, started, attached)]
    found = []
    with subprocess.Popen(["sleep", "60"]) as engine:
        for scenario in (on_cpu, with_gpus, *others):
            machine = Machine(scenario, None, (), {}, os.environ)
            with machine.watched(tmp_path / "telemetry.jsonl"):
                machine.measuring()
            found.append(machine.cpu_load(0, 1e12))
        engine.kill()
    assert [load is not None for load in found] == [True, False, False, True, False]


def test_a_run_that_other_work_slowed_does_not_count(
    machine_scenario: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    slow = CpuLoad(2, 2.0, 0.5, 0.0)
    monkeypatch.setattr(CpuWatch, "load", lambda *_: slow)
    machine = Machine(machine_scenario({}), None, (), {}, os.environ)
    with machine.watched(tmp_path / "telemetry.jsonl"):
        pass
    (finding,) = machine.assess(0, 1)
    assert (finding.severity, finding.subject) == ("mismatch", "CPUs shared")
    assert machine.cpu_load(0, 1) == slow


@pytest.mark.parametrize("name", [".lock", "1-0000-4000-8000-00000000d5e1.journal.json"])
def test_a_full_state_folder_ends_the_run_before_anything_is_set(
    two: FakeMachine, pair: Scenario, name: str
) -> None:
    """Also if there is space for the journal of the first GPU only."""
    two.state_dir.mkdir()
    before = two.settings()
    full = r"No space left on device; free space there, or choose another folder with DSR1_STATE_DIR$"
    with disk(two.state_dir) as watched:
        watched.full = name
        with pytest.raises(InvalidRunError, match=full), prepared(pair, "apply", os.environ):
            pass
    assert watched.refused
    assert two.settings() == before
    assert two.commands() == []
    assert list(two.state_dir.glob("*.json")) == []
    assert not is_held(two.state_dir, two.uuid(0))


def test_every_file_in_the_state_folder_is_filled_above(two: FakeMachine, pair: Scenario) -> None:
    with disk(two.state_dir) as watched, prepared(pair, "apply", os.environ, notify=print):
        pass
    uuids = (two.uuid(0), two.uuid(1))
    assert watched.written == {f"{uuid}.{kind}" for uuid in uuids for kind in ("lock", "journal.json")}


def test_probes_see_the_gpus_and_the_environment_of_the_run(
    two: FakeMachine, machine_scenario: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "os.environ['CUDA_VISIBLE_DEVICES'], os.environ['NCCL_NVLS_ENABLE']"
    program = f"send(event='missing', names=['fp8_tflops'], why=str(({said})))\nfound()"
    monkeypatch.setattr(lease, "probe", partial(probe, command=child(program)))
    asked = machine_scenario(
        {"gpu": "NVIDIA H200", "count": 2},
        engine={"type": "openai", "command": ["python3"], "environment": {"NCCL_NVLS_ENABLE": "0"}},
    )
    with prepared(asked, "off", os.environ) as machine:
        assert machine.probed == {"": machine.gpus}
        (found,) = machine.probe(tmp_path / "probe.log").values()
    assert found.gpus == (0, 1)
    assert found.missing["fp8_tflops"] == str((f"{two.uuid(0)},{two.uuid(1)}", "0"))
    assert [one.name for one in found.probes] == ["memory_bandwidth_gb_s"]


def test_gpus_that_cannot_be_read_are_not_probed(two: FakeMachine, pair: Scenario, tmp_path: Path) -> None:
    for gpu in range(2):
        two.set_gpu(gpu, error=15)
    with prepared(pair, "off", os.environ) as machine:
        found = machine.probe(tmp_path / "probe.log")
    assert found[""].not_probed == ("not probed: there is no GPU that can be read",)
    assert not (tmp_path / "probe.log").exists()
