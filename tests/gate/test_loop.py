from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest

from pytest_dsr1.engines.facts import EngineFacts
from pytest_dsr1.errors import EngineError, InvalidRunError, UserError
from pytest_dsr1.gate.loop import (
    Gate,
    InconclusiveError,
    NotComparableError,
    decide,
    own_start,
    refuse_unfit,
    useful,
    warm_up,
)
from pytest_dsr1.gate.plan import GatePlan, gate_plan
from pytest_dsr1.gate.recordings import record
from pytest_dsr1.gate.reference_file import held, load, write
from pytest_dsr1.machine.values import FactValue, Fingerprint
from pytest_dsr1.machine.warm_start import Starts
from pytest_dsr1.measurement.measurement import Measurement
from pytest_dsr1.steady.trace import trace
from pytest_dsr1.verdict.verdict import Word
from pytest_dsr1.workload.workload import Workload
from tests.helpers import reference_store, values
from tests.helpers.scenario_files import changed, load_text

LONG: dict[str, Any] = {"load": {"concurrency": 2, "num_requests": 24}}
GATE = {"delta_percent": 2.0, "max_runs": 8}


@pytest.fixture
def starts(tmp_path: Path) -> Starts:
    return Starts({"DSR1_STATE_DIR": str(tmp_path / "state")}, print)


@pytest.fixture
def plan(tmp_path: Path) -> GatePlan:
    """Sixteen references around 8 tok/s, with a noise of 0.6%."""
    scenario = values.scenario(**LONG, gate=GATE)
    write(
        tmp_path / "store",
        reference_store.references(runs=reference_store.scattered(16), requests=24, warmup_requests=2),
    )
    store = tmp_path / "store"
    return gate_plan(
        store, load(store, scenario, reference_store.NOW), scenario, reference_store.NODE, reference_store.NOW
    )


def started(tmp_path: Path, latency_s: float = 1.0, **facts: FactValue) -> Measurement:
    """A run of 8 tok/s for a latency of 1 s, on the references' node."""
    result = values.measurement(
        scenario=values.scenario(**LONG),
        records=values.records(24, latency_s=latency_s),
        fingerprint=Fingerprint({**reference_store.FACTS, **facts}),
        folder=tmp_path,
    )
    return replace(result, workload=replace(result.workload, requests=24))


def noted(starts: Starts, run: Measurement) -> Callable[[], Measurement]:
    """Takes that run again and again, after a warm-up."""
    warm_up(run, starts)
    return lambda: run


def said(tmp_path: Path, records: str, metric: str = "", *, tokens: int = 1000) -> str:
    """What is said of a scenario of trtllm-bench that makes so many output tokens; empty where it is fit."""
    gate = f"gate: {{metric: {metric}}}\n" if metric else ""
    text = changed(
        ("  ep: 8\n", f"  ep: 8\n  request_records: {records}\n"), ("targets:\n", f"{gate}targets:\n")
    )
    loaded = load_text(tmp_path, text)
    workload = Workload(Path("dataset.jsonl"), 1, "ab12", True, 8.0, 8, tokens, tokens)
    try:
        refuse_unfit(loaded, loaded.scenario, lambda: workload)
    except UserError as error:
        return str(error).replace(f"{tmp_path}/", "")
    return ""


def test_a_metric_that_needs_request_records(tmp_path: Path) -> None:
    """Known before the run: asked for or not, and left out by default where there are many tokens."""
    mean, most = "per_user_output_throughput", 20_000_000
    cannot = "s.yaml:29: per_user_output_throughput cannot be gated without request records, and "
    instead = (
        "; set engine.request_records: true, or gate.metric to one of: total_output_throughput, "
        "per_gpu_output_throughput"
    )
    assert said(tmp_path, "false", mean) == f"{cannot}engine.request_records is false{instead}"
    many = "by default there are none above 20,000,000 output tokens"
    assert said(tmp_path, "null", mean, tokens=most + 1) == f"{cannot}{many}{instead}"
    assert said(tmp_path, "null", mean, tokens=most) == ""
    assert said(tmp_path, "true", mean, tokens=most + 1) == ""
    assert said(tmp_path, "false") == "", "a series tells the output throughput of the first target"


