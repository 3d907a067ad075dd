"""Two nodes as one machine: looked at, set up, watched and put back."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

import pytest

from pytest_dsr1.errors import InvalidRunError
from pytest_dsr1.findings import Finding
from pytest_dsr1.machine.nodes import nodes as module
from pytest_dsr1.machine.nodes import remote
from pytest_dsr1.machine.nodes.messages import Command, Request
from pytest_dsr1.machine.nodes.nodes import Nodes
from pytest_dsr1.machine.nodes.remote import RemoteNode
from pytest_dsr1.scenario.schema.scenario import Scenario
from pytest_dsr1.scenario.schema.site import Slurm
from pytest_dsr1.storage.filelock import is_held
from tests.helpers.nodes import uuid
from tests.standins.nvml.control import FakeMachine

Machines = dict[str, FakeMachine]
SET_UP = [("1", "700000", "4", "none")] * 2
PUT_BACK = [("1", "700000", "0", "none")] * 2


def bad(nodes: Nodes, scenario: Scenario) -> list[str]:
    found = nodes.look(scenario, "off", Path.cwd(), 1)
    return [f"{one.where}: {one.message}" for one in found if one.severity == "mismatch"]


def test_healthy_nodes_fit(nodes: Nodes, pair: Scenario, machines: Machines) -> None:
    assert bad(nodes, pair) == []
    assert [machine.commands() for machine in machines.values()] == [[], []]


def test_what_is_wrong_on_a_node_names_it(nodes: Nodes, pair: Scenario, machines: Machines) -> None:
    machines["n2"].set_gpu(1, name="NVIDIA H100", mig=1)
    assert bad(nodes, pair) == [
        "GPU 1 name on n2: expected NVIDIA H200, found NVIDIA H100",
        "GPU 1 MIG mode on n2: on: the GPU is divided; as root, turn MIG off with `nvidia-smi -mig 0` and "
        "reset the GPU",
    ]


def test_checks_of_the_run_are_made_once(nodes: Nodes, pair: Scenario) -> None:
    found = nodes.look(pair, "off", Path.cwd(), 1)
    assert [one.node for one in found if one.subject == "disk space"] == [""]
    assert [one.node for one in found if one.subject == "shared memory"] == ["n1", "n2"]


def test_results_in_a_folder_of_the_first_host_alone(
    nodes: Nodes, pair: Scenario, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_written_into", lambda folder: nullcontext(f"{folder}/not-here"))
    found = nodes.look(pair, "off", tmp_path, 1)
    message = (
        f"{tmp_path} is another folder here than where pytest runs; every node of a run reads and writes "
        "there: name a folder that all nodes share, with --dsr1-results=FOLDER"
    )
    mismatches = [one for one in found if one.severity == "mismatch"]
    assert mismatches == [Finding("mismatch", "results", message, node) for node in ("n1", "n2")]


def test_the_file_for_the_other_nodes_does_not_stay(nodes: Nodes, pair: Scenario, tmp_path: Path) -> None:
    results = tmp_path / "results"
    results.mkdir()
    for folder in (results, results / "new" / "er", Path("/proc")):
        assert [one for one in nodes.look(pair, "off", folder, 0) if one.subject == "results"] == []
    assert list(results.iterdir()) == []


def test_a_job_with_too_few_nodes(nodes: Nodes, pair: Scenario) -> None:
    hardware = pair.hardware.model_copy(update={"count": 6, "nodes": 3})
    three = pair.model_copy(update={"hardware": hardware})
    assert bad(nodes, three) == ["nodes: expected 3, and the Slurm job has 2; ask for more: --nodes=3"]


def test_one_of_the_nodes_alone(
    nodes: Nodes, machine_scenario: Callable[..., Scenario], machines: Machines
) -> None:
    alone = machine_scenario({"gpu": "NVIDIA H200", "count": 2}, gpu_setup={"vboost": 4})
    with nodes.prepared(alone, "apply") as machine:
        assert machines["n1"].settings() == SET_UP
        assert machines["n2"].calls() == []
        facts = machine.fingerprint({}).facts
        assert (facts["gpu.count"], "nodes" in facts) == (2, False)
        assert all(finding.node == "" for finding in machine.findings)
    assert machines["n1"].settings() == PUT_BACK


def test_all_gpus_are_set_up_watched_and_put_back(
    nodes: Nodes, pair: Scenario, machines: Machines, tmp_path: Path
) -> None:
    machines["n2"].set_gpu(1, throttle_reasons=0x40, power_mw=50_000)
    path = tmp_path / "telemetry.jsonl"
    with nodes.prepared(pair, "apply") as machine:
        for number, node in enumerate(machines.values(), 1):
            assert node.settings() == SET_UP
            assert is_held(node.state_dir, uuid(number, 0))
        assert machine.now() == ""
        assert len(machine.gpus) == 4
        with machine.watched(path) as watched:
            machine.measuring()
        seen = watched.telemetry
        from_s = max(next(s.time_s for s in seen.samples if s.gpu == gpu) for gpu in seen.gpus)
        to_s = from_s + 0.05
        mismatches = [one for one in machine.assess(from_s, to_s) if one.severity == "mismatch"]
        told = machine.summary(from_s, to_s)
        facts = machine.fingerprint({"dataset.requests": 4}).facts
    assert seen.gpus == ("n1:0", "n1:1", "n2:0", "n2:1")
    assert set(seen.gpus) == {sample.gpu for sample in seen.samples}
    assert [sample.time_s for sample in seen.samples] == sorted(sample.time_s for sample in seen.samples)
    assert 0 < seen.clock_error_s < 1
    assert seen.xids_watched
    assert [json.loads(line)["gpu"] for line in path.read_text().splitlines()] == [
        sample.gpu for sample in seen.samples
    ]
    assert [one.where for one in mismatches] == ["GPU 1 throttled on n2"]
    assert told is not None
    assert told.text == "1980 MHz SM clock, 50 to 100 W each, at most 40 C, throttled 100.0% of the time"
    assert (facts["gpu.count"], facts["gpu.name"], facts["nodes"]) == (4, "NVIDIA H200", ["n1", "n2"])
    uuids = [uuid(number, gpu) for number in (1, 2) for gpu in range(2)]
    assert (facts["gpu.uuids"], facts["dataset.requests"]) == (uuids, 4)
    for number, node in enumerate(machines.values(), 1):
        assert node.settings() == PUT_BACK
        assert not list(node.state_dir.glob("*.journal.json"))
        assert not is_held(node.state_dir, uuid(number, 0))


def test_nodes_that_differ_are_a_warning(nodes: Nodes, pair: Scenario, machines: Machines) -> None:
    machines["n2"].set_gpu(0, vbios="96.00.AA")
    with nodes.prepared(pair, "off") as machine:
        (found,) = [one for one in machine.findings if one.subject == "nodes"]
        facts = machine.fingerprint({}).facts
    assert found.severity == "warning"
    assert found.message == (
        "they differ in gpu.vbios: 96.00.A5.00.1A on n1, 96.00.AA 96.00.A5.00.1A on n2; the slowest one "
        "decides"
    )
    assert facts["gpu.vbios"] == ["96.00.A5.00.1A", "96.00.A5.00.1A", "96.00.AA", "96.00.A5.00.1A"]


def test_a_node_that_cannot_be_set_up_leaves_none_changed(
    nodes: Nodes, pair: Scenario, machines: Machines, said: list[str]
) -> None:
    machines["n2"].state_dir.mkdir()
    (machines["n2"].state_dir / f"{uuid(2, 1)}.lock").mkdir()
    with pytest.raises(InvalidRunError, match=r"^n2: .*GPU 1 cannot be locked: Is a directory"):
        nodes.prepared(pair, "apply").__enter__()
    assert [machine.settings() for machine in machines.values()] == [PUT_BACK, PUT_BACK]
    assert said == []


def test_another_scenario_on_the_same_gpus(nodes: Nodes, pair: Scenario, machines: Machines) -> None:
    with nodes.prepared(pair, "apply") as machine:
        before = [len(node.commands()) for node in machines.values()]
        other = machine.of(pair.model_copy(update={"name": "other"}))
        assert [len(node.commands()) for node in machines.values()] == before
        assert other.gpus == machine.gpus


def test_what_an_agent_says_is_shown_with_its_node(
    nodes: Nodes, pair: Scenario, machines: Machines, said: list[str]
) -> None:
    locked = pair.model_copy(
        update={"gpu_setup": pair.gpu_setup.model_copy(update={"lock_sm_clock_mhz": 1500})}
    )
    with nodes.prepared(locked, "apply"):
        assert [line.partition(" to 1500")[0] for line in said] == [
            "n1: locking the SM clock of GPUs 0-1",
            "n2: locking the SM clock of GPUs 0-1",
        ]


def test_an_agent_that_has_ended_before_it_watches(nodes: Nodes, pair: Scenario, tmp_path: Path) -> None:
    with nodes.prepared(pair, "off") as machine:
        nodes._agents["n2"]._process.kill()
        with pytest.raises(InvalidRunError, match=r"^n2: its agent has ended"):
            machine.watched(tmp_path / "t.jsonl").__enter__()


def test_an_agent_that_is_killed_while_it_watches(
    nodes: Nodes, pair: Scenario, tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What its GPUs did from then on is unknown, so the run is INVALID; the other node is put back."""
    agents: list[RemoteNode] = []
    monkeypatch.setattr(Nodes, "_used", _noted(Nodes._used, agents))
    with nodes.prepared(pair, "apply") as machine:
        with machine.watched(tmp_path / "t.jsonl") as watched:
            machine.measuring()
            agents[1]._process.kill()
            agents[1]._process.wait()
        seen = watched.telemetry
        found = machine.assess(seen.samples[0].time_s, seen.samples[-1].time_s)
    lost = [one for one in found if one.subject == "GPUs lost"]
    assert [(one.severity, one.node) for one in lost] == [("mismatch", "n2")]
    assert "n2: its agent has ended; look at the job and at the node: scontrol show job" in lost[0].message
    assert len(said) == 1
    assert said[0].startswith("n2: its agent has ended")
    assert said[0].endswith("\nits GPUs may still be set up; there, as root: pytest-dsr1 restore")


