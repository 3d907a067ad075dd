"""What a gate says and keeps of its runs."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_dsr1.gate.plan import GatePlan, gate_plan
from pytest_dsr1.gate.progress import GateProgress, saved
from pytest_dsr1.gate.reference_file import write
from pytest_dsr1.gate.saved import GateRun
from pytest_dsr1.steady.figure import SteadyFigure
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
    assert gate.leave_out(None, "the engine died") == "small: run 1 does not count: the engine died"
    run = replace(started(tmp_path), folder=tmp_path / "second")
    assert gate.leave_out(run, "hot") == "small: run 2 does not count: hot"
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
