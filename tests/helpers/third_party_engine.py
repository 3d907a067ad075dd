"""An engine of a third party: settings, code, a rule and the hook in one file."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Literal

from pytest_dsr1.engines.protocol import EngineResult, EngineSpec, Job
from pytest_dsr1.records import Observer, RequestRecord
from pytest_dsr1.scenario.rules.registry import EngineRules
from pytest_dsr1.scenario.schema.base import PositiveInt
from pytest_dsr1.scenario.schema.engine import EngineSettings
from pytest_dsr1.scenario.schema.rule import Findings
from pytest_dsr1.scenario.schema.scenario import Scenario


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


def pytest_dsr1_engines() -> Iterable[EngineSpec]:
    return [EngineSpec(settings=Echo, create=EchoEngine, rules=tuple(RULES.relations))]