def test_a_verdict_and_what_is_kept(plan: GatePlan, starts: Starts, tmp_path: Path) -> None:
    gate, told, saves = Gate(plan), list[str](), list[int]()
    run = started(tmp_path, 1.1, driver="580.95.05")
    verdict = decide(gate, noted(starts, run), starts, told.append, lambda: saves.append(len(gate.runs)))
    assert verdict.word is Word.FAIL
    assert verdict.subject == "regression[total_output_throughput]"
    assert verdict.measured == pytest.approx(8 / 1.1)
    assert verdict.target == pytest.approx(7.9924, rel=1e-4)
    assert verdict.bound == pytest.approx(7.9924 * 0.98, rel=1e-4)
    assert verdict.margin_percent == pytest.approx((8 / 1.1 / 7.9924 - 1) * 100, abs=0.02)
    sentence, changed = verdict.message.splitlines()
    assert sentence.startswith("total output throughput 7.273 tok/s: -9.0")
    assert sentence.endswith(
        "against the references' 7.992 after 2 of at most 3 runs (delta 2%, noise 0.54% in 16 references): a "
        "loss is shown"
    )
    assert changed == "  changed: driver: 575.57.08 -> 580.95.05"
    assert [text.endswith(": one more run") for text in told] == [True]
    assert saves == [1, 2]
    assert gate.latest is run
    assert (tmp_path / "evidence.json").exists()


def test_what_must_be_equal_and_is_not_all_at_once(plan: GatePlan, starts: Starts, tmp_path: Path) -> None:
    run = started(tmp_path, 1.0, **{"gpu.power_limit_w": 500.0, "gpu.ecc": False})
    with pytest.raises(NotComparableError) as caught:
        decide(Gate(plan), noted(starts, run), starts, print, lambda: None)
    assert str(caught.value) == (
        "small: this run and the references differ in what must be equal:\n"
        "  gpu.ecc: True in the references, False here\n"
        "  gpu.power_limit_w: 700 in the references, 500 here\n"
        "put it back, or make new references of it: record more with `pytest --dsr1-profile=small "
        "--dsr1-reference=record` "
        "(and the same --dsr1-set, if any), then `pytest-dsr1 references accept small --reason TEXT`; "
        "gate.under_test says what may differ"
    )


def test_undecided_after_the_largest_number_of_runs(plan: GatePlan, starts: Starts, tmp_path: Path) -> None:
    """Runs that scatter far more than the references, around half of delta."""
    latencies = iter([1.08, 0.92, 1.1, 0.94])
    warm_up(started(tmp_path), starts)
    gate = Gate(plan)
    with pytest.raises(InconclusiveError, match=r"after 3 of at most 3 runs .*neither is a loss shown"):
        decide(gate, lambda: started(tmp_path, next(latencies)), starts, print, lambda: None)
    assert gate.verdict is None
    assert len(gate.counted) == 3


def test_starts_that_do_not_count(starts: Starts, tmp_path: Path) -> None:
    """A warm-up and a failure in between; the third is taken."""
    good = started(tmp_path)
    filled = replace(good, caches_filled=("/tmp/torchinductor_root",))
    runs = iter([good, filled, good])
    notes: list[str] = []
    assert useful(lambda: next(runs), starts, lambda _, why: notes.append(why), "") is good
    assert notes == [
        "warm-up: the first start of this software on this node",
        "warm-up: this start filled /tmp/torchinductor_root",
    ]


def test_too_many_starts_that_do_not_count(starts: Starts, tmp_path: Path) -> None:
    filled = replace(started(tmp_path), caches_filled=("/cache",))
    runs = iter([filled, filled])

    def take() -> Measurement:
        for run in runs:
            return run
        raise EngineError("small: the engine died")

    with pytest.raises(InvalidRunError) as caught:
        useful(take, starts, lambda *_: None, "pytest --dsr1-profile=small --dsr1-gate")
    assert str(caught.value) == (
        "3 engine starts in succession are no evidence:\n"
        "  1. warm-up: this start filled /cache\n"
        "  2. warm-up: this start filled /cache\n"
        "  3. small: the engine died\n"
        "put that right, then `pytest --dsr1-profile=small --dsr1-gate`"
    )


