"""A saved gate that shows a loss after one run that counts."""

from __future__ import annotations

from datetime import datetime, timezone

from pytest_dsr1.gate.saved import (
    GateRun,
    SavedAcceptance,
    SavedGate,
    SavedReferences,
)
from pytest_dsr1.steady.figure import SteadyFigure
from pytest_dsr1.verdict.verdict import Status, Verdict

VERDICT = Verdict(
    status=Status.FAIL,
    subject="regression[total_output_throughput]",
    metric="total_output_throughput",
    measured=95.0,
    target=100.0,
    bound=98.0,
    margin_percent=-5.0,
    message="a loss is shown",
)


GATE = SavedGate(
    profile="small",
    metric="total_output_throughput",
    status=Status.FAIL,
    verdict=VERDICT,
    error=None,
    delta_percent=2.0,
    noise_percent=0.5,
    max_runs=8,
    references=SavedReferences(
        16, 100.0, SavedAcceptance(datetime(2026, 11, 1, tzinfo=timezone.utc), "me", "1.2")
    ),
    changed=("driver: 575 -> 580",),
    runs=(
        GateRun("results/a", why="warm-up: the first start"),
        GateRun("results/b", SteadyFigure(95.0, 0.1, 5.0, 60.0, 2.0, 40, (94.0, 96.0))),
    ),
)
