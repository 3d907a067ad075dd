"""Made-up saved results, as a run on GPUs would leave them, to test and time reports."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta, timezone
from json import dumps
from pathlib import Path

from pytest_dsr1.engines.protocol import EngineResult
from pytest_dsr1.errors import InvalidRunError
from pytest_dsr1.gate import comparability
from pytest_dsr1.gate.reference_file import noise_of, write
from pytest_dsr1.gate.references import Acceptance, ReferenceRun, References, noise_by
from pytest_dsr1.machine.telemetry.health import GpuSummary, assess, summary
from pytest_dsr1.machine.values import Fingerprint, GpuSample, Telemetry
from pytest_dsr1.measurement.measurement import Measurement
from pytest_dsr1.measurement.store import ResultFolder
from pytest_dsr1.metrics.catalogue import METRICS, combine
from pytest_dsr1.records import RequestRecord
from pytest_dsr1.scenario.loading import load
from pytest_dsr1.scenario.profiles import shipped_suites
from pytest_dsr1.scenario.schema.scenario import Scenario
from pytest_dsr1.session.state import ScenarioOutcome, listed
from pytest_dsr1.steady.figure import steady_figure, warmup_of
from pytest_dsr1.steady.trace import trace
from pytest_dsr1.study.eligibility import gated_metric
from pytest_dsr1.verdict.targets import judge
from pytest_dsr1.verdict.validity import invalid_reasons
from pytest_dsr1.verdict.verdict import Status
from pytest_dsr1.workload.workload import Workload
from tests.helpers.metrics import of_run

BEGAN = datetime(2026, 11, 20, 8, 0, tzinfo=timezone.utc)


@dataclass(frozen=True, slots=True)
class Made:
    """The properties of a made-up run.

    Attributes:
        suite: the shipped scenario, such as ``h200/max-throughput``.
        speed: the share of the published rate.
        waves: the number of waves of ``load.concurrency`` requests.
        concurrency: the concurrency, instead of the scenario's.
        throttled: a GPU and the begin and end of its hot time, as shares of the run.
        sample_s: seconds between two samples of a GPU.
        day: days after :data:`BEGAN`.
        facts: facts that replace those of the fingerprint.
        overrides: ``KEY=VALUE`` for the scenario.
        seed: the seed of everything random.
    """

    suite: str = "h200/max-throughput"
    speed: float = 1.0
    waves: int = 5
    concurrency: int = 256
    throttled: tuple[int, float, float] | None = None
    sample_s: float = 1.0
    day: float = 0.0
    facts: Sequence[tuple[str, str]] = ()
    overrides: tuple[str, ...] = ()
    seed: int = 1


def save(
    results: Path, made: Made = Made(), change: Callable[[Measurement], Measurement] = lambda run: run
) -> Measurement:
    """Save a made-up run below a folder of results, in the same way as a real one.

    Args:
        results: the folder of results.
        made: its properties.
        change: changes the run before it is saved.
    """
    path = shipped_suites() / f"{made.suite}.yaml"
    number = made.concurrency * made.waves
    changes = (f"load.concurrency={made.concurrency}", f"load.num_requests={number}", *made.overrides)
    scenario = load(path, overrides=changes).scenario
    began = BEGAN + timedelta(days=made.day)
    records = _records(scenario, made)
    to_s = max(record.last_token_s for record in records)
    telemetry = _telemetry(scenario, made, to_s)
    found = assess(telemetry, scenario.validity, 1000.0, to_s)
    metrics = of_run(records, scenario)
    with ResultFolder.create(results, scenario, f"suites/{made.suite}.yaml", began) as folder:
        lines = "".join(f"{dumps(asdict(sample))}\n" for sample in telemetry.samples)
        (folder.path / "telemetry.jsonl").write_text(lines, encoding="utf-8")
        (folder.engine / "command.sh").write_text("trtllm-bench --model ...\n", encoding="utf-8")
        measurement = Measurement(
            scenario=scenario,
            test_id_prefix=f"suites/{made.suite}.yaml",
            started_utc=began.isoformat(timespec="seconds"),
            unix_minus_monotonic_s=began.timestamp() - 900.0,
            workload=Workload(Path("dataset.jsonl"), number, "5e" * 32, True, 1024.0, 1024, 2048.0, 2048),
            fingerprint=_fingerprint(scenario, made),
            findings=found,
            result=EngineResult(
                records, {}, 1000.0, to_s, scenario.hardware.count, versions={"tensorrt-llm": "1.2.1"}
            ),
            telemetry=telemetry,
            metrics=combine({}, metrics),
            folder=folder.path,
            gpu_health=_without_energy(summary(telemetry, 1000.0, to_s)),
        )
        measurement = change(measurement)
        folder.complete(measurement)
    return measurement


def _without_energy(health: GpuSummary | None) -> GpuSummary | None:
    """Return the summary as a version without energy metrics saved it: the samples are too far apart."""
    return health and replace(health, why_no_energy=None)


def _records(scenario: Scenario, made: Made) -> tuple[RequestRecord, ...]:
    """Return a closed loop whose requests take about the published time."""
    rng = random.Random(made.seed)
    target = scenario.targets[0].value * made.speed
    users = made.concurrency
    rate = target / users if scenario.targets[0].metric.startswith("total_output") else target
    free = [1000.0 + rng.random() * 3 for _ in range(users)]
    tokens, records = 2048, []
    for number in range(users * made.waves):
        start_s = free[number % users]
        slow = 1.12 if number < users else 1.0  # the first wave is read all at once
        latency_s = tokens / rate * slow * rng.gauss(1.0, 0.02)
        first_s = start_s + latency_s * 0.04 * rng.lognormvariate(0.0, 0.5)
        records.append(
            RequestRecord(
                number, start_s, first_s, start_s + latency_s, 1024, tokens, decoding_iterations=tokens
            )
        )
        free[number % users] = start_s + latency_s + 0.002
    return tuple(records)


def _telemetry(scenario: Scenario, made: Made, to_s: float) -> Telemetry:
    rng = random.Random(made.seed + 1)
    gpus = range(scenario.hardware.count)
    samples = []
    time_s = 1000.0 - 5 * made.sample_s
    while time_s < to_s and gpus:
        share = (time_s - 1000.0) / (to_s - 1000.0)
        for gpu in gpus:
            hot = (
                made.throttled is not None
                and gpu == made.throttled[0]
                and (made.throttled[1] <= share <= made.throttled[2])
            )
            samples.append(
                GpuSample(
                    time_s=time_s,
                    gpu=gpu,
                    sm_clock_mhz=1410 if hot else 1980 - 15 * rng.randrange(3),
                    memory_clock_mhz=3201,
                    power_w=480.0 if hot else 610 + 4 * gpu + rng.gauss(0, 12),
                    energy_j=None,
                    temperature_c=88 if hot else 61 + gpu % 4 + rng.randrange(3),
                    memory_used_gib=131.0,
                    utilization_percent=99,
                    throttle_reasons=0x40 if hot else 0,
                )
            )
        time_s += made.sample_s
    none = tuple(0 for _ in gpus)
    return Telemetry(
        interval_s=made.sample_s,
        gpus=tuple(gpus),
        max_sm_clock_mhz=tuple(1980 for _ in gpus),
        samples=tuple(samples),
        ecc_uncorrected_before=none,
        ecc_uncorrected_after=none,
    )


def _fingerprint(scenario: Scenario, made: Made) -> Fingerprint:
    count = scenario.hardware.count
    gpus = {
        "gpu.name": scenario.hardware.gpu,
        "gpu.uuids": [f"GPU-{index:08d}" for index in range(count)],
        "gpu.power_limit_w": 700.0,
        "driver": "575.57.08",
    }
    return Fingerprint(
        {
            **(gpus if count else {}),
            "gpu.count": count,
            "cpu.model": "INTEL(R) XEON(R) PLATINUM 8558",
            "cpu.cores": 192,
            "hostname": "dgx-17",
            "model.content": "a1" * 32,
            "dataset.content": "5e" * 32,
            "engine.tensorrt-llm": "1.2.1",
            "library.torch": "2.9.0",
            "option.engine.max_batch_size": 128,
            "option.load.concurrency": scenario.load.concurrency,
            **dict(made.facts),
        }
    )


def slower(made: Made, share: float) -> Made:
    """Return the same run with a share of its speed."""
    return replace(made, speed=made.speed * share)


def judged(measurement: Measurement, made: Made, store: Path | None = None) -> ScenarioOutcome:
    """Return a session's outcome for the run: its verdicts, or why it does not count.

    The noise comes from the references in the store; without a store it is assumed.
    """
    changes = (f"load.concurrency={made.concurrency}", f"load.num_requests={made.concurrency * made.waves}")
    loaded = load(shipped_suites() / f"{made.suite}.yaml", overrides=(*changes, *made.overrides))
    outcome = ScenarioOutcome(
        loaded, measurement.test_id_prefix, measurement=measurement, folder=measurement.folder
    )
    reasons = invalid_reasons(measurement)
    if reasons:
        outcome.error = InvalidRunError(listed("the run does not count", reasons))
        return outcome
    scenario, facts = measurement.scenario, measurement.fingerprint.facts
    for index, target in enumerate(scenario.targets):
        presumed = noise_by(None, scenario, facts, target.metric)
        noise = noise_of(store, scenario, facts, target.metric, BEGAN) if store else presumed
        verdict = judge(target, measurement, noise)
        if verdict.status is not Status.PASS:
            where = loaded.where(f"targets.{index}")
            verdict = replace(verdict, message=f"{verdict.message}\n{where}; results: {measurement.folder}")
        outcome.verdicts.append(verdict)
    return outcome


def steady(run: Measurement) -> float:
    """Return the steady output throughput of a run, in tok/s."""
    warmup = warmup_of(run.scenario)
    return steady_figure(trace(run), "total_output_throughput", warmup_requests=warmup).value


def references(store: Path, scenario: Scenario, facts: Fingerprint, values: Sequence[float]) -> None:
    """Accept made-up references with these steady figures, one per day before :data:`BEGAN`."""
    node = comparability.node(facts.facts)
    kept = {
        key: fact
        for key, fact in facts.facts.items()
        if comparability.role(key, {}) != "shown" and key != comparability.NODE
    }
    metric = METRICS[gated_metric(scenario)]
    runs = tuple(
        ReferenceRun(BEGAN - timedelta(days=index + 1), node, value, 0.1, 120.0, 300.0, f"run-{index}")
        for index, value in enumerate(values)
    )
    write(
        store,
        References(
            profile=scenario.name,
            metric=metric.name,
            unit=metric.unit,
            better=metric.better,
            requests=scenario.load.num_requests,
            warmup_requests=warmup_of(scenario),
            accepted=Acceptance(BEGAN, "the team", "TensorRT-LLM 1.2.1", None),
            under_test={},
            facts=kept,
            runs=runs,
        ),
    )
