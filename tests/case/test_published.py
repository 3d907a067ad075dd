"""Which published results stand next to a run, in every report."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import pytest

from pytest_dsr1.case.case import case_of
from pytest_dsr1.case.published import published_value
from pytest_dsr1.gate.history import History
from pytest_dsr1.reporting.charts.history import ReportContext
from pytest_dsr1.reporting.ci.markdown import joined, summary
from pytest_dsr1.reporting.html.sections import section
from tests.helpers.saved_runs import Made, judged, save

RUN = Made(waves=4, concurrency=32)
METRIC = "total_output_throughput"
KNOWN = (11489.2671, "V4 and V5, July to September 2025")


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
    assert published_value(case.scenario, case.run.measurement, METRIC) == known
    assert ("| published |" in joined(summary([case], [], 0))) == (known is not None)
    first = section(case, 0, ReportContext(History(), (), now), tmp_path / "report.html").judged[0]
    assert first.published == (f"11,489 ({known[1]})" if known else "")


def test_without_a_run_the_scenario_says_what_would_have_run(tmp_path: Path) -> None:
    scenario = save(tmp_path, RUN).scenario
    assert published_value(scenario, None, METRIC) == KNOWN
    assert published_value(scenario, None, "average_ttft") is None
    old = scenario.model_copy(
        update={"published": [each.model_copy(update={"model": None}) for each in scenario.published]}
    )
    assert published_value(old, None, METRIC) == KNOWN, "results saved before do not say the model"
