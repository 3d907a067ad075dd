"""The head of a section: main figures, bars and what ran."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import pytest

from pytest_dsr1.case.case import Case, RunData, case_of
from pytest_dsr1.machine.values import FactValue, Fingerprint
from pytest_dsr1.metrics.catalogue import MetricValue
from pytest_dsr1.reporting.html.head import bars, figures, ran
from tests.helpers.saved_runs import Made, judged, references, save, steady
from tests.helpers.values import case as one_case

NOW = datetime(2026, 11, 30, tzinfo=timezone.utc)
RUN = Made(waves=4, concurrency=32, speed=0.8)


def case(tmp_path: Path, made: Made = RUN) -> Case:
    return case_of(judged(save(tmp_path / "results", made), made), tmp_path / "store", NOW)


def test_the_main_figures_and_their_distances(tmp_path: Path) -> None:
    found = {each.label: each for each in figures(case(tmp_path))}
    total = found["total output throughput"]
    assert (total.value, total.unit, total.status) == ("8,137", "tok/s", "FAIL")
    assert total.against == ("-29.2% against the target 11,489", "70.8% of the published 11,489")
    user = found["per-user output throughput"]
    assert user.status == ""
    assert len(user.against) == 1, "published, but without a target"
    assert "energy per output token" not in found


def test_energy_is_a_main_figure_where_it_was_measured(tmp_path: Path) -> None:
    made = case(tmp_path)
    run = made.run.measurement
    assert run is not None
    more = {**run.metrics, "energy_per_output_token": MetricValue(0.412, "records")}
    with_energy = replace(made, run=replace(made.run, measurement=replace(run, metrics=more)))
    *_, last = figures(with_energy)
    assert (last.value, last.unit, last.against) == ("0.412", "J/tok", ())


def test_a_bar_has_its_values_on_one_scale(tmp_path: Path) -> None:
    (total, *_) = bars(case(tmp_path))
    marks = {mark.text: mark.percent for mark in total.marks}
    assert list(marks) == ["target 11,489", "bound 10,915", "published 11,489"]
    assert marks["target 11,489"] == pytest.approx(100 / 1.08)
    assert marks["bound 10,915"] == pytest.approx(95 / 1.08, rel=1e-4)
    assert total.percent == pytest.approx(100 * 8137 / 11489 / 1.08, rel=1e-3)
    assert total.band == pytest.approx((0.98 * total.percent, 1.02 * total.percent))
    assert total.measured == "8,137 tok/s \N{PLUS-MINUS SIGN}2% (assumed)"
    assert (total.margin, total.status, total.better) == ("-29.2%", "FAIL", "higher")


def test_total_and_per_gpu_throughput_have_the_uncertainty_of_the_references(tmp_path: Path) -> None:
    run = save(tmp_path / "results", RUN)
    level = steady(run)
    store = tmp_path / "store"
    references(store, run.scenario, run.fingerprint, [level * (1 + 0.001 * (i % 5)) for i in range(16)])
    of_run = case_of(judged(run, RUN, store), store, NOW)
    found = {bar.subject: bar.measured.partition(" \N{PLUS-MINUS SIGN}")[2] for bar in bars(of_run)}
    assert found["total output throughput"] == found["per-GPU output throughput"] == "0.3%"


def test_what_was_not_measured_has_no_bar() -> None:
    made = one_case()
    assert made.judgment.verdicts
    unmeasured = tuple(replace(each, measured=None) for each in made.judgment.verdicts)
    made = replace(made, judgment=replace(made.judgment, verdicts=unmeasured), run=RunData())
    assert list(bars(made)) == []
    assert list(figures(made)) == []


def test_what_ran_is_one_line(tmp_path: Path) -> None:
    made = case(tmp_path)
    run = made.run.measurement
    assert run is not None
    dot = " \N{MIDDLE DOT} "
    assert ran(made.scenario, run) == dot.join(
        [
            "8 x NVIDIA H200, 700 W each",
            "engine trtllm-bench",
            "driver 575.57.08",
            "tensorrt-llm 1.2.1",
            "deepseek-ai/DeepSeek-R1 (FP8_BLOCK_SCALES)",
            "1,024 tokens in, 2,048 tokens out",
            "32 in flight",
        ]
    )
    changed: dict[str, FactValue] = {"container.image": "nvcr/release:1.2.1", "gpu.power_limit_w": ["1", "2"]}
    facts = {**run.fingerprint.facts, **changed}
    other = ran(made.scenario, replace(run, fingerprint=Fingerprint(facts)))
    assert "container nvcr/release:1.2.1" in other
    assert " W each" not in other, "the limits differ"
    assert ran(made.scenario, None).startswith(f"8 x NVIDIA H200{dot}engine trtllm-bench{dot}deepseek-ai/")
