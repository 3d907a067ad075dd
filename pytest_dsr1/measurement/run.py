"""One run: the engine answers the workload while the GPUs are watched, and everything is saved as it goes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_dsr1.engines.protocol import Engine, EngineResult, Job
from pytest_dsr1.errors import Dsr1Error
from pytest_dsr1.machine import warm_start
from pytest_dsr1.machine.values import Fingerprint
from pytest_dsr1.measurement.consistency import suspicions
from pytest_dsr1.measurement.measurement import Measurement
from pytest_dsr1.measurement.metrics import combine, from_records, of_scenario
from pytest_dsr1.measurement.store import ResultFolder
from pytest_dsr1.records import Enough, Observer, Phase, RequestRecord
from pytest_dsr1.scenario.schema.scenario import Scenario
from pytest_dsr1.workload.dataset import mean_tokens

if TYPE_CHECKING:
    from pytest_dsr1.machine.lease import Machine
    from pytest_dsr1.machine.values import FactValue, Finding
    from pytest_dsr1.workload.checkpoint import CheckpointFacts
    from pytest_dsr1.workload.workload import Workload


def expected_s(scenario: Scenario) -> float | None:
    """How long the measured part takes when the targets are met exactly, in s.

    From the first target that says how fast tokens or requests come out; no longer than requests are sent;
    None when no target does.
    """
    requests, concurrency = scenario.load.num_requests, scenario.load.concurrency
    tokens = requests * mean_tokens(scenario.dataset.output_tokens)
    gpus = max(scenario.hardware.count, 1)
    for target in scenario.targets:
        rate_tok_s = {
            "total_output_throughput": target.value,
            "per_gpu_output_throughput": target.value * gpus,
            "per_user_output_throughput": target.value * min(concurrency, requests),
            "request_throughput": target.value * tokens / requests,
        }.get(target.metric)
        if rate_tok_s:
            return min(tokens / rate_tok_s, scenario.load.duration_s or float("inf"))
    return None


def run_timeout_s(scenario: Scenario) -> float:
    """The longest measured time: the scenario's, else three times the plan plus 10 minutes."""
    return scenario.engine.measuring_limit_s or 3 * (expected_s(scenario) or 0.0) + 600


@dataclass(frozen=True, slots=True)
class _Recorder:
    """Passes everything on to who watches, and writes each record down."""

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


Watch = Callable[[float, Callable[[], str]], AbstractContextManager[Observer]]
"""Makes the observer of a run from its expected duration in s, and from what the GPUs do now."""


def _content(checkpoint: CheckpointFacts, workload: Workload) -> dict[str, FactValue]:
    """What was run on what, for the fingerprint."""
    return {
        "model.content": checkpoint.content_key,
        "dataset.content": workload.sha256,
        "dataset.requests": workload.requests,
    }


def _versions(result: EngineResult) -> dict[str, FactValue]:
    """The software the engine really ran, which need not be what this process would import."""
    return {f"engine.{name}": version for name, version in result.versions.items()}


def options_of(scenario: Scenario) -> dict[str, FactValue]:
    """What was asked of the engine, flat: ``option.engine.tp``, ``option.load.concurrency`` ..."""
    flat: dict[str, FactValue] = {}

    def add(key: str, value: Any) -> None:
        if isinstance(value, dict):
            for name, inner in value.items():
                add(f"{key}.{name}", inner)
        elif value is not None:
            flat[key] = [str(item) for item in value] if isinstance(value, list) else value

    asked = scenario.model_dump(mode="json")
    for part in ("engine", "load", "gpu_setup"):
        add(f"option.{part}", asked[part])
    return flat


def _environ(scenario: Scenario) -> dict[str, str]:
    """The engine's environment."""
    return {**os.environ, **scenario.engine.process_environment}


def _of_the_run(
    result: EngineResult, workload: Workload, before: warm_start.Snapshot, after: warm_start.Snapshot
) -> Iterator[str]:
    """What a person must know of the run as a whole."""
    if result.stopped:
        yield (
            f"the measurement was stopped early, after {len(result.records)} of {workload.requests} requests"
        )
    for folder in dict.fromkeys((*before.too_large, *after.too_large)):
        yield (
            f"{folder} holds more than {warm_start.MOST_ENTRIES:,} files, so nobody can say whether this "
            "start compiled anything there; delete what is old in it"
        )


def facts_before(
    machine: Machine, checkpoint: CheckpointFacts, workload: Workload, scenario: Scenario
) -> Fingerprint:
    """The fingerprint of a run before it is made: all but what the engine itself tells of its software."""
    return machine.fingerprint({**_content(checkpoint, workload), **options_of(scenario)})


def measure(
    scenario: Scenario,
    place: str,
    *,
    engine: Engine,
    machine: Machine,
    findings: tuple[Finding, ...],
    checkpoint: CheckpointFacts,
    workload: Workload,
    results: Path,
    watch: Watch,
    saved_in: Callable[[Path], None],
    enough: Enough | None = None,
) -> Measurement:
    """Run the scenario once and save it.

    Args:
        scenario: resolved.
        place: the scenario's path in test ids.
        engine: a new one.
        machine: locked and set up.
        findings: of the preflight.
        checkpoint: the model.
        workload: the requests, all of which are sent.
        results: the folder of results.
        watch: makes the observer.
        saved_in: is told the folder before anything can fail in it.
        enough: ends the run early (:class:`~pytest_dsr1.engines.protocol.Job`).

    Raises:
        Dsr1Error: the run failed; the result folder says so too.
    """
    started = datetime.now(timezone.utc)
    unix_minus_monotonic_s = time.time() - time.monotonic()
    planned_s = (expected_s(scenario) or 0.0) * workload.requests / scenario.load.num_requests
    with ResultFolder.create(results, scenario, place, started) as folder:
        saved_in(folder.path)
        try:
            with (
                machine.watched(folder.path / "telemetry.jsonl") as watched,
                watch(planned_s, machine.now) as watcher,
            ):
                job = Job(scenario, workload, folder.engine, run_timeout_s(scenario), enough)
                before = warm_start.snapshot(_environ(scenario))
                result = engine.run(job, _Recorder(watcher, folder, machine))
                after = warm_start.snapshot(_environ(scenario))
            from_s, to_s = result.measured_from_s, result.measured_to_s
            told = from_records(result.records, result.gpus) | of_scenario(result.records, scenario)
            metrics = combine(result.report, told)
            doubts = (
                *_of_the_run(result, workload, before, after),
                *suspicions(scenario, result.report, told, metrics),
            )
            measurement = Measurement(
                scenario=scenario,
                place=place,
                started_utc=started.isoformat(timespec="milliseconds"),
                unix_minus_monotonic_s=unix_minus_monotonic_s,
                workload=workload,
                fingerprint=Fingerprint(
                    {**facts_before(machine, checkpoint, workload, scenario).facts, **_versions(result)}
                ),
                findings=(*findings, *machine.findings, *machine.assess(from_s, to_s)),
                result=replace(result, warnings=(*workload.warnings, *result.warnings, *doubts)),
                telemetry=watched.telemetry,
                metrics=metrics,
                folder=folder.path,
                gpu_health=machine.summary(from_s, to_s),
                caches_filled=warm_start.filled(before, after),
            )
            folder.complete(measurement)
        except Dsr1Error as error:
            folder.fail(str(error))
            raise
        except BaseException as error:
            folder.fail(f"ended by {type(error).__name__}")
            raise
    return measurement
