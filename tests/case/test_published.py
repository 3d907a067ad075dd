"""Which published results stand next to a run, in every report."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import pytest

from pytest_dsr1.case.case import case_of
from pytest_dsr1.case.published import PublishedValue, published_value, published_values
from pytest_dsr1.gate.history import History
from pytest_dsr1.measurement.store import load
from pytest_dsr1.reporting.charts.history import ReportContext
from pytest_dsr1.reporting.ci.markdown import joined, summary
from pytest_dsr1.reporting.html.sections import section
from pytest_dsr1.reporting.terminal.overview import overview
from tests.helpers.saved_runs import Made, judged, save

RUN = Made(waves=4, concurrency=32)
METRIC = "total_output_throughput"
KNOWN = (11489.2671, "V4 and V5, July to September 2025")
LOAD = "changed here: load.concurrency, load.num_requests"


def shown(value: PublishedValue | None) -> tuple[float, str] | None:
    return (value.value, value.version) if value else None


@pytest.mark.parametrize(
    ("made", "known"),
    [
        (RUN, KNOWN),
        (replace(RUN, overrides=("model.name=Qwen/Qwen3-235B-A22B",)), None),
        (replace(RUN, overrides=("hardware.gpu=NVIDIA B200",), facts=(("gpu.name", "NVIDIA B200"),)), None),
        (replace(RUN, facts=(("gpu.name", "NVIDIA H200 NVL"),)), None),
        (replace(RUN, overrides=("hardware.count=4", "engine.tp=4", "engine.ep=4")), None),
    ],
    ids=["as published", "another model", "another GPU", "a GPU that was not asked for", "fewer GPUs"],
)
def test_published_figures_stand_beside_runs_like_them(
    tmp_path: Path, made: Made, known: tuple[float, str] | None
) -> None:
    now = datetime.now(timezone.utc)
    case = case_of(judged(save(tmp_path, made), made), tmp_path / "store", now)
    assert shown(published_value(case.scenario, case.run.measurement, METRIC)) == known
    assert ("| published |" in joined(summary([case], [], 0))) == (known is not None)
    first = section(case, 0, ReportContext(History(), (), now), tmp_path / "report.html").judged[0]
    assert first.published == (f"11,489 ({known[1]}; changed here)" if known else "")


def test_without_a_run_the_scenario_says_what_would_have_run(tmp_path: Path) -> None:
    scenario = save(tmp_path, RUN).scenario
    assert shown(published_value(scenario, None, METRIC)) == KNOWN
    assert published_value(scenario, None, "average_ttft") is None
    old = scenario.model_copy(
        update={"published": [each.model_copy(update={"model": None}) for each in scenario.published]}
    )
    assert shown(published_value(old, None, METRIC)) == KNOWN, "results saved before do not say the model"


def test_a_share_says_what_was_changed_since_the_results_were_published(tmp_path: Path) -> None:
    made = replace(RUN, overrides=("engine.max_batch_size=64", "engine.streaming=true"))
    now = datetime.now(timezone.utc)
    folder = save(tmp_path, made).folder
    case = case_of(judged(load(folder), made), tmp_path / "store", now)
    note = "synthetic tokens, ISL 1024, max_num_tokens 1151"
    first = next(published_values(case.scenario, case.run.measurement))
    changed = "changed here: engine.max_batch_size, engine.streaming, load.concurrency and 1 more"
    assert first.share.endswith("%")
    assert first.cells[-1] == f"{note}; {changed}"
    assert f"| 11,489 ({changed}) |" in joined(summary([case], [], 0))
    without = case.scenario.model_copy(update={"targets": []})
    lines = " ".join(line.strip() for line, _ in overview([replace(case, scenario=without)], 1000, {}))
    assert f"this run {first.share} of it; " in lines
    assert f"(V4 and V5, July to September 2025: {note}; {changed})" in lines
