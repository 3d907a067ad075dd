"""The seam between a measurement and whatever answers it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from pytest_dsr1.scenario.model import Scenario
from pytest_dsr1.workload.values import Workload

Phase = Literal["starting", "loading", "warm-up", "measuring", "finishing"]


@dataclass(frozen=True, slots=True)
class EngineTimes:
    """A request's times inside the engine, in seconds on the host's monotonic clock.

    Attributes:
        arrival_s: when the engine took it; before ``first_scheduled_s`` it waits in the engine's queue, and
            from then to ``first_token_s`` it is read (prefill).
    """

    arrival_s: float
    first_scheduled_s: float
    first_token_s: float
    last_token_s: float


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """One request. Times are seconds on the host's monotonic clock (``time.monotonic``).

    Attributes:
        id: the request's place in the dataset, from 0.
        submitted_s: when it was handed to the engine, after it got its concurrency slot.
        first_token_s: when its first token was seen; None where the engine does not stream.
        last_token_s: when its last token was seen.
        input_tokens: tokens in.
        output_tokens: tokens out.
        decoding_iterations: steps that made them; fewer than tokens with MTP; None where unknown.
        error: why it failed; None if it did not.
        scheduled_s: when it was due in an open loop; its latency counts from here. None in a closed loop.
        events: events of the stream that carried tokens; None where the engine has no such thing.
        engine: its times inside the engine, where it tells them.
        resent: whether it was sent a second time: the server closed the kept connection just as it was sent.
    """

    id: int
    submitted_s: float
    first_token_s: float | None
    last_token_s: float
    input_tokens: int
    output_tokens: int
    decoding_iterations: int | None = None
    error: str | None = None
    scheduled_s: float | None = None
    events: int | None = None
    engine: EngineTimes | None = None
    resent: bool = False

    @property
    def start_s(self) -> float:
        """From when its latency counts: waiting on our side of an open loop is the server's doing too."""
        return self.submitted_s if self.scheduled_s is None else self.scheduled_s


Enough = Callable[[RequestRecord], bool]
"""Asked after each request that ended, or failed, whether the measurement has shown what it should."""


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
        facts: what else is worth keeping with the result, such as the bandwidth bound; JSON values.
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
    facts: Mapping[str, object] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    series: tuple[tuple[float, float], ...] = ()
    stopped: bool = False


class Observer(Protocol):
    """Who watches a run: the progress line and the result that is written as the run goes."""

    def phase(self, phase: Phase, detail: str = "") -> None:
        """A new phase began; ``detail`` is what the engine last said about it."""

    def progress(self, requests: int, output_tokens: int) -> None:
        """So many measured requests, and output tokens, are done so far."""

    def record(self, record: RequestRecord) -> None:
        """A measured request ended."""


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
