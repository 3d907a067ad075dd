"""Agents on two nodes that probe their GPUs at the same time; a program stands in for the probes."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from pytest_dsr1.machine.nodes import remote
from pytest_dsr1.machine.nodes.nodes import Nodes
from pytest_dsr1.machine.probe.values import Probe, Probes, expected
from pytest_dsr1.scenario.schema.scenario import Scenario
from tests.helpers.nodes import uuid
from tests.helpers.probes import stand_in
from tests.helpers.waiting import gone, wait_until
from tests.standins.nvml.control import FakeMachine

PUT_BACK = [("1", "700000", "0", "none")] * 2
COPY = "memory_bandwidth_gb_s"
ON_SECOND = f"second = os.environ['CUDA_VISIBLE_DEVICES'].startswith('{uuid(2, 0)}')\n"
FOUND = "print(os.getcwd())\nfound(values=(4258.0, 4000.0 if second else 4259.0))"
ENDLESS = "print(os.getpid(), flush=True)\nimport time; time.sleep(600)"

Probing = Callable[[str], Nodes]


@pytest.fixture
def probing(
    start: Callable[[str], Sequence[str]],
    machines: dict[str, FakeMachine],
    said: list[str],
    programs: Path,
    tmp_path: Path,
) -> Iterator[Probing]:
    """Both nodes, and what the probes do there."""
    made: list[Nodes] = []

    def nodes(program: str) -> Nodes:
        path = os.pathsep.join((stand_in(tmp_path / "site", ON_SECOND + program), *sys.path))
        environ = {**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
        own = Nodes(
            list(machines), lambda node: ["env", f"PYTHONPATH={path}", *start(node)], environ, said.append
        )
        made.append(own.__enter__())
        return own

    yield nodes
    for each in made:
        each.__exit__()


def test_each_node_probes_its_gpus(probing: Probing, pair: Scenario, tmp_path: Path, said: list[str]) -> None:
    with probing(FOUND).prepared(pair, "off") as machine:
        assert {node: len(gpus) for node, gpus in machine.probed.items()} == {"n1": 2, "n2": 2}
        found = machine.probe(tmp_path / "probe-before.log")
    assert list(found) == ["n1", "n2"]
    assert found["n1"].probes == (Probe(COPY, (4258.0, 4259.0), ((0,), (1,)), 1.5),)
    assert found["n2"].probes == (Probe(COPY, (4258.0, 4000.0), ((0,), (1,)), 1.5),)
    assert {probes.model for probes in found.values()} == {"NVIDIA H200"}
    logs = sorted(path.name for path in tmp_path.glob("*.log"))
    assert logs == ["probe-before-n1.log", "probe-before-n2.log"]
    assert said == []


def test_all_nodes_are_probed_at_the_same_time(probing: Probing, pair: Scenario, tmp_path: Path) -> None:
    """Each waits for the other."""
    own, other = tmp_path / "meet-1", tmp_path / "meet-2"
    for fifo in (own, other):
        os.mkfifo(fifo)
    meet = (
        f"mine, theirs = ({str(other)!r}, {str(own)!r}) if second else ({str(own)!r}, {str(other)!r})\n"
        "ends = [os.open(mine, os.O_RDWR), os.open(theirs, os.O_RDWR)]\n"
        "os.write(ends[1], b'here')\nassert os.read(ends[0], 4)\nfound()"
    )
    with probing(meet).prepared(pair, "off") as machine:
        found = machine.probe(tmp_path / "probe-before.log")
    assert [one.probes[0].name for one in found.values()] == [COPY, COPY]


def test_the_only_node_has_no_name(
    probing: Probing, machine_scenario: Callable[..., Scenario], tmp_path: Path
) -> None:
    alone = machine_scenario({"gpu": "NVIDIA H200", "count": 2})
    with probing(FOUND).prepared(alone, "off") as machine:
        found = machine.probe(tmp_path / "probe-before.log")
    assert list(found) == list(machine.probed) == [""]
    assert found[""].gpus == (0, 1)
    assert (tmp_path / "probe-before.log").exists()


def test_a_node_that_cannot_probe_says_why(probing: Probing, pair: Scenario, tmp_path: Path) -> None:
    with probing(f"if second: os._exit(3)\n{FOUND}").prepared(pair, "off") as machine:
        found = machine.probe(tmp_path / "probe-before.log")
    assert found["n1"].probes
    assert found["n2"].not_probed == (
        f"not probed: the probes ended with exit status 3 and no result; see {tmp_path}/probe-before-n2.log",
    )


def test_an_agent_that_has_ended(probing: Probing, pair: Scenario, tmp_path: Path) -> None:
    nodes = probing(FOUND)
    with nodes.prepared(pair, "off") as machine:
        nodes._agents["n2"]._process.kill()
        nodes._agents["n2"]._process.wait()
        found = machine.probe(tmp_path / "probe-before.log")
    assert found["n1"].probes
    assert found["n2"].gpus == (0, 1)
    assert found["n2"].missing == dict.fromkeys(expected(2), found["n2"].missing[COPY])
    assert found["n2"].missing[COPY].startswith("its agent has ended; look at the job and at the node: ")


def test_an_agent_that_is_silent_while_it_probes(
    probing: Probing, pair: Scenario, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its late answer is not taken for that to the next request."""
    fifo = tmp_path / "go"
    os.mkfifo(fifo)
    wait = f"if second: os.read(os.open({str(fifo)!r}, os.O_RDONLY), 1)\n{FOUND}"
    with probing(wait).prepared(pair, "off") as machine:
        monkeypatch.setattr(remote, "ANSWER_S", 0.0)
        monkeypatch.setattr(remote, "LIMIT_S", 0.5)
        found = machine.probe(tmp_path / "probe-before.log")
        monkeypatch.undo()
        fifo.write_text("go", encoding="utf-8")
        assert machine.of(pair).gpus == machine.gpus
    assert found["n2"].not_probed == (
        "not probed: its agent has not answered for 0 s; look at the node: scontrol show node n2",
    )


