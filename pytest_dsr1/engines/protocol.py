"""The engine interface: the job a measurement hands over, its result, and what a plugin lists."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from pytest_dsr1.engines.facts import EngineFacts
from pytest_dsr1.records import Enough, Observer, RequestRecord
from pytest_dsr1.scenario.schema.engine import EngineSchema
from pytest_dsr1.scenario.schema.scenario import Scenario
from pytest_dsr1.workload.workload import Workload


@dataclass(frozen=True, slots=True)
class Job:
    """What an engine is asked to do.

    Attributes:
        scenario: resolved: no ``${VARIABLE}`` is left in it.
        workload: the requests.
        artefacts: a folder for everything the engine writes; exists and is empty.
        run_timeout_s: the longest measured time.
        enough: ends the measurement when it says so: requests in flight are given up, and the result has
            those that ended. Not asked by an engine that cannot stop. None: all requests are answered.
    """

    scenario: Scenario
    workload: Workload
    artefacts: Path
    run_timeout_s: float
    enough: Enough | None = None


@dataclass(frozen=True, slots=True)
class EngineResult:
    """What an engine measured.

    Attributes:
        records: a record of each request that ended, in order of completion; empty where the engine has none.
        report: metrics the engine's own report states, by metric name and in that metric's unit.
        measured_from_s: monotonic time at which the first measured request was submitted (for an engine
            without records: at which its log says the measurement began); likewise ``measured_to_s``.
        gpus: tp * pp, the divisor of per-GPU throughput; 0 on the CPU.
        versions: software the engine ran, such as ``{"torch": "2.9.0"}``.
        facts: what else the engine says of itself and its run.
        warnings: sentences a person must see beside the verdict.
        series: output tokens per second over time as (monotonic time, value), where the engine knows it.
        stopped: requests are missing, because ``Job.enough`` said so, and for no other reason.
    """

    records: tuple[RequestRecord, ...]
    report: Mapping[str, float]
    measured_from_s: float
    measured_to_s: float
    gpus: int
    versions: Mapping[str, str] = field(default_factory=dict)
    facts: EngineFacts = field(default_factory=EngineFacts)
    warnings: tuple[str, ...] = ()
    series: tuple[tuple[float, float], ...] = ()
    stopped: bool = False


class Engine(Protocol):
    """Runs one job. An instance serves one measurement."""

    def run(self, job: Job, observer: Observer) -> EngineResult:
        """Measure.

        Raises:
            EngineError: in one sentence, with the log's last relevant lines; nothing of the engine is left
                running then, nor after KeyboardInterrupt.
        """
        ...

    def script(self, job: Job) -> str:
        """The shell lines that do by hand what ``run`` does, for ``--dsr1-plan``."""
        ...


class EnginePool(Protocol):
    """What an engine keeps from one scenario to the next, such as a server that has loaded its model.

    It lives as long as a pytest session. What it keeps holds the GPUs, so they stay locked with it.
    """

    def __bool__(self) -> bool:
        """Return whether anything is kept, alive or not."""
        ...

    def fits(self, scenario: Scenario) -> bool:
        """Return whether what is kept can serve the scenario."""
        ...

    def end(self) -> None:
        """End what is kept, if there is anything.

        Raises:
            EngineError: processes survive even SIGKILL.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class EngineSpec(EngineSchema):
    """An engine, as the hook ``pytest_dsr1_engines`` lists it.

    Attributes:
        settings: the model of ``engine:``; its ``type`` is a ``Literal`` of the engine's name.
        rules: what must hold between values of its scenarios.
        create: makes an engine for one measurement, and imports what is heavy only then. It is called with
            the pool, if there is one, else without arguments.
        pool: makes the pool, once a session, of an engine that keeps something for the next scenario.
    """

    create: Callable[..., Engine]
    pool: Callable[[], EnginePool] | None = None
