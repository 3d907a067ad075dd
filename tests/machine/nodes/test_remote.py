"""An agent as pytest sees it, with stand-in agents that end, are silent, or say other things."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pytest_dsr1.errors import InvalidRunError
from pytest_dsr1.machine.nodes import remote
from pytest_dsr1.machine.nodes.allocation import Allocation
from pytest_dsr1.machine.nodes.messages import Command, Measure
from pytest_dsr1.machine.nodes.remote import RemoteNode, srun_agent

CLOCK = Command(do="clock")
ANSWER = '{"kind": "answer", "number": 1, "time_s": 5.5}'


@contextmanager
def node(script: str, said: list[str] | None = None) -> Iterator[RemoteNode]:
    made = RemoteNode(
        "n1", ["sh", "-c", script], {"PATH": "/usr/bin:/bin"}, ([] if said is None else said).append
    )
    try:
        yield made
    finally:
        made.close()


def test_an_answer_among_other_lines() -> None:
    said: list[str] = []
    note = '{"kind": "note", "sentence": "slow"}'
    script = f"read line; echo 'srun: something'; echo '{note}'; echo '{ANSWER}'; cat >/dev/null"
    with node(script, said) as agent:
        agent.send(CLOCK)
        assert agent.answer().time_s == 5.5
    assert said == ["n1: slow"]


def test_a_refusal_names_the_node() -> None:
    with node(
        """read line; echo '{"kind": "answer", "number": 1, "error": "no driver"}'; cat >/dev/null"""
    ) as agent:
        agent.send(CLOCK)
        with pytest.raises(InvalidRunError, match=r"^n1: no driver$"):
            agent.answer()


def test_the_answer_to_an_earlier_request_is_passed_over() -> None:
    late = ANSWER.replace('"number": 1', '"number": 2').replace("5.5", "7.5")
    with node(f"read a; read b; echo '{ANSWER}'; echo '{late}'; cat >/dev/null") as agent:
        agent.send(CLOCK)  # something ends the wait for its answer
        agent.send(CLOCK)
        assert agent.answer().time_s == 7.5


def test_an_agent_that_ends_says_why() -> None:
    with node("read line; echo 'srun: error: Node failure on n1' >&2; exit 1") as agent:
        agent.send(CLOCK)
        with pytest.raises(InvalidRunError) as caught:
            agent.answer()
    assert str(caught.value) == (
        "n1: its agent has ended: srun: error: Node failure on n1; look at the job and at the node: "
        "scontrol show job, scontrol show node n1"
    )


def test_an_agent_that_slurm_ends_with_its_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "ending", lambda _: "Slurm ends job 7: CANCELLED")
    with node("read line; exit 1") as agent:
        agent.send(CLOCK)
        with pytest.raises(InvalidRunError, match=r"^n1: its agent has ended: Slurm ends job 7: CANCELLED$"):
            agent.answer()


def test_a_silent_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "ANSWER_S", 0.1)
    with node("cat >/dev/null") as agent:
        agent.send(CLOCK)
        with pytest.raises(
            InvalidRunError, match=r"^n1: its agent has not answered for 0 s; look at the node: "
        ):
            agent.answer()


def test_an_agent_that_does_not_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "_END_S", 0.1)
    said: list[str] = []
    with node("exec sleep 60", said):
        pass
    assert said == [
        "n1: its agent has not ended within 0 s, so its GPUs may still be set up; on this node, as root: "
        "pytest-dsr1 restore"
    ]


def test_a_command_that_is_missing() -> None:
    with pytest.raises(InvalidRunError, match=r"^n1: no-srun cannot be started: No such file or directory$"):
        RemoteNode("n1", ["no-srun"], {}, print)


def test_how_an_agent_is_started() -> None:
    command = srun_agent(Allocation("7", ("n1", "n2")))("n2")
    assert command[:12] == [
        "srun",
        "--overlap",
        "--nodes=1",
        "--ntasks=1",
        "--cpu-bind=none",
        "--mpi=none",
        "--wait=0",
        "--export=ALL",
        "--quiet",
        "--jobid=7",
        "--nodelist=n2",
        "--job-name=dsr1-agent",
    ]
    assert command[12] == sys.executable


def test_an_agent_is_not_part_of_our_own_step() -> None:
    said: list[str] = []
    script = (
        """echo "{\\"kind\\": \\"note\\", \\"sentence\\": \\"$SLURM_NTASKS:$SLURM_JOB_ID\\"}"; read line"""
    )
    environ = {"PATH": "/usr/bin:/bin", "SLURM_NTASKS": "1", "SLURM_JOB_ID": "7"}
    agent = RemoteNode("n1", ["sh", "-c", script], environ, said.append)
    agent.send(CLOCK)
    with pytest.raises(InvalidRunError):
        agent.answer()
    agent.close()
    assert said == ["n1: :7"]


def test_an_agent_that_probes_may_take_as_long_as_probes_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "ANSWER_S", 0.1)
    monkeypatch.setattr(remote, "LIMIT_S", 60.0)
    with node(f"read line; sleep 0.3; echo '{ANSWER}'; cat >/dev/null") as agent:
        agent.send(Measure(log="probe.log"))
        assert agent.answer().time_s == 5.5
    monkeypatch.setattr(remote, "LIMIT_S", 0.9)
    with node("cat >/dev/null") as agent:
        agent.send(Measure(log="probe.log"))
        with pytest.raises(InvalidRunError, match=r"^n1: its agent has not answered for 1 s; look at the "):
            agent.answer()
