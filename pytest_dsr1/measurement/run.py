"""One run: the engine answers the workload, the GPUs are watched, and everything is saved during the run."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import BaseModel

from pytest_dsr1.engines import in_effect, registry
from pytest_dsr1.engines.in_effect import differing
from pytest_dsr1.engines.protocol import AskingInterruptedError, Engine, EngineResult, Job
from pytest_dsr1.errors import Dsr1Error
from pytest_dsr1.machine import warm_start
from pytest_dsr1.machine.fingerprint import slurm_facts
from pytest_dsr1.machine.named_files import file_facts, rewritten
from pytest_dsr1.machine.values import Fingerprint
from pytest_dsr1.measurement.consistency import suspicions, without_zeros
from pytest_dsr1.measurement.expected import expected_s, run_timeout_s
from pytest_dsr1.measurement.inputs import metric_inputs
from pytest_dsr1.measurement.measurement import DEFINITIONS, STOPPED_EARLY, Measurement
from pytest_dsr1.measurement.probing import Prober, Probing
from pytest_dsr1.measurement.store import ResultFolder, forced_by_hand, not_full
from pytest_dsr1.metrics.catalogue import combine, computed
from pytest_dsr1.records import Enough, Observer, Phase, RequestRecord
from pytest_dsr1.scenario.schema.scenario import Scenario
from pytest_dsr1.scenario.schema.site import Site
from pytest_dsr1.scenario.variables import without_secrets
from pytest_dsr1.workload.questions import Questions

if TYPE_CHECKING:
    from pytest_dsr1.findings import Finding
    from pytest_dsr1.machine.lease import Machine
    from pytest_dsr1.machine.values import FactValue
    from pytest_dsr1.workload.checkpoint import CheckpointFacts
    from pytest_dsr1.workload.workload import Workload


@dataclass(frozen=True, slots=True)
class _Recorder:
    """An observer that saves each record and passes everything on to another observer."""

    watcher: Observer
    folder: ResultFolder
    machine: Machine

    def phase(self, phase: Phase, detail: str = "") -> None:
        if phase == "measuring":
            self.machine.measuring()
        self.watcher.phase(phase, detail)

    def progress(self, requests: int, output_tokens: int) -> None:
        self.watcher.progress(requests, output_tokens)

    def record(self, record: RequestRecord) -> None:
        self.folder.record(record)
        self.watcher.record(record)


class Watch(Protocol):
    """A function that makes the observer of a run."""

    def __call__(
        self, scenario: Scenario, expected_s: float, gpus: Callable[[], str]
    ) -> AbstractContextManager[Observer]:
        """Watch a run.

        Args:
            scenario: as it runs.
            expected_s: how long the measurement should take.
            gpus: returns what the GPUs do now, as text; empty on the CPU.
        """


@dataclass(frozen=True, slots=True)
class RunRequest:
    """A request for one run.

    Attributes:
        scenario: resolved.
        test_id_prefix: the scenario's path in test ids.
        engine: a new one.
        machine: locked and set up.
        findings: from the preflight.
        checkpoint: the model.
        workload: the requests; all are sent.
        results: the folder of results.
        site: the cluster.
        enough: ends the run early (:class:`~pytest_dsr1.engines.protocol.Job`).
        questions: asked after the measured part.
        probing: how its GPUs are probed before and after the run; None if they are not.
        drains: wait for the requests in flight after ``enough``, for a server that is kept.
    """

    scenario: Scenario
    test_id_prefix: str
    engine: Engine
    machine: Machine
    findings: tuple[Finding, ...]
    checkpoint: CheckpointFacts
    workload: Workload
    results: Path
    site: Site = field(default_factory=Site)
    enough: Enough | None = None
    questions: Questions = field(default_factory=Questions)
    probing: Probing | None = None
    drains: bool = False

    @property
    def expected_s(self) -> float:
        """The time that this part of the scenario's requests should take, in s; 0 if no target is a rate."""
        return (expected_s(self.scenario) or 0.0) * self.workload.requests / self.scenario.load.num_requests