def test_a_folder_that_a_node_does_not_have(
    probing: Probing, pair: Scenario, tmp_path: Path, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The output is kept on the node then, and the user is told where."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with probing(FOUND).prepared(pair, "off") as machine:
        found = machine.probe(tmp_path / "gone" / "probe-before.log")
    assert all(probes.probes for probes in found.values())
    kept = {path.name: path for path in tmp_path.glob("dsr1-probe-*/*.log")}
    assert sorted(said) == [
        f"{node}: {tmp_path}/gone is not here, so the output of its probes is in "
        f"{kept[f'probe-before-{node}.log']}"
        for node in ("n1", "n2")
    ]


def started(folder: Path) -> list[int]:
    """Wait for the probes of both nodes; return the ids of their processes."""
    wait_until(lambda: len(found := [*folder.glob("*.log")]) == 2 and all(f.stat().st_size for f in found))
    return [int(path.read_text(encoding="utf-8")) for path in folder.glob("*.log")]


def test_the_end_of_pytest_ends_the_probes(
    probing: Probing, pair: Scenario, machines: dict[str, FakeMachine], tmp_path: Path, said: list[str]
) -> None:
    nodes = probing(ENDLESS)
    with nodes.prepared(pair, "apply") as machine:
        found: dict[str, Probes] = {}
        thread = threading.Thread(target=lambda: found.update(machine.probe(tmp_path / "p.log")))
        thread.start()
        processes = started(tmp_path)
        nodes.__exit__()
        thread.join()
        assert {node: probes.not_probed for node, probes in found.items()} == dict.fromkeys(
            machines, ("not probed: the run ended first",)
        )
        assert [node.settings() for node in machines.values()] == [PUT_BACK, PUT_BACK]
    assert all(map(gone, processes))
    assert said == []


def test_ctrl_c_ends_the_probes(
    probing: Probing, pair: Scenario, machines: dict[str, FakeMachine], tmp_path: Path, said: list[str]
) -> None:
    processes: list[int] = []

    def interrupt() -> None:
        processes.extend(started(tmp_path))
        os.kill(os.getpid(), signal.SIGINT)

    with probing(ENDLESS).prepared(pair, "apply") as machine:
        threading.Thread(target=interrupt).start()
        with pytest.raises(KeyboardInterrupt):
            machine.probe(tmp_path / "p.log")
    assert [node.settings() for node in machines.values()] == [PUT_BACK, PUT_BACK]
    assert all(map(gone, processes))
    assert said == []
