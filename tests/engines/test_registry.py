"""Engines are found through the hook, ours and those of others."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Literal

import pytest

from pytest_dsr1 import extensions
from pytest_dsr1.engines.protocol import EngineResult, EngineSpec, Job
from pytest_dsr1.engines.registry import create, spec_of
from pytest_dsr1.errors import UserError
from pytest_dsr1.records import Observer, RequestRecord
from pytest_dsr1.scenario import reference_pages
from pytest_dsr1.scenario.rules.registry import EngineRules
from pytest_dsr1.scenario.schema.base import PositiveInt
from pytest_dsr1.scenario.schema.engine import EngineSettings, engines
from pytest_dsr1.scenario.schema.rule import Findings
from pytest_dsr1.scenario.schema.scenario import Scenario
from tests.helpers.scenario_files import load_text, mistakes, one_of


class Echo(EngineSettings):
    """An engine that echoes."""

    type: Literal["echo"]
    """Echoes."""
    mouths: PositiveInt = 1
    """The number of requests that it answers at once."""

    @property
    def slots(self) -> int:
        """One per mouth."""
        return self.mouths


RULES: EngineRules[Echo] = EngineRules()


@RULES.must("engine.mouths", "load.num_requests")
def _busy_mouths(engine: Echo, scenario: Scenario) -> Findings:
    """Every mouth has a request."""
    if engine.mouths > scenario.load.num_requests:
        yield "engine.mouths", f"expected at most load.num_requests, {scenario.load.num_requests}"


class EchoEngine:
    """An engine that answers at once."""

    def run(self, job: Job, observer: Observer) -> EngineResult:
        now = time.monotonic()
        records = tuple(RequestRecord(i, now, now, now + 1, 8, 4) for i in range(job.workload.requests))
        observer.phase("measuring", f"{Echo.of(job.scenario).mouths} mouths")
        return EngineResult(records, {}, now, now + 1, 0)

    def script(self, job: Job) -> str:
        return f"pytest --dsr1-profile={job.scenario.name}"


ECHO_ENGINE = EngineSpec(settings=Echo, create=EchoEngine, rules=tuple(RULES.relations))
ECHO = """\
name: echoed
description: A scenario of another engine
hardware: {}
model: {name: deepseek-ai/DeepSeek-R1, random_weights: {}}
dataset: {input_tokens: 8, output_tokens: 4}
load: {concurrency: 2, num_requests: 4}
engine:
  type: echo
  mouths: 2
targets:
  - metric: per_user_output_throughput
    value: 1.0
"""


@pytest.fixture
def register(tmp_path: Path) -> Iterator[Callable[[ModuleType], None]]:
    """Registers a plugin; afterwards there are our engines alone."""
    load_text(tmp_path, ECHO.replace("type: echo\n  mouths: 2", "type: transformers"))  # the schema is made
    registered: list[ModuleType] = []

    def add(plugin: ModuleType) -> None:
        extensions.register(plugin, "theirs")
        registered.append(plugin)

    yield add
    for plugin in registered:
        extensions.unregister(plugin)


def plugin(*specs: object) -> ModuleType:
    made = ModuleType("theirs")
    vars(made)["pytest_dsr1_engines"] = lambda: specs
    return made


def test_an_engine_of_others_is_used_like_ours(
    register: Callable[[ModuleType], None], tmp_path: Path
) -> None:
    register(plugin(ECHO_ENGINE))
    loaded = load_text(tmp_path, ECHO)
    engine = loaded.scenario.engine
    assert (engine.type, engine.slots, engine.gpus, engine.streams) == ("echo", 2, None, True)
    assert loaded.warnings == ()
    assert isinstance(create(engine), EchoEngine)
    assert spec_of(engine).pool is None
    assert "### `engine` with `type: echo`" in reference_pages.reference_page()
    assert "- Every mouth has a request." in reference_pages.reference_page()


def test_its_mistakes_are_found_as_ours_are(register: Callable[[ModuleType], None], tmp_path: Path) -> None:
    register(plugin(ECHO_ENGINE))
    assert mistakes(tmp_path, ECHO.replace("mouths: 2", "mouth: 2")) == [
        "s.yaml:9:3: engine.mouth: unknown key (did you mean 'mouths'?)"
    ]
    assert mistakes(tmp_path, ECHO.replace("mouths: 2", "mouths: 5")) == [
        "s.yaml:9:3: engine.mouths: expected at most load.num_requests, 4"
    ]
    (warning,) = load_text(tmp_path, ECHO.replace("mouths: 2", "mouths: 1")).warnings
    assert warning.endswith(
        "s.yaml:11: targets.0.metric: per_user_output_throughput says little here: it includes waiting, and "
        "the engine serves 1 of 2 requests at once"
    )


def test_without_it_the_name_is_unknown(tmp_path: Path) -> None:
    (mistake,) = mistakes(tmp_path, ECHO)
    assert mistake.startswith(
        f"s.yaml:8:9: engine.type: expected {one_of(sorted(engines()))}, found the text 'echo'; is its "
        "plugin installed? "
    )


class Nameless(EngineSettings):
    """Of no name."""


class Second(EngineSettings):
    """Takes a name of ours."""

    type: Literal["trtllm"]


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (
            EngineSpec(settings=Nameless, create=EchoEngine),
            "Nameless has no field `type: Literal[...]` with the name of the engine",
        ),
        (
            EngineSpec(settings=EngineSpec, create=EchoEngine),  # type: ignore[arg-type]
            "settings of an engine: expected a class of EngineSettings, found "
            "<class 'pytest_dsr1.engines.protocol.EngineSpec'>",
        ),
        (5, "pytest_dsr1_engines returned 5, expected EngineSpec"),
    ],
)
def test_a_broken_engine_is_one_sentence(
    register: Callable[[ModuleType], None], given: object, why: str
) -> None:
    with pytest.raises(UserError) as caught:
        register(plugin(given))
    assert str(caught.value) == f"the pytest-dsr1 plugin theirs is broken: {why}"


def test_an_engine_of_our_name_is_refused(register: Callable[[ModuleType], None]) -> None:
    with pytest.raises(UserError) as caught:
        register(plugin(EngineSpec(settings=Second, create=EchoEngine)))
    assert str(caught.value) == (
        "the engine trtllm is declared twice, by pytest-dsr1 and by the plugin theirs: rename or remove one "
        "of them"
    )
