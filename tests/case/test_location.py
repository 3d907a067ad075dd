"""Where in a run it went wrong, on made-up runs that are slower in one part."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import pytest

from pytest_dsr1.case.case import case_of
from pytest_dsr1.case.location import locations
from pytest_dsr1.gate.history import PastRun, comparable_runs, history
from pytest_dsr1.gate.saved import GateRun, write_gate
from pytest_dsr1.measurement.measurement import Measurement
from pytest_dsr1.metrics.catalogue import MetricValue
from pytest_dsr1.text import number
from pytest_dsr1.verdict.verdict import Status
from tests.helpers.saved_runs import Made, judged, save
from tests.helpers.values import gate

NOW = datetime(2026, 11, 30, tzinfo=timezone.utc)
RUN = Made(waves=3, concurrency=16, speed=1.5, day=9)


def slowed(run: Measurement, *, ttft: float = 1.0, tpot: float = 1.0) -> Measurement:
    factors = {"average_ttft": ttft, "average_tpot": tpot}
    changed = {
        name: MetricValue(run.metrics[name].value * factor, "records") for name, factor in factors.items()
    }
    return replace(run, metrics={**run.metrics, **changed})


@pytest.fixture
def run(tmp_path: Path) -> Measurement:
    """Beside three equal runs of the days before."""
    for day in range(3):
        save(tmp_path, replace(RUN, day=day))
    return save(tmp_path, RUN)


@pytest.fixture
def others(run: Measurement, tmp_path: Path) -> list[PastRun]:
    return comparable_runs(history(tmp_path), run)


@pytest.mark.parametrize(
    ("ttft", "tpot", "told"),
    [
        (1.0, 1.05, "decode: average time per output token (TPOT) {tpot} ms (+5.0%), "),
        (1.5, 1.0, "queue/prefill: average time to first token (TTFT) {ttft} ms (+50.0%), "),
        (1.1, 1.1, "decode: average time per output token (TPOT) {tpot} ms (+10.0%), "),
    ],
)
def test_the_part_that_takes_longer(
    run: Measurement, others: list[PastRun], ttft: float, tpot: float, told: str
) -> None:
    slow = slowed(run, ttft=ttft, tpot=tpot)
    (sentence,) = locations(slow, others)
    values = {name: number(slow.metrics[f"average_{name}"].value) for name in ("ttft", "tpot")}
    assert sentence.startswith(told.format(**values))
    assert sentence.endswith(", compared with the median of 3 other runs on this machine")


def test_the_runs_of_its_own_gate_are_no_measure(run: Measurement, tmp_path: Path) -> None:
    """They run what it runs: beside them a loss that all of them have would be none."""
    past = history(tmp_path)
    folders = [each.folder for each in comparable_runs(past, run)]
    slow = slowed(run, tpot=1.05)
    for own, told in (([run.folder], "decode: "), ([run.folder, folders[0]], "96% of a request's time is ")):
        write_gate(run.folder, replace(gate(Status.FAIL), runs=tuple(GateRun(str(each)) for each in own)))
        case = case_of(judged(slow, RUN), tmp_path / "store", NOW, past)
        (place,) = case.run.locations
        assert place.startswith(told)


def test_no_part_is_to_blame_where_none_is_slower(run: Measurement, others: list[PastRun]) -> None:
    none = "no part of a request takes longer than in the median of 3 other runs on this machine"
    assert list(locations(run, others)) == [none]
    assert list(locations(slowed(run, ttft=0.5, tpot=0.9), others)) == [none]


def test_without_runs_to_compare_with_the_time_of_a_request_is_divided(
    run: Measurement, others: list[PastRun]
) -> None:
    slow = slowed(run, tpot=1.5)
    ttft_ms, tpot_ms = (slow.metrics[f"average_{name}"].value for name in ("ttft", "tpot"))
    share = 1 / (1 + ttft_ms / (2047 * tpot_ms))
    assert list(locations(slow, others[:2])) == [
        f"{share:.0%} of a request's time is decode ({number(tpot_ms)} ms per output token), {1 - share:.0%} "
        f"is before its first token ({number(ttft_ms)} ms); which of them is slow is unknown without 3 "
        "comparable runs on this machine"
    ]
    untimed = {name: value for name, value in slow.metrics.items() if name != "average_ttft"}
    assert list(locations(replace(slow, metrics=untimed), others[:2])) == []


def test_a_throttled_gpu_and_when(tmp_path: Path) -> None:
    made = replace(RUN, throttled=(5, 0.25, 0.5))
    hot = save(tmp_path, made)
    (place,) = locations(hot, [])
    assert place == "GPU 5 from 3.0 s to 5.0 s (hardware thermal slowdown)"
    case = case_of(judged(hot, made), tmp_path / "store", NOW)
    assert case.run.locations == (place,)


def test_where_all_passed_nothing_went_wrong(run: Measurement, tmp_path: Path) -> None:
    case = case_of(judged(run, RUN), tmp_path / "store", NOW, history(tmp_path))
    assert case.judgment.status == "PASS"
    assert case.run.locations == ()
