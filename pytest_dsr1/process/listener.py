"""The parent's end of a worker: its events as types, the time limits, and the messages about failures.

:mod:`pytest_dsr1.process.worker` writes the events and describes them.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pytest_dsr1.errors import EngineError
from pytest_dsr1.process.child import Child, Line
from pytest_dsr1.process.log import why
from pytest_dsr1.process.log.reader import LogReader
from pytest_dsr1.process.log.waiting import Waiting
from pytest_dsr1.process.worker import ASK, STOP
from pytest_dsr1.records import Answer, Enough, Observer, Phase, QuestionSet, RequestRecord

if TYPE_CHECKING:
    from pydantic import TypeAdapter

ENDING_S = 20.0
"""The time in which a worker must exit after its last event; CUDA frees its memory then."""
_GIVEN_UP_S = 1.0
"""The same for a worker that failed while it answered questions."""


@dataclass(frozen=True, slots=True)
class IterationSample:
    """One step of the engine's scheduler; None where the engine's version does not report it.

    Every field is saved with the result for the user, including ``context_requests``, ``queued_requests`` and
    ``rank``, which no code here reads.

    Attributes:
        time_s: the time at which we read it (``time.monotonic``); engines report steps in groups.
        iteration: the engine's own number of the step.
        latency_ms: the duration of the step.
        scheduled_requests: requests in the batch.
        context_requests: requests in the batch that read their input.
        queued_requests: requests waiting in the engine.
        kv_cache_used_share: used blocks divided by all blocks.
        rank: the rank of attention data parallelism.
    """

    time_s: float
    iteration: int | None = None
    latency_ms: float | None = None
    scheduled_requests: int | None = None
    context_requests: int | None = None
    queued_requests: int | None = None
    kv_cache_used_share: float | None = None
    rank: int | None = None


@dataclass(frozen=True, slots=True)
class PhaseEvent:
    """The start of a phase."""

    event: Literal["phase"]
    time_s: float
    phase: Phase
    detail: str = ""


@dataclass(frozen=True, slots=True)
class ProgressEvent:
    """The progress of the measurement."""

    event: Literal["progress"]
    time_s: float
    requests: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class RecordEvent:
    """The end of a measured request."""

    event: Literal["record"]
    record: RequestRecord


@dataclass(frozen=True, slots=True)
class IterationEvent:
    """A step of the engine."""

    event: Literal["iteration"]
    iteration: IterationSample


@dataclass(frozen=True, slots=True)
class WarningEvent:
    """A warning for the user."""

    event: Literal["warning"]
    message: str


@dataclass(frozen=True, slots=True)
class ResultEvent:
    """The end of the measurement."""

    event: Literal["result"]
    versions: dict[str, str]
    facts: dict[str, Any]


@dataclass(frozen=True, slots=True)
class AnswerEvent:
    """The answer to a question, after the measurement."""

    event: Literal["answer"]
    answer: Answer


@dataclass(frozen=True, slots=True)
class ErrorEvent:
    """The failure of the worker."""

    event: Literal["error"]
    message: str


Measured = PhaseEvent | ProgressEvent | RecordEvent | IterationEvent | WarningEvent | ResultEvent
Event = Measured | AnswerEvent | ErrorEvent


@functools.cache
def _events() -> TypeAdapter[Event]:
    from pydantic import Field, TypeAdapter

    return TypeAdapter(Annotated[Event, Field(discriminator="event")])


@dataclass
class WorkerReport:
    """All events of a worker about one measurement.

    Attributes:
        records: the records, in the order in which the requests ended.
        tokens_at: (time, output tokens so far).
        phase: the current phase.
        measuring: whether the measurement has begun.
        answers: in the order in which they came.
    """

    records: list[RequestRecord] = field(default_factory=list)
    iterations: list[IterationSample] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    tokens_at: list[tuple[float, int]] = field(default_factory=list)
    phase: Phase = "starting"
    measuring: bool = False
    answers: list[Answer] = field(default_factory=list)
    last: ResultEvent | ErrorEvent | None = None

    @property
    def result(self) -> ResultEvent:
        """The last event of a measurement that succeeded."""
        assert isinstance(self.last, ResultEvent)
        return self.last

    @property
    def series(self) -> tuple[tuple[float, float], ...]:
        """Output tokens per second over time, as (end of the interval, rate)."""
        return tuple(
            (to_s, (tokens - before) / (to_s - from_s))
            for (from_s, before), (to_s, tokens) in zip(self.tokens_at, self.tokens_at[1:], strict=False)
            if to_s > from_s
        )


class Stopper:
    """The callback for :meth:`WorkerListener.listen` that stops a worker once ``enough`` returns true.

    Attributes:
        stop_sent: whether the line ``stop`` was sent.
    """

    def __init__(self, child: Child, enough: Enough | None) -> None:
        self.stop_sent = False
        self._child, self._enough = child, enough

    def __call__(self, record: RequestRecord) -> None:
        """Check the record of a request that ended."""
        if not self.stop_sent and self._enough is not None and self._enough(record):
            self.stop_sent = True
            self._child.send(STOP)


class WorkerListener:
    """A reader of a worker's events that describes each failure in one sentence.

    Args:
        name: the scenario's name; begins every message.
        observer: receives phases, progress and records.
        log: the file that keeps the worker's output.
        startup_timeout_s: the longest time until the measurement begins, in seconds.
        run_timeout_s: the longest measured time, in seconds.
        next_steps: the engine's own next steps, by the name of the family of causes.
    """

    who = "the engine"
    """The engine's name in messages."""

    def __init__(
        self,
        name: str,
        observer: Observer,
        *,
        log: Path,
        startup_timeout_s: float,
        run_timeout_s: float,
        next_steps: why.NextSteps,
    ) -> None:
        self.name = name
        self.observer = observer
        self.log = log
        self.reader = LogReader()
        self._unsearched: str | None = None
        self._given_up = self.interrupted = False
        self._next_steps = next_steps
        self._startup_timeout_s, self._run_timeout_s = startup_timeout_s, run_timeout_s

    def listen(self, child: Child, ended: Callable[[RequestRecord], None] = lambda _: None) -> WorkerReport:
        """Read until a measurement is over.

        Args:
            child: the worker.
            ended: called with the record of each request that ended.

        Raises:
            EngineError: the worker failed, or exceeded a limit.
        """
        report, measuring = WorkerReport(), False
        waiting, what = Waiting(self.reader, self._startup_timeout_s), "engine.startup_timeout_s"
        while not report.last:
            lines = child.read(waiting.poll_s)
            self._unsearched = child.unsearched
            for line in lines:
                if queued := waiting.heard(line.text):
                    self.observer.phase("starting", queued)
                self._take(line, report, ended)
            if report.last:
                break
            if report.measuring and not measuring:
                measuring, what = True, "engine.run_timeout_s"
                waiting.restart(self._run_timeout_s)
            elif not lines and child.returncode is not None:
                raise self.failure(self._death(child.returncode))
            elif waiting.hopeless:
                raise self.failure(f"{self.symptom()}; {waiting.given_up}")
            elif waiting.over:
                missed = "finish" if measuring else "start to measure"
                slow = f"{self.who} did not {missed} within {waiting.limit_s:g} s and was stopped"
                symptom = self.symptom()
                raise self.failure(
                    f"{symptom}; {slow}" if symptom else f"{slow}; if it was only slow, raise {what}"
                )
            self.check(child, report)
        if isinstance(report.last, ErrorEvent):
            self.read_to_end(child)
            raise self.failure(self._of_error(report.last.message))
        report.warnings += [self._unsearched] if self._unsearched else []
        return report

    def answers(self, child: Child, sets: Sequence[QuestionSet]) -> tuple[Answer, ...]:
        """Ask the job's questions, read until the worker has answered all, and return an answer to each.

        A worker that fails, or gives no answer for as long as a measurement may take, costs only the answers.
        So does Ctrl-C, which ``interrupted`` then says.
        """
        ids = [question.id for each in sets for question in each.questions]
        report = WorkerReport(phase="finishing")
        why = ""
        try:
            if ids:
                child.send(ASK)
                self._listen_to_answers(child, report, len(ids))
        except EngineError as error:
            why = str(error).removeprefix(f"{self.name}: ").partition("\n")[0]
            self._given_up = True
        except KeyboardInterrupt:
            why, self._given_up, self.interrupted = "interrupted", True, True
        found = {answer.id: answer for answer in report.answers}
        return tuple(found.get(each) or Answer(each, error=f"not answered: {why}") for each in ids)

    def _listen_to_answers(self, child: Child, report: WorkerReport, total: int) -> None:
        waiting = Waiting(self.reader, self._run_timeout_s)
        while (done := len(report.answers)) < total:
            self.observer.phase("finishing", f"accuracy: {done} of {total} answers")
            lines = child.read(waiting.poll_s)
            for line in lines:
                self._take(line, report, lambda _: None)
            if len(report.answers) > done:
                waiting.restart(self._run_timeout_s)
            elif isinstance(report.last, ErrorEvent):
                raise self.failure(self._of_error(report.last.message))
            elif not lines and child.returncode is not None:
                raise self.failure(self._death(child.returncode))
            elif waiting.over:
                raise self.failure(f"{self.who} gave no answer within {waiting.limit_s:g} s")
            self.check(child, report)
        self.observer.phase("finishing", f"accuracy: {total} of {total} answers")

    def read_to_end(self, child: Child, limit_s: float = ENDING_S) -> None:
        """Read until the worker has ended by itself, but no longer than ``limit_s`` seconds.

        One that failed while it answered is not waited for: it may hang.
        """
        limit_s = min(limit_s, _GIVEN_UP_S) if self._given_up else limit_s
        rest, until = WorkerReport(), time.monotonic() + limit_s
        while (left_s := until - time.monotonic()) > 0:
            lines = child.read(left_s)
            if not lines and child.returncode is not None:
                break
            for line in lines:
                self._take(line, rest, lambda _: None)

    def symptom(self) -> str | None:
        """Return the cause of a failure that the log shows, in one sentence; None if it shows none."""
        cause = why.symptom(self.reader, self._next_steps)
        return cause and f"{self.who} {cause}"

    def check(self, child: Child, report: WorkerReport) -> None:
        """Check a worker that may be silent. May raise EngineError."""

    def logged(self, line: Line, report: WorkerReport) -> None:
        """Take a line of the log."""

    def failure(self, sentence: str) -> EngineError:
        """Return an error with this sentence and the relevant lines of the log."""
        unsearched = f"; {self._unsearched}" if self._unsearched else ""
        return EngineError(f"{self.name}: {sentence}{unsearched}{self.reader.quoted(self.log)}")

    def _take(self, line: Line, report: WorkerReport, ended: Callable[[RequestRecord], None]) -> None:
        if line.kind == "log":
            self.reader.take(line.text)
            self.logged(line, report)
            return
        try:
            event = _events().validate_json(line.text)
        except ValueError as error:
            raise self.failure(f"{self.who}'s worker wrote an invalid event: {line.text[:200]!r}") from error
        match event:
            case PhaseEvent():
                report.phase = event.phase
                if event.phase == "measuring":
                    self.reader.enter("running")
                    report.measuring = True
                    report.tokens_at.append((event.time_s, 0))
                self.observer.phase(event.phase, event.detail)
            case ProgressEvent():
                report.tokens_at.append((event.time_s, event.output_tokens))
                self.observer.progress(event.requests, event.output_tokens)
            case RecordEvent():
                report.records.append(event.record)
                self.observer.record(event.record)
                ended(event.record)
            case IterationEvent():
                report.iterations.append(event.iteration)
            case AnswerEvent():
                report.answers.append(event.answer)
            case WarningEvent():
                report.warnings.append(event.message)
            case ResultEvent() | ErrorEvent():
                report.last = event

    def _of_error(self, message: str) -> str:
        """Return the reason of a worker that reported an error.

        It is the worker's own sentence, unless this only repeats an exception and the log shows more.
        """
        cause = self.reader.cause
        known = cause is not None and (cause.family is not None or cause.number is not None)
        repeats = message.startswith(f"{self.who} failed: ")
        return (self.symptom() if known and repeats else None) or message

    def _death(self, returncode: int) -> str:
        """Return the reason why a worker ended without a last event, in one sentence."""
        reason = why.explained(self.reader, returncode, self._next_steps, self.who)
        if reason:
            return f"{self.who} {reason}"
        return f"{self.who}'s worker ended with exit status {returncode} and no result"
