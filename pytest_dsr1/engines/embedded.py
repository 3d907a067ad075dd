"""The engine `transformers`: a DeepSeek-V3-architecture model with random weights, in a child process.

The model and the loop over the requests are in :mod:`pytest_dsr1.engines.embedded_worker`. Here the worker is
started and watched, its events become records and progress, and each way of failing becomes one sentence.
"""

from __future__ import annotations

import functools
import os
import shlex
import signal
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pytest_dsr1.engines.base import EngineResult, Job, Observer, Phase, RequestRecord
from pytest_dsr1.engines.bounds import PEAK_BANDWIDTH_TB_S, decode_bound, mean_decode_step_s
from pytest_dsr1.engines.child import Child, Line
from pytest_dsr1.engines.embedded_job import WorkerJob
from pytest_dsr1.engines.embedded_model import resolve_config
from pytest_dsr1.errors import EngineError
from pytest_dsr1.scenario.model import Scenario, Transformers

if TYPE_CHECKING:
    from pydantic import TypeAdapter

WORKER = (sys.executable, "-m", "pytest_dsr1.engines.embedded_worker")
LOG = "engine.log"
LOG_LINES = 8
"""Lines of the log that a message repeats."""
ENDING_S = 20.0
"""Time that a worker has to leave after its last event; CUDA frees its memory then."""


@dataclass(frozen=True, slots=True)
class PhaseEvent:
    """A new phase began."""

    event: Literal["phase"]
    time_s: float
    phase: Phase
    detail: str = ""


@dataclass(frozen=True, slots=True)
class ProgressEvent:
    """So much is done."""

    event: Literal["progress"]
    time_s: float
    requests: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class RecordEvent:
    """A measured request ended."""

    event: Literal["record"]
    record: RequestRecord


@dataclass(frozen=True, slots=True)
class WarningEvent:
    """Something a person must know."""

    event: Literal["warning"]
    message: str


@dataclass(frozen=True, slots=True)
class ResultEvent:
    """All requests are done."""

    event: Literal["result"]
    versions: dict[str, str]
    facts: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ErrorEvent:
    """The worker gave up."""

    event: Literal["error"]
    message: str


Event = PhaseEvent | ProgressEvent | RecordEvent | WarningEvent | ResultEvent | ErrorEvent


@functools.cache
def _events() -> TypeAdapter[Event]:
    from pydantic import Field, TypeAdapter

    return TypeAdapter(Annotated[Event, Field(discriminator="event")])


class TransformersEngine:
    """Runs one job in a worker process.

    Args:
        worker: the command that takes a job file and writes events.
    """

    def __init__(self, worker: Sequence[str] = WORKER) -> None:
        self._worker = worker

    def script(self, job: Job) -> str:
        """The line that runs the scenario: this engine is part of pytest-dsr1."""
        line = f"pytest --dsr1-profile={shlex.quote(job.scenario.name)}"
        return f"# engine transformers, with the PyTorch of this environment\n{line}\n"

    def run(self, job: Job, observer: Observer) -> EngineResult:
        """Measure.

        Raises:
            EngineError: in one sentence, with the log's last lines; the worker and all it started are gone.
        """
        request = job.artefacts / "job.json"
        worker_job(job).save(request)
        run = _Run(job, observer)
        observer.phase("starting", "the embedded engine")
        with Child(
            [*self._worker, str(request)],
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
            cwd=job.artefacts,
            log=run.log,
            events=True,
        ) as child:
            run.watch(child)
        return run.result()


def _settings(scenario: Scenario) -> Transformers:
    if not isinstance(scenario.engine, Transformers):
        raise EngineError(f"{scenario.name}: the engine is {scenario.engine.type}, expected transformers")
    return scenario.engine


def worker_job(job: Job) -> WorkerJob:
    """The part of a job that the worker needs.

    Raises:
        EngineError: the scenario names a checkpoint; this engine only makes models.
    """
    scenario, engine = job.scenario, _settings(job.scenario)
    if scenario.model.random_weights is None:
        raise EngineError(
            f"{scenario.name}: the engine transformers makes its model with random weights and reads no "
            f"checkpoint ({scenario.model.path}); replace model.path by model.random_weights, or choose "
            "another engine"
        )
    return WorkerJob(
        dataset=str(job.workload.path.absolute()),
        concurrency=scenario.load.concurrency,
        num_requests=job.workload.requests,
        warmup_requests=scenario.load.warmup_requests,
        device=engine.device,
        dtype=engine.dtype,
        compile=engine.compile,
        threads=engine.threads,
        seed=scenario.model.random_weights.seed,
        config=scenario.model.random_weights.config,
    )


