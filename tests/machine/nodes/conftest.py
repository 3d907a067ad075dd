"""Two nodes on this machine: each has GPUs of its own, and an agent that is started without Slurm."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from pytest_dsr1.machine.nodes.nodes import Nodes
from pytest_dsr1.machine.nodes.remote import AGENT
from pytest_dsr1.process.modules import module_command
from pytest_dsr1.scenario.schema.scenario import Scenario
from tests.helpers.nodes import program, uuid
from tests.standins.nvml.control import FakeMachine

HEALTHY = "n1|allocated|none\nn1|allocated|none\nn2|mixed|none\n"
SETUP = {"persistence": True, "vboost": 4}


@pytest.fixture
def machines(library: Path, tmp_path: Path) -> dict[str, FakeMachine]:
    """By node, two healthy H200s."""
    found = {}
    for number in (1, 2):
        folder = tmp_path / f"n{number}"
        folder.mkdir()
        made = FakeMachine(library, folder, 2)
        for gpu in range(2):
            made.set_gpu(gpu, uuid=uuid(number, gpu))
        found[f"n{number}"] = made
    return found


@pytest.fixture
def start(machines: dict[str, FakeMachine]) -> Callable[[str], Sequence[str]]:
    """Starts the agent of a node as a plain child."""

    def command(node: str) -> list[str]:
        environ = machines[node].environ(os.environ)
        changed = [f"{name}={value}" for name, value in environ.items() if os.environ.get(name) != value]
        return ["env", *changed, *module_command(AGENT)]

    return command


@pytest.fixture
def said() -> list[str]:
    """What the user was shown."""
    return []


@pytest.fixture
def states(tmp_path: Path) -> Path:
    """What the stand-in of sinfo prints."""
    written = tmp_path / "states"
    written.write_text(HEALTHY, encoding="utf-8")
    return written


@pytest.fixture
def programs(tmp_path: Path, states: Path) -> Path:
    """A folder with stand-ins of Slurm's programs."""
    folder = tmp_path / "slurm"
    folder.mkdir()
    program(folder, "sinfo", f'echo "$*" >{tmp_path}/asked; cat {states}')
    return folder


@pytest.fixture
def nodes(start: Callable[[str], Sequence[str]], said: list[str], programs: Path) -> Iterator[Nodes]:
    """Both nodes."""
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    environ = {**os.environ, "SLURM_JOB_ID": "7", "PATH": path}
    with Nodes(["n1", "n2"], start, environ, said.append) as made:
        yield made


@pytest.fixture
def pair(machine_scenario: Callable[..., Scenario]) -> Scenario:
    """A scenario for the four GPUs of both."""
    return machine_scenario({"gpu": "NVIDIA H200", "count": 4, "nodes": 2}, gpu_setup=SETUP)
