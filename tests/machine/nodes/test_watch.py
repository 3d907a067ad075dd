"""The watch on the nodes of a run, with a stand-in of sinfo."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_dsr1.errors import InvalidRunError
from pytest_dsr1.machine.lease import Machine
from pytest_dsr1.machine.nodes import watch
from pytest_dsr1.machine.nodes.nodes import Nodes
from pytest_dsr1.machine.nodes.watch import State, states
from pytest_dsr1.scenario.schema.scenario import Scenario
from tests.helpers.nodes import program

LONG_S = 60.0
"""The patience of a block that the watch must end."""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "_TICK_S", 0.01)
    monkeypatch.setattr(watch, "_SLURM_EVERY", 2)


def waited(machine: Machine, path: Path, begin: Callable[[], None] = lambda: None) -> None:
    """Wait as an engine that is silent."""
    with machine.watched(path):
        begin()
        until_s = time.monotonic() + LONG_S
        while time.monotonic() < until_s:
            threading.Event().wait(0.05)  # a signal just before a wait is heard after it


def test_the_states_of_nodes(programs: Path, tmp_path: Path) -> None:
    environ = {"PATH": f"{programs}:/usr/bin:/bin"}
    (tmp_path / "states").write_text(
        "n1|allocated|none\nn1|allocated|none\nn2|down*|Not responding\nn3|draining@|a | b\nn4|mixed$|none\n"
    )
    names = ["n1", "n2", "n3", "n4"]
    assert states(names, environ) == {
        "n1": State("allocated", False, ""),
        "n2": State("down", True, "Not responding"),
        "n3": State("draining", False, "a | b"),
        "n4": State("mixed", False, ""),
    }
    assert (
        tmp_path / "asked"
    ).read_text() == "--noheader --all --Node --nodes=n1,n2,n3,n4 --format=%N|%T|%E\n"


def test_lines_that_are_of_no_node(programs: Path, tmp_path: Path) -> None:
    """With SLURM_CLUSTERS sinfo names the cluster; a reason may have several lines."""
    environ = {"PATH": f"{programs}:/usr/bin:/bin"}
    (tmp_path / "states").write_text("CLUSTER: one\n\nn1|allocated|none\nn2|draining|fan\nand | disk | too\n")
    assert states(["n1", "n2"], environ) == {
        "n1": State("allocated", False, ""),
        "n2": State("draining", False, "fan"),
    }


@pytest.mark.parametrize(
    ("word", "shown"),
    [
        ("down*|Not responding", "DOWN in Slurm: Not responding"),
        ("failing|fan", "FAILING in Slurm: fan"),
        ("fail|none", "FAIL in Slurm"),
        ("drained|Xid 79", "DRAINED in Slurm: Xid 79"),
    ],
)
def test_a_node_that_is_lost_ends_the_run(
    nodes: Nodes, pair: Scenario, states: Path, tmp_path: Path, word: str, shown: str
) -> None:
    before = signal.getsignal(signal.SIGURG)
    with nodes.prepared(pair, "off") as machine:
        states.write_text(f"n1|allocated|none\nn2|{word}\n")
        with pytest.raises(InvalidRunError) as caught:
            waited(machine, tmp_path / "t.jsonl")
        lost = [one for one in machine.assess(0, 1) if one.subject == "GPUs lost"]
    assert str(caught.value) == (
        f"n2 is {shown}; look at it: scontrol show node n2; then submit the job again, without this node: "
        "--exclude=n2"
    )
    assert any(one.node == "n2" and str(caught.value) in one.message for one in lost)
    assert signal.getsignal(signal.SIGURG) == before


def test_a_node_that_answers_nobody_ends_the_run(
    nodes: Nodes, pair: Scenario, states: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "_SILENT_S", 0.2)
    with nodes.prepared(pair, "off") as machine:
        states.write_text("n1|allocated|none\nn2|allocated*|none\n")
        stopped = nodes._agents["n2"]._process
        with pytest.raises(InvalidRunError, match=r"^n2 answers neither Slurm nor pytest; look at it: "):
            waited(machine, tmp_path / "t.jsonl", lambda: stopped.send_signal(signal.SIGSTOP))
    assert stopped.wait() == -signal.SIGKILL


def test_an_agent_that_ends_is_said_at_once(
    nodes: Nodes,
    pair: Scenario,
    tmp_path: Path,
    said: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = counted(monkeypatch)
    with nodes.prepared(pair, "off") as machine, machine.watched(tmp_path / "t.jsonl") as watched:
        agent = nodes._agents["n2"]._process
        agent.kill()
        agent.wait()
        asked(3)
        assert [line.partition("; ")[0] for line in said] == ["n2: its agent has ended"]
    assert [event.kind for event in watched.telemetry.events] == ["lost"]


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("draining|soon", "n2 is DRAINING in Slurm: soon; this job may end on it"),
        (
            "allocated*|none",
            "n2 does not answer Slurm, which ends the job if that lasts for SlurmdTimeout; look at it: "
            "scontrol show node n2",
        ),
    ],
)
def test_what_a_run_survives_is_said_once_and_kept(
    nodes: Nodes,
    pair: Scenario,
    states: Path,
    tmp_path: Path,
    said: list[str],
    word: str,
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = counted(monkeypatch)
    with nodes.prepared(pair, "off") as machine:
        states.write_text(f"n1|allocated|none\nn2|{word}\n")
        with machine.watched(tmp_path / "t.jsonl") as watched:
            asked(3)
        found = [one for one in machine.assess(0, 1) if one.subject == "GPUs telemetry"]
    assert said == [sentence]
    assert [event.kind for event in watched.telemetry.events] == ["error"]
    assert [(one.severity, one.node) for one in found] == [("warning", "n2")]
    assert sentence in found[0].message


def test_a_slurm_that_does_not_answer_changes_nothing(
    nodes: Nodes,
    pair: Scenario,
    programs: Path,
    tmp_path: Path,
    said: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    program(programs, "sinfo", "exit 1")
    asked = counted(monkeypatch)
    with nodes.prepared(pair, "off") as machine, machine.watched(tmp_path / "t.jsonl") as watched:
        asked(3)
    assert (said, watched.telemetry.events) == ([], ())


def test_a_signal_that_comes_late_does_nothing(nodes: Nodes, pair: Scenario, tmp_path: Path) -> None:
    with nodes.prepared(pair, "off") as machine:
        with machine.watched(tmp_path / "t.jsonl"):
            os.kill(os.getpid(), signal.SIGURG)
        os.kill(os.getpid(), signal.SIGURG)


def counted(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Return a function that waits until Slurm was asked this many times more."""
    asked = threading.Semaphore(0)
    ask = watch.states

    def counting(*arguments: object) -> dict[str, State]:
        asked.release()
        return ask(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(watch, "states", counting)

    def wait(times: int) -> None:
        for _ in range(times):
            assert asked.acquire(timeout=LONG_S)

    return wait
