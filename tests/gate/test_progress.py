"""What a gate says and keeps of its runs."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest

from pytest_dsr1.gate.eligibility import NotComparableError
from pytest_dsr1.gate.plan import GatePlan, gate_plan
from pytest_dsr1.gate.progress import GateProgress, saved
from pytest_dsr1.gate.recordings import record
from pytest_dsr1.gate.reference_file import load, locked, write
from pytest_dsr1.gate.saved import GateRun
from pytest_dsr1.machine.warm_start import Starts
from pytest_dsr1.measurement.measurement import Measurement
from pytest_dsr1.steady.figure import SteadyFigure
from pytest_dsr1.steady.trace import trace
from pytest_dsr1.study.eligibility import warm_up, why_not
from pytest_dsr1.study.loop import InconclusiveError, answer
from pytest_dsr1.verdict.verdict import Status
from tests.helpers import reference_store, values
from tests.helpers.gate_runs import LONG, started


def plan_of(store: Path, metric: str = "total_output_throughput", **changes: Any) -> GatePlan:
    """Return the plan of a gate with sixteen references around 8, of a noise of 0.6%."""
    scenario = values.scenario(**LONG, gate={"delta_percent": 2.0, "max_runs": 8, "metric": metric})
    accepted = reference_store.references(
        runs=reference_store.scattered(16), requests=24, warmup_requests=2, metric=metric, **changes
    )
    write(store, accepted)
    return gate_plan(store, accepted, scenario, reference_store.NODE, reference_store.NOW)


def with_runs(plan: GatePlan, *measured: float) -> GateProgress:
    gate = GateProgress(plan)
    for value in measured:
        gate.add(GateRun("", SteadyFigure(value, 0.1, 1.0, 60.0, 1.0, 24, (value,) * 10)))
    return gate


def test_a_start_that_does_not_count_is_kept_with_its_folder(tmp_path: Path) -> None:
    gate = GateProgress(plan_of(tmp_path))
    assert gate.leave_out(None, None, "the engine died") == "small: run 1 does not count: the engine died"
    run = replace(started(tmp_path), folder=tmp_path / "second")
    assert gate.leave_out(None, run, "hot") == "small: run 2 does not count: hot"
    assert gate.runs == [GateRun("", why="the engine died"), GateRun(f"{tmp_path}/second", why="hot")]
    assert gate.folder == f"{tmp_path}/second"


@pytest.mark.parametrize(
    ("metric", "unit", "better", "bound"),
    [("total_output_throughput", "tok/s", "higher", 0.98), ("average_request_latency", "ms", "lower", 1.02)],
)
def test_the_bound_is_a_loss_of_delta(
    tmp_path: Path, metric: str, unit: str, better: str, bound: float
) -> None:
    gate = with_runs(plan_of(tmp_path, metric, unit=unit, better=better), 8.0, 8.0)
    verdict = gate.judged(Status.PASS)
    assert verdict.bound == pytest.approx(gate.reference * bound)
    assert verdict.measured == pytest.approx(8.0)


def test_the_interval_is_said_from_its_lower_end_and_holds_the_change(tmp_path: Path) -> None:
    for value in (7.8, 8.3):
        said = with_runs(plan_of(tmp_path), value, value * 1.001).sentence()
        found = re.search(r": (\S+)% \(interval (\S+) to (\S+)%\)", said)
        assert found is not None
        change, low, high = map(float, found.groups())
        assert low < change < high


def test_how_much_the_runs_of_a_gate_vary(tmp_path: Path) -> None:
    """ln(7 / 6.4716) / sqrt(2) is 5.55%."""
    message = with_runs(plan_of(tmp_path), 7.0, 6.4716).judged(Status.FAIL).message
    assert "the runs of this gate vary by 5.5%, more than the references" in message


def test_a_gate_is_saved_with_its_verdict_or_with_how_it_ended(tmp_path: Path) -> None:
    gate = with_runs(plan_of(tmp_path), 8.0)
    kept = saved(gate, Status.INVALID, "no GPU")
    assert (kept.status, kept.verdict, kept.error) == (Status.INVALID, None, "no GPU")
    assert saved(gate, None, None).status is None
    gate.verdict = gate.judged(Status.FAIL)
    kept = saved(gate, None, None)
    assert (kept.status, kept.verdict) == (Status.FAIL, gate.verdict)
    assert (kept.delta_percent, kept.references.runs, kept.runs) == (2.0, 16, tuple(gate.runs))


GATE = {"delta_percent": 2.0, "max_runs": 8}


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


def counting(starts: Starts) -> Callable[[Measurement], str]:
    """Says why a run does not count."""
    return lambda run: why_not(run, starts)


def noted(starts: Starts, run: Measurement) -> Callable[[None], Measurement]:
    """Takes that run again and again, after a warm-up."""
    warm_up(run, starts)
    return lambda _: run


def test_a_verdict_and_what_is_kept(plan: GatePlan, starts: Starts, tmp_path: Path) -> None:
    gate, shown, saves = GateProgress(plan), list[str](), list[int]()
    run = started(tmp_path, 1.1, driver="580.95.05")
    verdict = answer(
        gate, noted(starts, run), counting(starts), shown.append, lambda: saves.append(len(gate.runs))
    )
    assert verdict.status is Status.FAIL
    assert verdict.subject == "regression[total_output_throughput]"
    assert verdict.measured == pytest.approx(8 / 1.1)
    assert verdict.target == pytest.approx(7.9924, rel=1e-4)
    assert verdict.bound == pytest.approx(7.9924 * 0.98, rel=1e-4)
    assert verdict.margin_percent == pytest.approx((8 / 1.1 / 7.9924 - 1) * 100, abs=0.02)
    sentence, changed = verdict.message.splitlines()
    assert sentence.startswith("total output throughput 7.273 tok/s: -9.0")
    assert sentence.endswith(
        "%) compared with 7.992 in the references, after 2 of at most 3 runs (gate.delta_percent 2, noise "
        "0.54% in 16 references): a loss is shown"
    )
    assert changed == "  changed: driver: 575.57.08 -> 580.95.05"
    assert [text.endswith(": one more run") for text in shown] == [True]
    assert saves == [1, 2]
    assert gate.latest is run
    assert (tmp_path / "evidence.json").exists()


def test_what_must_be_equal_and_is_not_all_at_once(plan: GatePlan, starts: Starts, tmp_path: Path) -> None:
    run = started(tmp_path, 1.0, **{"gpu.power_limit_w": 500.0, "gpu.ecc": False})
    with pytest.raises(NotComparableError) as caught:
        answer(GateProgress(plan), noted(starts, run), counting(starts), print, lambda: None)
    assert str(caught.value) == (
        "small: this run and the references differ in facts that must be equal:\n"
        "  gpu.ecc: True in the references, False here\n"
        "  gpu.power_limit_w: 700 in the references, 500 here\n"
        "restore these facts, or make new references: record more with `pytest --dsr1-profile=small "
        "--dsr1-reference=record` "
        "(and the same --dsr1-set, if any), then `pytest-dsr1 references accept small --reason TEXT`; "
        "gate.under_test sets which facts may differ"
    )


def test_undecided_after_the_largest_number_of_runs(plan: GatePlan, starts: Starts, tmp_path: Path) -> None:
    """Runs that scatter far more than the references, around half of delta."""
    latencies = iter([1.08, 0.92, 1.1, 0.94])
    warm_up(started(tmp_path), starts)
    gate = GateProgress(plan)
    with pytest.raises(InconclusiveError, match=r"after 3 of at most 3 runs .*no loss is shown, but"):
        answer(gate, lambda _: started(tmp_path, next(latencies)), counting(starts), print, lambda: None)
    assert gate.verdict is None
    assert len(gate.counted) == 3


def test_runs_that_scatter_more_than_the_references_say_so(
    plan: GatePlan, starts: Starts, tmp_path: Path
) -> None:
    latencies = iter([1.2, 1.3])
    warm_up(started(tmp_path), starts)
    verdict = answer(
        GateProgress(plan),
        lambda _: started(tmp_path, next(latencies)),
        counting(starts),
        print,
        lambda: None,
    )
    assert verdict.status is Status.FAIL
    assert verdict.message.splitlines()[-1] == (
        "  the runs of this gate vary by 5.7%, more than the references: check what else ran on the machine"
    )


def test_an_improvement_beyond_the_noise_says_so(plan: GatePlan, starts: Starts, tmp_path: Path) -> None:
    better = started(tmp_path, 0.9)
    verdict = answer(GateProgress(plan), noted(starts, better), counting(starts), print, lambda: None)
    assert verdict.status is Status.PASS
    assert verdict.message.splitlines()[1:] == [
        "  better by 11%, more than the noise: accept new references, or a gate will not notice when the "
        "improvement is lost; record more with `pytest --dsr1-profile=small --dsr1-reference=record` "
        "(and the same --dsr1-set, if any), then `pytest-dsr1 references accept small "
        "--reason TEXT`"
    ]


@pytest.mark.parametrize("latency_s", [0.995, 1.0, 1.005])
def test_an_improvement_within_the_noise_does_not(
    plan: GatePlan, starts: Starts, tmp_path: Path, latency_s: float
) -> None:
    verdict = answer(
        GateProgress(plan), noted(starts, started(tmp_path, latency_s)), counting(starts), print, lambda: None
    )
    assert verdict.status is Status.PASS
    assert "better" not in verdict.message


def test_a_loss_stays_a_loss_day_after_day(starts: Starts, tmp_path: Path) -> None:
    """95 days with a loss of 5%, a gate and a recorded run each day, nothing accepted: each day fails."""
    store, random, today = tmp_path / "store", Random(4), reference_store.NOW
    accepted = write(
        store, reference_store.references(runs=reference_store.scattered(16), requests=24, warmup_requests=2)
    )
    before, scenario = accepted.read_bytes(), values.scenario(**LONG, gate=GATE)
    warm_up(started(tmp_path), starts)

    def slower(_: None = None) -> Measurement:
        run = started(tmp_path, math.exp(random.gauss(0, 0.006)) / 0.95)
        return replace(run, started_utc=today.isoformat())

    for days in range(1, 96):
        today = reference_store.NOW + timedelta(days=days)
        with locked(store, "small", "a gate of small"):
            plan = gate_plan(store, load(store, scenario, today), scenario, reference_store.NODE, today)
            verdict = answer(GateProgress(plan), slower, counting(starts), lambda _: None, lambda: None)
        assert verdict.status is Status.FAIL, days
        recorded = slower()
        record(store, recorded, trace(recorded))
        assert accepted.read_bytes() == before
    assert [path.name for path in store.glob("*.yaml")] == ["small.yaml"]
    assert plan.warnings[0].startswith(
        "small: the references on node gpu-95a932d6, accepted on 2025-03-24, are old: half of the runs were "
        "recorded on or before 2025-03-15, 104 or more days ago"
    )
