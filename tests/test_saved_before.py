"""Documents of an earlier version: a saved result, a gate, recorded runs and references are read as ever."""

from __future__ import annotations

import json
from datetime import datetime, timezone

from pytest_dsr1.diagnosis.diagnosis import diagnose
from pytest_dsr1.gate import recordings, reference_file
from pytest_dsr1.gate.history import history
from pytest_dsr1.gate.saved import read_gate
from pytest_dsr1.measurement.store import load, newest
from pytest_dsr1.verdict.verdict import Status
from tests.helpers.paths import ROOT

SAVED = ROOT / "tests" / "data" / "saved"
PROFILE = "h200-max-throughput"
RESULT = SAVED / "results" / PROFILE / "20261120T080000Z"
STORE = SAVED / "store"
NOW = datetime(2026, 11, 21, tzinfo=timezone.utc)


def test_a_result() -> None:
    assert newest(RESULT.parent) == RESULT
    found = load(RESULT)
    written = json.loads((RESULT / "measurement.json").read_text(encoding="utf-8"))["measurement"]
    assert found.scenario.name == PROFILE
    assert {name: one.value for name, one in found.metrics.items()} == {
        name: one["value"] for name, one in written["metrics"].items()
    }
    assert found.fingerprint.facts == written["fingerprint"]["facts"]
    assert [one.severity for one in found.findings] == [one["severity"] for one in written["findings"]]
    assert found.caches_filled == ("/root/.triton/cache",)
    assert len(found.result.records) == 12
    assert found.result.records[0].engine is not None
    assert {sample.gpu for sample in found.telemetry.samples} == set(range(8))
    assert found.telemetry.events[0].message == "nvmlDeviceGetPowerUsage: Unknown Error"
    assert next(clue.key for clue in diagnose(found)) == "compile-cache"


def test_an_earlier_run() -> None:
    (past,) = history(SAVED / "results").runs or (None,)
    assert past is not None
    assert (past.profile, past.at.date().isoformat()) == (PROFILE, "2026-11-20")


def test_a_gate() -> None:
    found = read_gate(RESULT)
    assert found is not None
    assert found.status is Status.FAIL
    assert found.verdict is not None
    assert found.verdict.margin_percent == -20.0
    assert [run.why for run in found.runs] == ["warm-up", "", ""]
    assert found.references.accepted.reason == "TensorRT-LLM 1.2.1"


def test_recorded_runs() -> None:
    found, problems = recordings.read(STORE, PROFILE)
    assert problems == ()
    assert [run.at.day for run in found] == [19, 20]
    assert len(found[0].trace.requests) == 12
    assert found[0].gpus is not None


def test_references_are_read_and_would_be_written_the_same() -> None:
    path = reference_file.path_of(STORE, PROFILE)
    assert reference_file.intact(path)
    found = reference_file.read(STORE, PROFILE, NOW)
    assert len(found.runs) == 11
    assert found.accepted.reason == "TensorRT-LLM 1.2.1"
    assert found.facts["driver"] == "575.57.08"
    assert reference_file.to_text(found).encode() == path.read_bytes()
