"""The engine ``echo``: answers each request after a delay that the scenario sets."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import Field

from pytest_dsr1.engines.protocol import EngineResult, EngineSpec, Job
from pytest_dsr1.records import Observer, RequestRecord
from pytest_dsr1.scenario.rules.registry import EngineRules
from pytest_dsr1.scenario.schema.engine import EngineSettings, ModelSource
from pytest_dsr1.scenario.schema.rule import Findings
from pytest_dsr1.scenario.schema.scenario import Scenario


class Echo(EngineSettings):
    """An engine that echoes."""

    type: Literal["echo"]
    """Echoes."""
    delay_s: Annotated[float, Field(gt=0)] = 0.01
    """The time of an answer in seconds."""
    slots_per_echo: Annotated[int, Field(gt=0)] = 4
    """Requests that are answered at once."""

    @property
    def slots(self) -> int:
        """The number of requests that are answered at once."""
        return self.slots_per_echo

    @property
    def model_sources(self) -> tuple[ModelSource, ...]:
        """It has no weights; a scenario names random ones."""
        return ("random_weights",)


RULES: EngineRules[Echo] = EngineRules()


@RULES.should("engine.slots_per_echo", "load.concurrency")
def _enough_slots(engine: Echo, scenario: Scenario) -> Findings:
    """`engine.slots_per_echo` is at least `load.concurrency`."""
    if engine.slots_per_echo < scenario.load.at_once:
        yield "engine.slots_per_echo", f"less than load.concurrency ({scenario.load.concurrency})"


class EchoEngine:
    """Answers every request of the dataset, one after the other."""

    def run(self, job: Job, observer: Observer) -> EngineResult:
        """Send the requests and return a record of each."""
        delay_s, records = Echo.of(job.scenario).delay_s, []
        lines = job.workload.path.read_text(encoding="utf-8").splitlines()[: job.workload.requests]
        observer.phase("measuring")
        for number, request in enumerate(map(json.loads, lines)):
            submitted_s = time.monotonic()
            time.sleep(delay_s)
            now_s, tokens = time.monotonic(), request["output_tokens"]
            first_s = (submitted_s + now_s) / 2
            record = RequestRecord(number, submitted_s, first_s, now_s, len(request["input_ids"]), tokens)
            records.append(record)
            observer.record(record)
        return EngineResult(tuple(records), {}, records[0].submitted_s, records[-1].last_token_s, gpus=0)

    def script(self, job: Job) -> str:
        """Return the command that does the same by hand."""
        return f"pytest --dsr1-profile={job.scenario.name}"


def pytest_dsr1_engines() -> Iterable[EngineSpec]:
    """List the engine."""
    return [EngineSpec(settings=Echo, create=EchoEngine, rules=tuple(RULES.relations))]