def _content(checkpoint: CheckpointFacts, workload: Workload) -> dict[str, FactValue]:
    """Return the model and the dataset, for the fingerprint."""
    return {
        "model.content": checkpoint.content_key,
        "dataset.content": workload.sha256,
        "dataset.requests": workload.requests,
    }


def _of_the_engine(result: EngineResult) -> dict[str, FactValue]:
    """Return the versions and options that really ran; this process might import other versions."""
    versions: dict[str, FactValue] = {f"engine.{name}": found for name, found in result.versions.items()}
    return {**versions, **in_effect.facts(result.facts.options_in_effect)}


def options_of(scenario: Scenario) -> dict[str, FactValue]:
    """Return the settings of a run, flat: ``option.engine.tp``, ``option.load.concurrency`` ..."""
    flat: dict[str, FactValue] = {}

    def add(key: str, value: Any) -> None:
        if isinstance(value, dict):
            for name, inner in value.items():
                add(f"{key}.{name}", inner)
        elif value is not None:
            flat[key] = [str(item) for item in value] if isinstance(value, list) else value

    shown = without_secrets(scenario)
    for part in ("engine", "load", "gpu_setup", "speculation"):
        if (settings := getattr(shown, part)) is not None:
            add(f"option.{part}", _worded(settings))
    return flat


def _worded(part: BaseModel) -> dict[str, Any]:
    """Return a part of a scenario as plain data, with words for what its free mappings give no value.

    In our own keys null says "not given", and `{}` says something if no mapping is the default. In a mapping
    of the user's, such as fields of a request or options of a server, null and `{}` say something.
    """
    plain = part.model_dump(mode="json")
    for name, value in part:
        if isinstance(value, BaseModel):
            given = value.model_dump(exclude_none=True) or type(part).model_fields[name].default is not None
            plain[name] = _worded(value) if given else "{}"
        elif isinstance(value, dict):
            plain[name] = {key: _word(inner) for key, inner in plain[name].items()}
    return plain


def _word(value: Any) -> Any:
    if isinstance(value, dict) and value:
        return {key: _word(inner) for key, inner in value.items()}
    return "null" if value is None else "{}" if value == {} else value


def _compiled(scenario: Scenario) -> warm_start.Snapshot:
    engine = scenario.engine
    return warm_start.snapshot([{**os.environ, **own} for own in engine.process_environments], engine)


def _of_the_run(
    result: EngineResult,
    workload: Workload,
    before: warm_start.Snapshot,
    after: warm_start.Snapshot,
    written: list[str],
) -> Iterator[str]:
    """Yield the warnings about the run as a whole."""
    if result.stopped:
        yield (f"{STOPPED_EARLY}, after {len(result.records)} of {workload.requests} requests")
    if written:
        more = f" and {len(written) - 3} more" if len(written) > 3 else ""
        yield (
            f"{', '.join(written[:3])}{more}: changed during the run, so not compared with other runs; if "
            "the engine reads this file, do not change it during a run"
        )
    for folder in dict.fromkeys((*before.too_large, *after.too_large)):
        yield (
            f"{folder} holds more than {warm_start.MOST_ENTRIES:,} files, so it is unknown whether this "
            "start compiled anything there; delete old files in it"
        )


def facts_before(
    machine: Machine, checkpoint: CheckpointFacts, workload: Workload, scenario: Scenario, site: Site
) -> Fingerprint:
    """Return the fingerprint before a run: everything except the software that the engine reports."""
    named = file_facts(scenario.engine.command_words, Path.cwd())
    # The preflight refuses a variable that forces the acceptance; this is for one that was set after it.
    options = {**forced_by_hand(scenario, os.environ), **options_of(scenario)}
    slurm = slurm_facts(scenario, site, os.environ)
    return machine.fingerprint({**_content(checkpoint, workload), **options, **named, **slurm})


