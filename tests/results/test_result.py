"""One saved run: its facts, figures, verdicts, and what is read from the disk later."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import pytest

from pytest_dsr1.engines.facts import EngineFacts
from pytest_dsr1.engines.protocol import EngineResult
from pytest_dsr1.errors import UserError
from pytest_dsr1.findings import Finding
from pytest_dsr1.gate.saved import write_accuracy
from pytest_dsr1.machine.values import Fingerprint
from pytest_dsr1.results.result import MetricResult, Result
from pytest_dsr1.verdict.verdict import Status
from tests.helpers.saved_results import BEFORE, save
from tests.helpers.values import answers, measurement, records, scenario, verdict

RUN = next(BEFORE.glob("*/*/measurement.json")).parent
WRONG = (Finding("mismatch", "GPU", "expected 8, found 4"),)
"""What makes a run INVALID."""
THROUGHPUT = "total_output_throughput"


def test_a_result_of_an_earlier_version() -> None:
    found = Result.load(RUN)
    assert found.profile == "h200-max-throughput"
    assert found.started == datetime(2026, 11, 20, 8, tzinfo=timezone.utc)
    assert (found.gpu, found.gpu_count, found.driver) == ("NVIDIA H200", 8, "575.57.08")
    assert (found.engine, found.engine_version) == ("trtllm-bench", "tensorrt-llm 1.2.1")
    assert dict(found.versions) == {"tensorrt-llm": "1.2.1"}
    assert (found.model, found.quantization) == ("deepseek-ai/DeepSeek-R1", "FP8_BLOCK_SCALES")
    assert (found.isl, found.osl, found.concurrency, found.request_rate) == (1024.0, 2048.0, 2, None)
    assert found.facts["option.engine.max_batch_size"] == 128
    assert found.folder == RUN
    assert [each.subject for each in found.verdicts] == [f"regression[{THROUGHPUT}]", f"target[{THROUGHPUT}]"]
    assert found.verdict == "FAIL"
    assert found.measured_s == pytest.approx(4.754, abs=0.001)
    assert len(found.requests) == 12
    assert {each.gpu for each in found.telemetry} == set(range(8))
    assert found.requests[0].submitted_s + found.unix_minus_monotonic_s == pytest.approx(
        found.started.timestamp(), abs=3600
    )


def test_a_metric_has_its_unit_and_the_target_that_was_judged() -> None:
    found = Result.load(RUN).metrics
    assert found[THROUGHPUT] == MetricResult(
        name=THROUGHPUT,
        label="total output throughput",
        value=5648.4577858895345,
        unit="tok/s",
        better="higher",
        origin="records",
        target=8.0,
        bound=7.6,
        verdict="PASS",
    )
    ttft = found["average_ttft"]
    assert (ttft.unit, ttft.better, ttft.target, ttft.bound, ttft.verdict) == (
        "ms",
        "lower",
        None,
        None,
        None,
    )


def test_a_run_on_the_cpu_has_no_gpu(tmp_path: Path) -> None:
    found = Result.load(save(tmp_path))
    assert (found.gpu, found.gpu_count, found.driver) == (None, 0, None)
    assert found.engine_version is None
    assert repr(found) == "<Result small 2026-11-23 20:05:12 UTC: not judged>"


def test_different_gpus_are_all_named(tmp_path: Path) -> None:
    facts = Fingerprint({"gpu.name": ["NVIDIA H200", "NVIDIA H100", "NVIDIA H200"]})
    result = replace(measurement().result, gpus=3)
    assert Result.load(save(tmp_path, fingerprint=facts, result=result)).gpu == "NVIDIA H200, NVIDIA H100"


def test_what_the_engine_reports_comes_first(tmp_path: Path) -> None:
    versions = {"python": "3.12", "torch": "2.9.0", "httptools": "0.7", "uvloop": "0.22", "vllm": "0.26.0"}
    result = EngineResult(
        records(), {}, 100.0, 102.0, 0, versions=versions, facts=EngineFacts(quantization="FP8")
    )
    found = Result.load(save(tmp_path, result=result))
    assert (found.quantization, found.engine_version) == ("FP8", "vllm 0.26.0")
    assert dict(found.versions) == versions


@pytest.mark.parametrize(
    ("load", "concurrency", "rate"),
    [
        ({"concurrency": 2}, 2, None),
        ({"concurrency": "all"}, None, None),
        ({"concurrency": "all", "arrival": {"type": "poisson", "rate_req_s": 3.0}}, None, 3.0),
        ({"concurrency": 4, "arrival": {"type": "trace", "path": "t.jsonl"}}, 4, None),
    ],
)
def test_the_load(load: dict[str, object], concurrency: int | None, rate: float | None) -> None:
    of = scenario(load={"num_requests": 4, **load}, engine={"type": "openai", "url": "http://host"})
    found = Result(measurement(scenario=of))
    assert (found.concurrency, found.request_rate) == (concurrency, rate)


def test_the_worst_verdict_is_that_of_the_run(tmp_path: Path) -> None:
    passed = save(tmp_path, verdicts=[verdict()])
    assert Result.load(passed).verdict == "PASS"
    write_accuracy(passed, [answers()])
    assert Result.load(passed).verdict == "FAIL"
    assert [each.subject for each in Result.load(passed).accuracy] == ["accuracy[questions]"]


def test_without_a_saved_verdict(tmp_path: Path) -> None:
    assert Result.load(save(tmp_path)).verdict is None
    assert Result.load(save(tmp_path, 1, scenario=scenario(targets=[]), verdicts=())).verdict == "MEASURED"
    invalid = Result.load(save(tmp_path, 2, findings=WRONG))
    assert invalid.verdict == "INVALID"
    assert invalid.why_invalid == ("GPU: expected 8, found 4",)
    assert invalid.metrics[THROUGHPUT].verdict == "INVALID"
    failed = tuple(replace(each, error="HTTP 500") for each in records())
    assert Result.load(save(tmp_path, 3, records=failed)).why_invalid[0] == (
        "4 of 4 requests failed, the first: HTTP 500"
    )


def test_a_target_that_was_not_measured_is_there(tmp_path: Path) -> None:
    of = scenario(targets=[{"metric": "average_ttft", "value": 5.0, "tolerance_percent": 10}])
    found = Result.load(save(tmp_path, scenario=of, metrics={})).metrics
    assert list(found) == ["average_ttft"]
    (ttft,) = found.values()
    assert (ttft.value, ttft.origin, ttft.target) == (None, None, 5.0)
    assert ttft.bound == pytest.approx(5.5)


def test_it_is_read_only() -> None:
    found = Result.load(RUN)
    for mapping in (found.facts, found.versions, found.metrics):
        with pytest.raises(TypeError, match="does not support item assignment"):
            mapping["driver"] = "1"  # type: ignore[index]
    for name in ("profile", "folder", "verdicts", "metrics", "requests"):
        with pytest.raises(AttributeError):
            setattr(found, name, None)


def test_requests_and_samples_are_read_when_they_are_used(tmp_path: Path) -> None:
    folder = save(tmp_path, verdicts=[verdict()])
    found = Result.load(folder)
    lines = (folder / "requests.jsonl").read_text(encoding="utf-8")
    (folder / "requests.jsonl").write_text(lines + "{}\n", encoding="utf-8")
    (folder / "telemetry.jsonl").write_text("{\n", encoding="utf-8")
    assert (found.verdict, found.metrics[THROUGHPUT].value) == (Status.PASS.value, 8.0)
    with pytest.raises(UserError, match=rf"^{folder}/requests.jsonl:5: "):
        found.requests  # noqa: B018
    with pytest.raises(UserError, match=rf"^{folder}/telemetry.jsonl:1: "):
        found.telemetry  # noqa: B018
    (folder / "requests.jsonl").write_text(lines, encoding="utf-8")
    assert found.requests is found.requests
    assert found.requests == records()


def test_warnings_are_those_next_to_the_verdict(tmp_path: Path) -> None:
    finding = (Finding("warning", "driver", "is old"),)
    assert Result.load(save(tmp_path, findings=finding)).warnings == ("driver: is old",)