def test_the_next_scenario_has_another_agent(nodes: Nodes, pair: Scenario, said: list[str]) -> None:
    with nodes.prepared(pair, "apply"):
        killed = nodes._agents["n2"]._process
        killed.kill()
        killed.wait()
    assert len(said) == 1
    with nodes.prepared(pair, "apply") as machine:
        assert len(machine.gpus) == 4
    assert not [each for each in said[1:] if "its agent has ended" in each]


def _noted(used: Callable[..., list[RemoteNode]], agents: list[RemoteNode]) -> Callable[..., object]:
    def noted(self: Nodes, scenario: Scenario) -> list[RemoteNode]:
        agents[:] = used(self, scenario)
        return agents

    return noted


def test_agents_end_with_their_nodes(nodes: Nodes, pair: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    agents: list[RemoteNode] = []
    monkeypatch.setattr(Nodes, "_used", _noted(Nodes._used, agents))
    bad(nodes, pair)
    started = [agent._process for agent in agents]
    assert [process.poll() for process in started] == [None, None]
    nodes.__exit__(None, None, None)
    assert [process.returncode for process in started] == [0, 0]


def test_a_signal_puts_all_nodes_back_and_then_ends_the_run(
    start: Callable[[str], Sequence[str]], pair: Scenario, machines: Machines, tmp_path: Path
) -> None:
    """In a child process; without time to wait for its agents, Slurm would kill them."""
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        told = tmp_path / "told"
        notify = lambda sentence: print(told.write_text(sentence))  # noqa: E731
        with Nodes(list(machines), start, os.environ, notify) as nodes, nodes.prepared(pair, "apply"):
            changed = [machine.settings() for machine in machines.values()] == [SET_UP] * 2
            os.kill(os.getpid(), signal.SIGTERM if changed else signal.SIGKILL)
        os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WTERMSIG(status) == signal.SIGTERM
    assert (tmp_path / "told").read_text() == (
        "SIGTERM ends pytest, and the run with it; GPUs are restored: look at the job: scontrol show job"
    )
    for number, machine in enumerate(machines.values(), 1):
        assert machine.settings() == PUT_BACK
        assert not any(is_held(machine.state_dir, uuid(number, gpu)) for gpu in range(2))


def test_software_in_a_container_is_not_looked_for_on_the_node(
    nodes: Nodes, pair: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = Finding("mismatch", "software", "it is missing")
    monkeypatch.setattr(type(pair.engine), "software", lambda *_: [missing])

    def found(*, in_container: bool) -> list[Finding]:
        seen = nodes.look(pair, "off", Path.cwd(), 1, in_container=in_container)
        return [one for one in seen if one.severity == "mismatch"]

    assert found(in_container=False) == [missing]
    assert found(in_container=True) == []
    assert Slurm(srun=["--container-image=x"]).in_container(2)
    assert not Slurm(srun=["--container-image=x"]).in_container(1)
    assert not Slurm(srun=["--cpu-bind=none"]).in_container(2)


def test_a_lost_node_is_not_taken_for_a_lost_agent(
    nodes: Nodes, pair: Scenario, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The watch raises wherever pytest is, also where an agent that has ended is only noted."""

    def lost(*_: object) -> None:
        raise InvalidRunError("n2 is DOWN in Slurm")

    with nodes.prepared(pair, "off") as machine, machine.watched(tmp_path / "t.jsonl"):
        with monkeypatch.context() as patch:
            patch.setattr(RemoteNode, "answer", lost)
            with pytest.raises(InvalidRunError, match=r"^n2 is DOWN in Slurm$"):
                machine.measuring()
        machine.measuring()  # the answer that nobody waited for is passed over


def test_a_free_port_of_each_node(nodes: Nodes, pair: Scenario) -> None:
    with nodes.prepared(pair, "off") as machine:
        for number in range(2):
            with socket.create_server(("", machine.free_port(number))):
                pass


def test_an_agent_that_is_killed_before_it_watches(
    nodes: Nodes, pair: Scenario, tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one, which records already, still answers, and so its GPUs are restored."""
    monkeypatch.setattr(remote, "ANSWER_S", 20.0)
    agents: list[RemoteNode] = []
    monkeypatch.setattr(Nodes, "_used", _noted(Nodes._used, agents))
    send = RemoteNode.send

    def killed(agent: RemoteNode, request: Request) -> None:
        if agent.name == "n2" and isinstance(request, Command) and request.do == "watch":
            agent._process.kill()
            agent._process.wait()
        send(agent, request)

    monkeypatch.setattr(RemoteNode, "send", killed)
    with nodes.prepared(pair, "apply") as machine:
        watched = machine.watched(tmp_path / "t.jsonl")
        with pytest.raises(InvalidRunError, match=r"^n2: its agent has ended"):
            watched.__enter__()
    assert not [line for line in said if "has not answered" in line or line.startswith("n1: ")]
