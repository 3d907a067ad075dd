"""Machines that are not there: a fresh stand-in for each test, shown through the real pynvml."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_dsr1.machine import host
from pytest_dsr1.scenario.schema.scenario import Scenario
from tests.standins.nvml.control import B200, FakeMachine, build, load


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the stand-ins, loaded as this process's NVML. Needs a C compiler and says so."""
    folder = build(tmp_path_factory.mktemp("nvml") / "driver-580")
    load(folder)
    return folder


@pytest.fixture
def plug_in(library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., FakeMachine]:
    """Makes a machine and puts it into this process's environment."""

    def make(count: int = 8, model: Any = None) -> FakeMachine:
        made = FakeMachine(library, tmp_path, count, **({"model": model} if model else {}))
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        for name, value in made.environ(os.environ).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(host, "pids_are_the_hosts", lambda: True)
        monkeypatch.setattr(host, "in_container", lambda: False)
        monkeypatch.setattr(host, "memlock_bytes", lambda: None)
        monkeypatch.setattr(host, "shm_gib", lambda: 64.0)
        return made

    return make


@pytest.fixture
def h200(plug_in: Callable[..., FakeMachine]) -> FakeMachine:
    """Eight healthy H200s."""
    return plug_in()


@pytest.fixture
def two(plug_in: Callable[..., FakeMachine]) -> FakeMachine:
    """Two healthy H200s."""
    return plug_in(2)


@pytest.fixture
def b200(plug_in: Callable[..., FakeMachine]) -> FakeMachine:
    """Eight healthy B200s."""
    return plug_in(8, B200)


def _scenario(hardware: dict[str, object] | None = None, **parts: object) -> Scenario:
    return Scenario.model_validate(
        {
            "name": "made-up",
            "description": "A scenario of the tests.",
            "hardware": {"gpu": "NVIDIA H200", "count": 8} if hardware is None else hardware,
            "model": {"name": "made-up", "random_weights": {}},
            "dataset": {"input_tokens": 8, "output_tokens": 8},
            "load": {"concurrency": 1, "num_requests": 1},
            "engine": {"type": "transformers", "device": "cpu"},
            "targets": [{"metric": "request_throughput", "value": 1.0}],
            **parts,
        }
    )


@pytest.fixture
def machine_scenario() -> Callable[..., Scenario]:
    """Makes a scenario: for 8 x H200 by default."""
    return _scenario