def measure(run: RunRequest, watch: Watch, saved_in: Callable[[Path], None]) -> Measurement:
    """Answer the workload once and save it.

    Args:
        run: the request for the run.
        watch: makes the observer.
        saved_in: called with the folder before the run starts.

    Raises:
        Dsr1Error: the run failed; the result folder says so, too.
    """
    started = datetime.now(timezone.utc)
    unix_minus_monotonic_s = time.time() - time.monotonic()
    shown = without_secrets(run.scenario)
    with ResultFolder.create(run.results, shown, run.test_id_prefix, started) as folder:
        saved_in(folder.path)
        prober = Prober(run.probing, run.machine, folder.path)
        try:
            # Outside of the telemetry, which would take the probes for another user's process.
            prober.look("before")
            with (
                run.machine.watched(folder.path / "telemetry.jsonl") as watched,
                watch(run.scenario, run.expected_s, run.machine.now) as watcher,
            ):
                # Before the engine reads the files that its command names.
                facts = facts_before(run.machine, run.checkpoint, run.workload, run.scenario, run.site)
                before = _compiled(run.scenario)
                recorder = _Recorder(watcher, folder, run.machine)
                result, interrupted = _ran(run, folder, recorder)
                after = _compiled(run.scenario)
            if interrupted is None:
                prober.look("after")
            written = rewritten(facts.facts, file_facts(run.scenario.engine.command_words, Path.cwd()))
            stable = {key: fact for key, fact in facts.facts.items() if key not in written}
            made = Measurement(
                scenario=shown,
                test_id_prefix=run.test_id_prefix,
                started_utc=started.isoformat(timespec="milliseconds"),
                unix_minus_monotonic_s=unix_minus_monotonic_s,
                workload=run.workload,
                fingerprint=Fingerprint({**stable, **_of_the_engine(result), **prober.facts}),
                findings=(*_findings(run, result), *prober.findings),
                result=replace(result, answers=()),
                telemetry=watched.telemetry,
                metrics={},
                folder=folder.path,
                gpu_health=run.machine.summary(result.measured_from_s, result.measured_to_s),
                caches_filled=warm_start.filled(before, after),
                cpu_load=run.machine.cpu_load(result.measured_from_s, result.measured_to_s),
                definitions=DEFINITIONS,
                asked=run.questions.answered(result.answers),
            )
            measurement = _with_metrics(made, _of_the_run(result, run.workload, before, after, written))
            folder.complete(measurement)
        except Dsr1Error as error:
            folder.fail(str(error))
            raise
        except BaseException as error:
            folder.fail(f"ended by {type(error).__name__}")
            raise
    if interrupted is not None:
        raise interrupted
    return measurement


def _ran(
    run: RunRequest, folder: ResultFolder, observer: Observer
) -> tuple[EngineResult, KeyboardInterrupt | None]:
    """Return the engine's result, and Ctrl-C after the measured part: the result is saved first."""
    try:
        with not_full(folder.engine):
            return registry.run(run.scenario.engine, run.engine, _job(run, folder), observer), None
    except AskingInterruptedError as stop:
        return stop.result, stop


def _job(run: RunRequest, folder: ResultFolder) -> Job:
    limit_s = run_timeout_s(run.scenario)
    return Job(
        run.scenario,
        run.workload,
        folder.engine,
        limit_s,
        run.enough,
        run.questions.sets,
        run.drains,
        run.site,
        run.machine.free_port,
    )


def _findings(run: RunRequest, result: EngineResult) -> tuple[Finding, ...]:
    of_telemetry = run.machine.assess(result.measured_from_s, result.measured_to_s)
    return (*run.findings, *run.machine.findings, *of_telemetry)


def _with_metrics(made: Measurement, of_the_run: Iterable[str]) -> Measurement:
    """Return the measurement with its metrics and all warnings."""
    scenario, result = made.scenario, made.result
    failed: list[str] = []
    from_records = computed(metric_inputs(scenario, result, made.gpu_health), failed.append)
    not_measured = result.facts.not_measured
    found = combine(result.report, from_records)
    measured = {name: value for name, value in found.items() if name not in not_measured}
    metrics, zeros = without_zeros(measured)
    warnings = (
        *made.workload.warnings,
        *result.warnings,
        *of_the_run,
        *(f"engine option {each}" for each in differing(result.facts.options_in_effect, matter=False)),
        *suspicions(scenario, result.report, from_records, metrics),
        *zeros,
        *failed,
    )
    return replace(made, metrics=metrics, result=replace(result, warnings=warnings))
