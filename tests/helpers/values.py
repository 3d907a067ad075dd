"""Small valid values of every package, for tests that check only a part of them."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from pytest_dsr1.case.case import Background, Case, RunData
from pytest_dsr1.case.judgment import Judgment
from pytest_dsr1.engines.protocol import EngineResult
from pytest_dsr1.findings import Finding
from pytest_dsr1.gate.saved import GateRun, SavedAcceptance, SavedGate, SavedReferences
from pytest_dsr1.machine.values import FORCED, Fingerprint, Telemetry
from pytest_dsr1.measurement.measurement import Measurement
from pytest_dsr1.metrics.catalogue import MetricValue, combine
from pytest_dsr1.records import RequestRecord
from pytest_dsr1.scenario.schema.scenario import Scenario, Target
from pytest_dsr1.steady.figure import SteadyFigure
from pytest_dsr1.verdict.accuracy import AccuracyVerdict, Wrong
from pytest_dsr1.verdict.targets import Noise, judge
from pytest_dsr1.verdict.verdict import Status, Verdict
from pytest_dsr1.workload.workload import Workload
from tests.helpers.metrics import from_records

NOISE = Noise(0.01)
"""So little noise that every figure is clearly on one side of its bound."""


def scenario(**changes: Any) -> Scenario:
    """Return a CPU scenario of four requests; ``changes`` replace top-level keys."""
    return Scenario.model_validate(
        {
            "name": "small",
            "description": "Four requests on the CPU.",
            "hardware": {},
            "model": {"name": "deepseek-ai/DeepSeek-R1", "random_weights": {}},
            "dataset": {"input_tokens": 8, "output_tokens": 4},
            "load": {"concurrency": 2, "num_requests": 4},
            "engine": {"type": "transformers"},
            "targets": [{"metric": "total_output_throughput", "value": 8.0}],
            **changes,
        }
    )


def records(count: int = 4, *, latency_s: float = 1.0, streaming: bool = True) -> tuple[RequestRecord, ...]:
    """Return requests two at a time, 8 tokens in, 4 out, the first token after a quarter of the latency."""
    return tuple(
        RequestRecord(
            id=i,
            submitted_s=100.0 + i // 2 * latency_s,
            first_token_s=100.0 + (i // 2 + 0.25) * latency_s if streaming else None,
            last_token_s=100.0 + (i // 2 + 1) * latency_s,
            input_tokens=8,
            output_tokens=4,
            decoding_iterations=4,
        )
        for i in range(count)
    )


def measurement(folder: Path = Path("results"), **changes: Any) -> Measurement:
    """Return a valid measurement of 8 tok/s; ``changes`` replace fields, ``records`` and ``report``."""
    rows = changes.pop("records", records())
    report = changes.pop("report", {})
    result = EngineResult(rows, report, 100.0, 102.0, 0, versions={"torch": "2.13.0"})
    of = changes.get("scenario") or scenario()
    forced = {FORCED: of.speculation.acceptance_length} if of.speculation else {}
    values: dict[str, Any] = {
        "scenario": of,
        "test_id_prefix": "suites/small.yaml",
        "started_utc": "2026-11-23T20:00:00+00:00",
        "unix_minus_monotonic_s": 1.7e9,
        "workload": Workload(Path("dataset.jsonl"), 4, "ab12", True, 8.0, 8, 4.0, 4),
        "fingerprint": Fingerprint({"gpu.count": 0, "library.torch": "2.13.0", **forced}),
        "findings": (Finding("ok", "memory", "enough"),),
        "result": result,
        "telemetry": Telemetry(),
        "metrics": combine(report, from_records(rows, 0)),
        "folder": folder,
    }
    return Measurement(**{**values, **changes})


def verdict(value: float = 8.0, *, noise: Noise = NOISE, measured: Measurement | None = None) -> Verdict:
    """Return a verdict on a throughput of 8 tok/s: PASS if that is within 5% of the value."""
    return judge(Target(metric="total_output_throughput", value=value), measured or measurement(), noise)


def case(name: str = "small", **changes: Any) -> Case:
    """Return a case that meets its one target; ``changes`` replace its fields and those of its parts."""
    run = measurement(Path(".dsr1") / name / "20261123T200512Z")
    lines = {
        "scenario": f"own/{name}.yaml:1",
        "environment": f"own/{name}.yaml:3",
        "target[total_output_throughput]": f"own/{name}.yaml:16",
        "accuracy[questions]": f"own/{name}.yaml:18",
        "accuracy[same_answers]": f"own/{name}.yaml:19",
        "regression[total_output_throughput]": f"own/{name}.yaml:20",
    }
    one = Case(
        scenario=scenario(name=name),
        test_id_prefix=f"own/{name}.yaml",
        machine="CPU, engine transformers",
        headline="total output throughput 8 tok/s is 0.0% above the target 8",
        judgment=Judgment(name, Status.PASS, "", (verdict(),), lines),
        run=RunData(measurement=run, folder=run.folder, run_folder=run.folder),
        background=Background(noise={"total_output_throughput": NOISE}),
    )
    return changed(one, **changes)


def changed(one: Case, **changes: Any) -> Case:
    """Return the case with fields replaced, each in the part that has the field."""
    for part in ("judgment", "run", "background"):
        value = getattr(one, part)
        names = {each.name for each in fields(value)} & changes.keys()
        one = replace(one, **{part: replace(value, **{name: changes.pop(name) for name in names})})
    return replace(one, **changes)


def missed(name: str = "small", *, noise: Noise = NOISE, **changes: Any) -> Case:
    """Return a case that misses its one target: 8 tok/s instead of 10."""
    found = verdict(10.0, noise=noise)
    values: dict[str, Any] = {
        "status": Status.FAIL,
        "verdicts": (found,),
        "headline": found.message.split(";")[0],
        "noise": {found.metric: noise},
    }
    return case(name, **{**values, **changes})


def answers(status: Status = Status.FAIL, name: str = "questions") -> AccuracyVerdict:
    """Return a verdict on answers: 150 of 200 right, or an agreement of 0.5 with those of the references."""
    share, bound = (0.75, 0.8181) if name == "questions" else (0.5, None)
    if status in {Status.INVALID, Status.NO_REFERENCE}:
        return AccuracyVerdict(status, f"accuracy[{name}]", f"{name}: no answers\nown/small.yaml:18")
    return AccuracyVerdict(
        status,
        f"accuracy[{name}]",
        f"{name}: 150 of 200 answers are right\nown/small.yaml:18; results: .dsr1/small",
        measured=share,
        at_least=0.95,
        bound=bound,
        wrong=(Wrong(f"{name}/7", "3 + 4?", "7", "8 & 9"),) if status is Status.FAIL else (),
    )


def gate(status: Status | None, *, error: str | None = None) -> SavedGate:
    """Return a gate of two runs against twenty references; PASS and FAIL have a verdict."""
    metric = "total_output_throughput"
    message = (
        "total output throughput 8 tok/s: -20.00% against 10: a loss is shown\n  changed: driver: 1 -> 2"
    )
    judged = (
        Verdict(status, f"regression[{metric}]", metric, 8.0, 10.0, 9.8, -20.0, message) if status else None
    )
    accepted = SavedAcceptance(datetime(2026, 11, 1, tzinfo=timezone.utc), "me", "TensorRT-LLM 1.2.1")
    return SavedGate(
        profile="small",
        metric=metric,
        status=status,
        verdict=judged if status in {Status.PASS, Status.FAIL} else None,
        error=error,
        delta_percent=2.0,
        noise_percent=0.9,
        max_runs=12,
        references=SavedReferences(20, 10.0, accepted),
        changed=("driver: 1 -> 2",),
        runs=(
            GateRun(".dsr1/small/1", why="warm-up"),
            *(
                GateRun(f".dsr1/small/{n}", SteadyFigure(8.0, 0.1, 1.0, 60.0, 1.0, 40, (8.0,)))
                for n in (2, 3)
            ),
        ),
    )


def point(label: str, per_user: float, total: float, *, sweep: str = "swept", **changes: Any) -> Case:
    """Return the case of a point of a sweep over the concurrency, with these output throughputs in tok/s."""
    users = int(label.rpartition("-")[2])
    of = {"sweep": sweep, "label": label, "values": {"load.concurrency": users}}
    made = scenario(name=f"{sweep}.{label}", point=of)
    figures = {
        "per_user_output_throughput": MetricValue(per_user, "records"),
        "total_output_throughput": MetricValue(total, "records"),
    }
    run = measurement(Path(".dsr1") / made.name / "20261123T200512Z", scenario=made, metrics=figures)
    return case(made.name, **{"scenario": made, "measurement": run, **changes})
