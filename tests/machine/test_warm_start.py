"""What is remembered of the starts on a node, and by which key."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pytest_dsr1.machine.values import FactValue
from pytest_dsr1.machine.warm_start import Starts, start_key

FACTS: dict[str, FactValue] = {
    "gpu.uuids": ["GPU-b", "GPU-a"],
    "library.torch": "2.13.0",
    "engine.vllm": "0.26.0",
    "driver": "580.159.04",
    "cuda.driver": "13.0",
    "container.image": "tensorrt-llm/release:1.2.1",
    "option.engine.tp": 8,
    "model.content": "ab12",
    "option.load.concurrency": 64,
    "dataset.content": "cd34",
    "kernel": "6.8",
    "hostname": "dgx",
}
KEY = start_key(FACTS)


@pytest.mark.parametrize(
    "fact",
    [
        "gpu.uuids",
        "library.torch",
        "engine.vllm",
        "driver",
        "cuda.driver",
        "container.image",
        "option.engine.tp",
        "model.content",
    ],
)
def test_what_decides_what_is_compiled_is_in_the_key(fact: str) -> None:
    assert start_key({**FACTS, fact: "another"}) != KEY


@pytest.mark.parametrize("fact", ["option.load.concurrency", "dataset.content", "kernel", "hostname"])
def test_what_profiles_of_one_software_differ_in_is_not(fact: str) -> None:
    assert start_key({**FACTS, fact: "another"}) == KEY


def test_a_node_is_a_set_of_gpus() -> None:
    assert start_key({**FACTS, "gpu.uuids": ["GPU-a", "GPU-b"]}) == KEY
    assert start_key(dict(reversed(FACTS.items()))) == KEY
    assert len(KEY) == 64
    assert start_key({"library.torch": "2.13.0"}), "on the CPU"


def test_a_start_is_seen_once_it_was_noted(tmp_path: Path) -> None:
    environ, told = {"DSR1_STATE_DIR": str(tmp_path)}, list[str]()
    starts = Starts(environ, told.append)
    assert not starts.seen(KEY)
    starts.note(KEY)
    starts.note(KEY)
    assert starts.seen(KEY)
    assert Starts(environ, told.append).seen(KEY), "in the next run too"
    assert not starts.seen(start_key({**FACTS, "driver": "590"}))
    assert told == []


def test_processes_at_once_lose_nothing(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from pytest_dsr1.machine.warm_start import Starts\n"
        "starts = Starts({'DSR1_STATE_DIR': sys.argv[1]}, print)\n"
        "input()\n"
        "for i in range(50):\n"
        "    starts.note(f'{sys.argv[2]}-{i}')\n"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path), name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for name in "abc"
    ]
    said = [process.communicate(b"\n")[0] for process in processes]
    assert said == [b""] * 3
    starts = Starts({"DSR1_STATE_DIR": str(tmp_path)}, print)
    assert all(starts.seen(f"{name}-{i}") for name in "abc" for i in range(50))


def test_a_damaged_memory_costs_a_warm_up_and_says_so_once(tmp_path: Path) -> None:
    (tmp_path / "starts").write_text("in the way")
    told: list[str] = []
    starts = Starts({"DSR1_STATE_DIR": str(tmp_path)}, told.append)
    assert not starts.seen(KEY)
    starts.note(KEY)
    assert not starts.seen(KEY)
    assert told == [
        "the engine's starts on this node cannot be remembered, so the next run takes another warm-up start: "
        f"{tmp_path}/starts/{KEY}: Not a directory"
    ]


def test_without_a_state_folder_every_start_is_the_first(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    told: list[str] = []
    starts = Starts({"DSR1_STATE_DIR": str(tmp_path / "file" / "state")}, told.append)
    starts.note(KEY)
    assert not starts.seen(KEY)
    (sentence,) = told
    assert sentence.startswith("the engine's starts on this node cannot be remembered, ")
    assert sentence.endswith("name one with DSR1_STATE_DIR")