@dataclass
class _Run:
    """What the worker has said so far."""

    job: Job
    observer: Observer
    measuring: bool = False
    last: ResultEvent | ErrorEvent | None = None
    records: list[RequestRecord] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    tokens_at: list[tuple[float, int]] = field(default_factory=list)
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=LOG_LINES))

    @property
    def log(self) -> Path:
        """Where the worker's output is kept."""
        return self.job.artefacts / LOG

    def watch(self, child: Child) -> None:
        """Read until the worker has ended.

        Raises:
            EngineError: it failed or exceeded a limit.
        """
        limit_s, what = _settings(self.job.scenario).startup_timeout_s, "engine.startup_timeout_s"
        began = time.monotonic()
        while True:
            left_s = began + limit_s - time.monotonic()
            lines = child.read(max(0.0, left_s))
            was = self.measuring, self.last is not None
            for line in lines:
                self._take(line)
            if was != (self.measuring, self.last is not None):
                began = time.monotonic()
                limit_s, what = (
                    (ENDING_S, "") if self.last else (self.job.run_timeout_s, "engine.run_timeout_s")
                )
            elif not lines and child.returncode is not None:
                break
            elif time.monotonic() >= began + limit_s:
                if self.last:
                    break
                missed = "finish" if self.measuring else "start to measure"
                raise self._failure(
                    f"the embedded engine did not {missed} within {limit_s:g} s and was stopped; if it was "
                    f"only slow, raise {what}"
                )
        if isinstance(self.last, ErrorEvent):
            raise self._failure(self.last.message)
        if self.last is None:
            raise self._failure(_death(child.returncode))

    def result(self) -> EngineResult:
        """The measurement.

        Raises:
            EngineError: requests are missing.
        """
        assert isinstance(self.last, ResultEvent)
        wanted, records = self.job.workload.requests, self.records
        if len(records) != wanted:
            raise self._failure(f"the embedded engine answered {len(records)} requests, expected {wanted}")
        self.observer.progress(wanted, sum(record.output_tokens for record in records))
        facts = {**self.last.facts, **self._bound(str(self.last.facts.get("device")))}
        if facts.get("share_of_bound", 0.0) > 1:
            self.warnings.append(
                f"decode reached {facts['share_of_bound']:.0%} of the memory-bandwidth bound; above 100% the "
                "measurement or the routing assumption is wrong"
            )
        return EngineResult(
            records=tuple(sorted(records, key=lambda record: record.last_token_s)),
            report={},
            measured_from_s=min(record.submitted_s for record in records),
            measured_to_s=max(record.last_token_s for record in records),
            gpus=int(_settings(self.job.scenario).device == "cuda"),
            versions=self.last.versions,
            facts=facts,
            warnings=tuple(self.warnings),
            series=tuple(
                (to_s, (tokens - before) / (to_s - from_s))
                for (from_s, before), (to_s, tokens) in zip(self.tokens_at, self.tokens_at[1:], strict=False)
                if to_s > from_s
            ),
        )

    def _bound(self, gpu: str) -> dict[str, object]:
        """The memory-bandwidth bound of the decode step on a GPU, and what was reached."""
        job, records = worker_job(self.job), self.records
        if job.device == "cpu":
            return {}
        bandwidth_tb_s = PEAK_BANDWIDTH_TB_S.get(gpu)
        if bandwidth_tb_s is None:
            return {"bandwidth_bound": f"none: the peak memory bandwidth of {gpu} is not known here"}
        batch = min(job.concurrency, len(records))
        bound = decode_bound(
            resolve_config(job.config),
            batch=batch,
            context=sum(r.input_tokens + r.output_tokens / 2 for r in records) / len(records),
            value_bytes=4 if job.dtype == "float32" else 2,
            bandwidth_tb_s=bandwidth_tb_s,
        )
        facts: dict[str, object] = {
            "bandwidth_bound": bound.formula,
            "bandwidth_bound_tok_s": bound.output_tok_s,
            "distinct_experts_expected": bound.experts,
        }
        if step_s := mean_decode_step_s(records, batch):
            facts |= {"decode_tok_s": batch / step_s, "share_of_bound": bound.step_s / step_s}
        return facts

    def _take(self, line: Line) -> None:
        if line.kind == "log":
            self.tail.append(line.text)
            return
        try:
            event = _events().validate_json(line.text)
        except ValueError as error:
            raise self._failure(
                f"the embedded engine's worker wrote an event that is none: {line.text[:200]!r}"
            ) from error
        match event:
            case PhaseEvent():
                if event.phase == "measuring":
                    self.measuring = True
                    self.tokens_at.append((event.time_s, 0))
                self.observer.phase(event.phase, event.detail)
            case ProgressEvent():
                self.tokens_at.append((event.time_s, event.output_tokens))
                self.observer.progress(event.requests, event.output_tokens)
            case RecordEvent():
                self.records.append(event.record)
                self.observer.record(event.record)
            case WarningEvent():
                self.warnings.append(event.message)
            case ResultEvent() | ErrorEvent():
                self.last = event

    def _failure(self, sentence: str) -> EngineError:
        lines = "".join(f"\n  {line}" for line in self.tail)
        where = f"\nThe last lines of {self.log}:{lines}" if lines else f"\nNothing was logged in {self.log}."
        return EngineError(f"{self.job.scenario.name}: {sentence}{where}")


def _death(returncode: int | None) -> str:
    """Why a worker ended without a last event."""
    if returncode is not None and returncode < 0:
        name = signal.Signals(-returncode).name
        hint = (
            "; the kernel's out-of-memory killer does that (look at `dmesg`): lower load.concurrency or the "
            "model's size"
            if name == "SIGKILL"
            else ""
        )
        return f"the embedded engine's worker was killed by {name}{hint}"
    return f"the embedded engine's worker ended with exit status {returncode} and no result"
