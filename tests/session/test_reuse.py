"""What outlives a scenario: its server, and as long as that is there, the lock and settings of its GPUs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from pytest_dsr1.engines.protocol import EngineResult
from pytest_dsr1.engines.registry import create
from pytest_dsr1.machine.lease import Machine
from pytest_dsr1.scenario.schema.scenario import Scenario
from pytest_dsr1.scenario.schema.site import Site
from pytest_dsr1.session import reuse as module
from pytest_dsr1.session.reuse import SharedResources
from tests.helpers.openai_jobs import make_job, started
from tests.helpers.values import scenario
from tests.helpers.watcher import Watcher

pytestmark = pytest.mark.usefixtures("client_unjudged")


class Story:
    """A session, and what happens in it: machines locked and unlocked."""

    def __init__(self, folder: Path) -> None:
        self.held = SharedResources(Site())
        self.events: list[str] = []
        self.folder = folder
        self.pid = 0

    @contextmanager
    def prepared(self, scenario: Scenario, *_: Any) -> Iterator[Machine]:
        self.events.append(f"locked for {scenario.name}")
        yield Machine(scenario, None, (), {}, {})
        assert not (self.pid and psutil.pid_exists(self.pid)), "unlocked under a living server"
        self.events.append("unlocked")

    def machine(self, of: Scenario) -> Machine:
        return self.held.machine(of, "check", {}, print)

    def measure(self, of: Scenario) -> EngineResult:
        folder = self.folder / of.name
        folder.mkdir()
        engine = create(of.engine, self.held.pool(of))
        result = engine.run(make_job(folder, of), Watcher())
        written = folder / "engine" / "pid"
        self.pid = int(written.read_text()) if written.exists() else self.pid
        return result


@pytest.fixture
def story(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Story]:
    made = Story(tmp_path)
    monkeypatch.setattr(module, "prepared", made.prepared)
    yield made
    made.held.release()


def test_machine_stays_locked_as_long_as_its_server_lives(story: Story) -> None:
    first, second, third = started(), started("second"), started("third", arguments=["--other"])
    assert not story.held.make_way(first)
    story.machine(first)
    story.measure(first)
    story.held.scenario_ended()
    assert psutil.pid_exists(story.pid)
    assert story.held.make_way(second)
    story.machine(second)
    story.measure(second)
    story.held.scenario_ended()
    assert story.events == ["locked for first"]
    assert not story.held.make_way(third)
    assert story.events == ["locked for first", "unlocked"]
    story.machine(third)
    story.measure(third)
    story.held.release()
    assert story.events == ["locked for first", "unlocked", "locked for third", "unlocked"]


def test_each_run_on_one_machine_can_have_a_server_of_its_own(story: Story) -> None:
    of = started()
    story.machine(of)
    starts = []
    for name in ("first", "second"):
        result = story.measure(started(name))
        starts.append((story.pid, result.facts.server_started, result.facts.other["url"]))
        assert psutil.pid_exists(story.pid)
        story.held.end_engines()
        assert not psutil.pid_exists(story.pid)
    (first, *_), (second, *_) = starts
    assert first != second
    assert [started for _, started, _ in starts] == [True, True]
    assert story.events == ["locked for first"], "the machine stays locked and set up between them"
    story.held.scenario_ended()
    assert story.events == ["locked for first", "unlocked"]


def test_after_a_release_there_is_a_new_machine_and_a_new_server(story: Story) -> None:
    pids = []
    for name in ("first", "second"):
        story.machine(started(name))
        assert story.measure(started(name)).facts.server_started is True
        pids.append(story.pid)
        story.held.release()
    assert pids[0] != pids[1]
    assert story.events == ["locked for first", "unlocked", "locked for second", "unlocked"]


def test_machine_without_a_server_is_given_back_at_once(story: Story) -> None:
    story.machine(scenario())
    story.held.scenario_ended()
    assert story.events == ["locked for small", "unlocked"]


def test_another_engine_finds_the_machine_free(story: Story) -> None:
    story.machine(started())
    story.measure(started())
    story.held.scenario_ended()
    assert not story.held.make_way(scenario())
    assert story.events == ["locked for first", "unlocked"]


@pytest.mark.parametrize(
    ("hardware", "with_srun", "asked"), [(1, True, True), (1, False, False), (2, False, True)]
)
def test_a_container_of_a_slurm_job_needs_no_agent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hardware: int, with_srun: bool, asked: bool
) -> None:
    """It may lack Slurm's programs, which a run on several nodes needs."""
    jobs: list[object] = []
    monkeypatch.setattr(module, "allocation", jobs.append)
    if with_srun:
        (tmp_path / "srun").write_text("#!/bin/sh\n")
        (tmp_path / "srun").chmod(0o755)
    environ = {"PATH": str(tmp_path), "SLURM_JOB_ID": "7"}
    of = scenario(hardware={"gpu": "NVIDIA H200", "count": 2, "nodes": hardware})
    SharedResources(Site())._nodes_for(of, environ, print)
    assert bool(jobs) == asked
