"""Energy, power and cost: made-up totals, and a run whose power is known at every moment."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_dsr1.engines.protocol import EngineResult
from pytest_dsr1.machine.telemetry.health import GpuSummary, summary
from pytest_dsr1.machine.values import Telemetry
from pytest_dsr1.measurement.inputs import metric_inputs
from pytest_dsr1.metrics.catalogue import METRICS, computed, gateable, targetable
from pytest_dsr1.metrics.inputs import Answered, GpuTotals, Plan
from pytest_dsr1.records import RequestRecord
from pytest_dsr1.scenario.schema.scenario import Scenario
from pytest_dsr1.steady.figure import steady_figure
from pytest_dsr1.steady.trace import trace
from tests.helpers.gpu_samples import SAMPLE
from tests.helpers.metrics import from_records
from tests.helpers.scenario_files import changed, load_text, mistakes
from tests.helpers.values import measurement, records, scenario

ENERGY = [
    "energy_per_output_token",
    "energy_per_request",
    "output_throughput_per_watt",
    "mean_power",
    "mean_power_per_gpu",
]
COST = "cost_per_million_output_tokens"


def test_a_run_by_hand() -> None:
    """Four requests of four tokens in 2 s, 1,400 J on two GPUs at 3.6 per hour."""
    found = from_records(records(), 2, measured_s=2.0, gpu=GpuTotals(None, 1400.0), gpu_hour_price=3.6)
    assert {name: found[name] for name in (*ENERGY, COST)} == pytest.approx(
        {
            "energy_per_output_token": 87.5,
            "energy_per_request": 350.0,
            "output_throughput_per_watt": 8 / 700,
            "mean_power": 700.0,
            "mean_power_per_gpu": 350.0,
            COST: 3.6 * 2 * 2 / 3600 / 16e-6,
        },
        rel=1e-9,
    )


def test_a_run_that_took_no_time_has_no_power() -> None:
    for measured_s, found_w in ((0.0, None), (0.5, 700.0)):
        found = from_records(records(), 1, measured_s=measured_s, gpu=GpuTotals(None, 350.0))
        assert found.get("mean_power") == found_w


def test_failed_requests_used_energy_too() -> None:
    rows = [replace(records()[0], error="lost"), *records()[1:]]
    found = from_records(rows, 1, measured_s=2.0, gpu=GpuTotals(None, 1200.0))
    assert (found["energy_per_output_token"], found["energy_per_request"]) == (100.0, 400.0)
    none = [replace(r, error="lost") for r in records()]
    lost = from_records(none, 1, measured_s=2.0, gpu=GpuTotals(None, 1.0))
    assert set(lost) == {"mean_power", "mean_power_per_gpu"}


def test_a_report_stands_in_for_records() -> None:
    report = {"request_throughput": 2.0, "total_output_throughput": 8.0, "total_latency": 2000.0}
    health = GpuSummary("", energy_j_total=1400.0)
    inputs = metric_inputs(scenario(), EngineResult((), report, 100.0, 102.0, 2), health)
    assert inputs.answered == Answered(4.0, 16.0, 2.0)
    found = computed(inputs, pytest.fail)
    assert [found[name] for name in ENERGY] == pytest.approx([87.5, 350.0, 8 / 700, 700.0, 350.0])
    del report["total_latency"]
    assert metric_inputs(scenario(), EngineResult((), report, 100.0, 102.0, 2), health).answered is None


def test_all_may_be_targets_and_all_but_the_cost_may_be_gated() -> None:
    assert {*ENERGY, COST} <= set(targetable())
    assert [name for name in gateable() if name in {*ENERGY, COST}] == ENERGY
    assert METRICS[COST].formula.endswith(
        "not gateable, because only throughput changes it: gate per_gpu_output_throughput"
    )


def test_energy_says_nothing_about_the_length_of_a_run() -> None:
    plan = Plan(requests=4, concurrency=2, input_tokens=32, output_tokens=16, gpus=2)
    assert [METRICS[name].expected_s(10.0, plan) for name in (*ENERGY, COST)] == [None] * 6


def test_a_target_on_the_cost_needs_a_price(tmp_path: Path) -> None:
    text = changed(("metric: request_throughput", f"metric: {COST}"))
    (line,) = mistakes(tmp_path, text)
    assert line.endswith(
        f"targets.1.metric: {COST} is measured only with `hardware.gpu_hour_price`, found none"
    )
    priced = load_text(tmp_path, text.replace("  count: 8\n", "  count: 8\n  gpu_hour_price: 2.5\n"))
    assert priced.scenario.hardware.gpu_hour_price == 2.5
    assert load_text(tmp_path, text, "hardware.gpu_hour_price=3").scenario.hardware.gpu_hour_price == 3.0


# A run whose power is known at every moment

FROM_S, TO_S = 1000.3, 1060.3


def power_w(gpu: int, time_s: float) -> float:
    """Return 100 W outside the run; in it 500 or 600 W, that swing by 50 W once in 0.7 s."""
    if not FROM_S <= time_s <= TO_S:
        return 100.0
    return 500 + 100 * gpu + 50 * math.sin(2 * math.pi * time_s / 0.7)


def counters() -> Telemetry:
    """Return the readings of counters in whole mJ that move every 20 ms and are read once per second."""
    samples, joules = [], [5e6, 7e6]
    for step in range(3250):
        time_s = 997.0 + step * 0.02
        joules = [energy_j + power_w(gpu, time_s) * 0.02 for gpu, energy_j in enumerate(joules)]
        if step % 5 == 0:
            samples += [
                replace(
                    SAMPLE,
                    time_s=time_s + 0.013,
                    gpu=gpu,
                    power_w=power_w(gpu, time_s),
                    energy_j=round(energy_j, 3) if step % 50 == 0 else None,
                )
                for gpu, energy_j in enumerate(joules)
            ]
    return Telemetry(gpus=(0, 1), samples=tuple(samples))


def h200() -> Scenario:
    return scenario(
        hardware={"gpu": "NVIDIA H200", "count": 2, "gpu_hour_price": 2.5},
        load={"concurrency": 2, "num_requests": 120},
    )


def test_the_known_power_of_a_run_is_found() -> None:
    """60 s, two requests of 50 tokens per second; each end may cost a quarter of a second of 900 W."""
    rows = tuple(
        RequestRecord(i, FROM_S + i // 2, FROM_S + i // 2 + 0.1, FROM_S + i // 2 + 1.0, 8, 50)
        for i in range(120)
    )
    telemetry = counters()
    result = EngineResult(rows, {}, FROM_S, TO_S, 2)
    found = computed(metric_inputs(h200(), result, summary(telemetry, FROM_S, TO_S, used=2)), pytest.fail)
    truth_w, error = 1100.0, 2 * 0.25 * 900 / (1100 * 60)
    truths = [truth_w / 100, truth_w / 2, 100 / truth_w, truth_w, truth_w / 2]
    assert [found[name] for name in ENERGY] == pytest.approx(truths, rel=error)
    assert found[COST] == pytest.approx(2 * 2.5 / 3600 / 100 * 1e6)

    run = measurement(scenario=h200(), result=result, telemetry=telemetry, metrics={})
    kept = trace(run)
    assert kept.energy[0] == (0.0, 0.0)
    assert kept.energy[-1] == pytest.approx((60.0, truth_w * 60), rel=error)
    for name, truth in zip(ENERGY, truths, strict=True):
        seen = steady_figure(kept, name, warmup_requests=2)
        # The window begins and ends under load, so only the swing within a reading counts.
        assert seen.value == pytest.approx(truth, rel=0.002), name


def test_the_energy_of_some_of_the_gpus_is_not_kept() -> None:
    four = scenario(hardware={"gpu": "NVIDIA H200", "count": 4})
    result = EngineResult(records(), {}, FROM_S, TO_S, 4)
    assert trace(measurement(scenario=four, result=result, telemetry=counters(), metrics={})).energy == ()
