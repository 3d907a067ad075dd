"""The engine interface: the job a measurement hands over, its result, and what a plugin lists."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from pytest_dsr1.engines.facts import EngineFacts
from pytest_dsr1.machine import host
from pytest_dsr1.records import Answer, Enough, Observer, QuestionSet, RequestRecord
from pytest_dsr1.scenario.schema.engine import EngineSchema
from pytest_dsr1.scenario.schema.scenario import Scenario
from pytest_dsr1.scenario.schema.site import Site
from pytest_dsr1.workload.workload import Workload


@dataclass(frozen=True, slots=True)
class Job:
    """One measurement for an engine.

    Attributes:
        scenario: the resolved scenario, without any ``${VARIABLE}``.
        workload: the requests.
        artifacts: the folder for everything the engine writes; exists and is empty.
        run_timeout_s: the longest measured time, in seconds.
        enough: called with each record; ends the measurement when it returns true. Requests in flight are
            then given up, and the result has those that ended. An engine that cannot stop does not call it.
            If None, all requests are answered.
        drains: wait for the requests in flight when ``enough`` has ended the measurement, so that a kept
            engine is idle again. An engine that is not kept may give them up.
        questions: asked after the measured part, when its clock and all that watches it have ended, and
            before the model or the server ends. Empty for an engine that does not answer questions.
        site: how to use the cluster, for an engine on several nodes.
        free_port: returns a port that no process listens at now, on one of the nodes, counted from 0.
    """

    scenario: Scenario
    workload: Workload
    artifacts: Path
    run_timeout_s: float
    enough: Enough | None = None
    questions: tuple[QuestionSet, ...] = ()
    drains: bool = False
    site: Site = field(default_factory=Site)
    free_port: Callable[[int], int] = host.free_port


_BELOW = frozenset({"python", "torch", "cuda", "httptools", "uvloop"})
"""What engines and the client that measures them stand on."""


@dataclass(frozen=True, slots=True)
class EngineResult:
    """The result of one measurement.

    Attributes:
        records: a record of each request that ended, in order of completion; empty if the engine has none.
        report: metrics from the engine's own report, by metric name and in that metric's unit.
        measured_from_s: monotonic time at which the first measured request was submitted; for an engine
            without records, the time at which its log says the measurement began.
        measured_to_s: monotonic time at which the last measured request ended, from the same source.
        gpus: tp * pp, the divisor of per-GPU throughput; 0 on the CPU.
        versions: versions of the engine's software, such as ``{"torch": "2.9.0"}``.
        facts: other facts about the engine and its run.
        warnings: sentences for the user, shown with the verdict.
        series: output tokens per second over time as (monotonic time, value), if the engine knows it.
        stopped: whether requests are missing only because ``Job.enough`` ended the measurement.
        answers: to ``Job.questions``, in any order. A question that failed has an answer with its error, and
            one without an answer was not asked: neither makes the measurement fail.
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
    answers: tuple[Answer, ...] = ()

    @property
    def version(self) -> str:
        """The engine's own packages with their versions, such as ``vllm 0.26.0``; empty if unknown."""
        own = (f"{name} {version}" for name, version in self.versions.items() if name not in _BELOW)
        return ", ".join(own)


class AskingInterruptedError(KeyboardInterrupt):
    """Ctrl-C while questions were answered: the measured part is complete.

    Attributes:
        result: of the measured part, with the answers so far.
    """

    def __init__(self, result: EngineResult) -> None:
        super().__init__()
        self.result = result


class Engine(Protocol):
    """An engine for one job. Each measurement needs a new instance."""

    def run(self, job: Job, observer: Observer) -> EngineResult:
        """Measure.

        Raises:
            AskingInterruptedError: Ctrl-C after the measured part, while questions were answered.
            EngineError: the measurement failed; the message has one sentence and the last relevant lines of
                the log. No process of the engine is left running, also after KeyboardInterrupt.
        """
        ...

    def script(self, job: Job) -> str:
        """Return the shell lines that do the same as ``run`` by hand, for ``--dsr1-plan``."""
        ...


class EnginePool(Protocol):
    """Resources that an engine keeps for the next scenario, such as a server that has loaded its model.

    A pool lives as long as a pytest session. Its resources use the GPUs, so the GPUs stay locked.
    """

    def __bool__(self) -> bool:
        """Return whether the pool keeps a resource, alive or not."""
        ...

    def fits(self, scenario: Scenario) -> bool:
        """Return whether the kept resource can serve the scenario."""
        ...

    def end(self) -> None:
        """End the kept resource, if there is one.

        Raises:
            EngineError: processes survive even SIGKILL.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class EngineSpec(EngineSchema):
    """An engine, as the hook ``pytest_dsr1_engines`` lists it.

    Attributes:
        settings: the pydantic model of ``engine:``; its ``type`` is a ``Literal`` of the engine's name.
        rules: the rules between values of the engine's scenarios.
        create: makes an engine for one measurement; imports heavy modules only then. It is called with the
            pool if there is one, else without arguments.
        pool: makes the pool, once per session; None for an engine that keeps nothing for the next scenario.
    """

    create: Callable[..., Engine]
    pool: Callable[[], EnginePool] | None = None