def test_another_software_is_a_first_start_again(starts: Starts, tmp_path: Path) -> None:
    assert warm_up(started(tmp_path), starts)
    assert not warm_up(started(tmp_path), starts)
    assert warm_up(started(tmp_path, 1.0, **{"library.torch": "2.11.0"}), starts)


def test_a_server_must_be_started_for_the_run(tmp_path: Path) -> None:
    run = started(tmp_path)
    assert own_start(run) == ""
    own = replace(run, result=replace(run.result, facts=EngineFacts(server_started=True)))
    assert own_start(own) == ""
    kept = replace(
        own, result=replace(run.result, facts=EngineFacts(server_started=False, server_kept_from="other"))
    )
    assert own_start(kept) == "its server had been started for other"


def test_runs_that_scatter_more_than_the_references_say_so(
    plan: GatePlan, starts: Starts, tmp_path: Path
) -> None:
    latencies = iter([1.2, 1.3])
    warm_up(started(tmp_path), starts)
    verdict = decide(Gate(plan), lambda: started(tmp_path, next(latencies)), starts, print, lambda: None)
    assert verdict.word is Word.FAIL
    assert verdict.message.splitlines()[-1] == (
        "  the runs of this gate differ by 5.7%, more than the references: look at what else ran on the "
        "machine"
    )


def test_an_improvement_beyond_the_noise_says_so(plan: GatePlan, starts: Starts, tmp_path: Path) -> None:
    better = started(tmp_path, 0.9)
    verdict = decide(Gate(plan), noted(starts, better), starts, print, lambda: None)
    assert verdict.word is Word.PASS
    assert verdict.message.splitlines()[1:] == [
        "  better by 11%, more than the noise: accept it, or losing it again will pass; record more with "
        "`pytest --dsr1-profile=small --dsr1-reference=record` "
        "(and the same --dsr1-set, if any), then `pytest-dsr1 references accept small "
        "--reason TEXT`"
    ]


@pytest.mark.parametrize("latency_s", [0.995, 1.0, 1.005])
def test_an_improvement_within_the_noise_does_not(
    plan: GatePlan, starts: Starts, tmp_path: Path, latency_s: float
) -> None:
    verdict = decide(Gate(plan), noted(starts, started(tmp_path, latency_s)), starts, print, lambda: None)
    assert verdict.word is Word.PASS
    assert "better" not in verdict.message


def test_a_loss_stays_a_loss_day_after_day(starts: Starts, tmp_path: Path) -> None:
    """95 days with a loss of 5%, a gate and a recorded run each day, nothing accepted: each day fails."""
    store, random, today = tmp_path / "store", Random(4), reference_store.NOW
    accepted = write(
        store, reference_store.references(runs=reference_store.scattered(16), requests=24, warmup_requests=2)
    )
    before, scenario = accepted.read_bytes(), values.scenario(**LONG, gate=GATE)
    warm_up(started(tmp_path), starts)

    def slower() -> Measurement:
        run = started(tmp_path, math.exp(random.gauss(0, 0.006)) / 0.95)
        return replace(run, started_utc=today.isoformat())

    for days in range(1, 96):
        today = reference_store.NOW + timedelta(days=days)
        with held(store, "small", "a gate of small"):
            plan = gate_plan(store, load(store, scenario, today), scenario, reference_store.NODE, today)
            verdict = decide(Gate(plan), slower, starts, lambda _: None, lambda: None)
        assert verdict.word is Word.FAIL, days
        recorded = slower()
        record(store, recorded, trace(recorded))
        assert accepted.read_bytes() == before
    assert [path.name for path in store.glob("*.yaml")] == ["small.yaml"]
    assert plan.warnings[0].startswith(
        "small: half of the reference runs on node gpu-95a932d6 are 104 days old"
    )
