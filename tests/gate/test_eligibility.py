"""Which scenarios and runs a gate can use."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pytest_dsr1.engines.facts import EngineFacts
from pytest_dsr1.engines.openai.settings import OpenAi
from pytest_dsr1.errors import InvalidRunError, UserError
from pytest_dsr1.findings import Finding
from pytest_dsr1.gate.eligibility import figure, own_start, refuse_unfit, warm_up, why_not
from pytest_dsr1.machine.warm_start import Starts
from pytest_dsr1.metrics.catalogue import METRICS
from pytest_dsr1.workload.workload import Workload
from tests.helpers.gate_runs import started
from tests.helpers.scenario_files import changed, load_text


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
    many = "by default runs of over 20,000,000 output tokens have none"
    assert said(tmp_path, "null", mean, tokens=most + 1) == f"{cannot}{many}{instead}"
    assert said(tmp_path, "null", mean, tokens=most) == ""
    assert said(tmp_path, "true", mean, tokens=most + 1) == ""
    assert said(tmp_path, "false") == "", "a series shows the output throughput of the first target"


def test_a_server_that_runs_already(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = changed(
        ("  type: trtllm-bench\n", "  type: openai\n  url: http://h:1\n"),
        ("  llm_api:\n    enable_attention_dp: true\n    cuda_graph_config:\n      batch_sizes: [128]\n", ""),
        ('  environment:\n    TRTLLM_DG_JIT_USE_NVCC: "1"\n', ""),
    )
    loaded = load_text(tmp_path, text)
    why = "gates compare engine starts, and pytest-dsr1 does not start the server at http://h:1"

    def refused() -> str:
        with pytest.raises(UserError) as error:
            refuse_unfit(loaded, loaded.scenario, lambda: pytest.fail("not needed"))
        return str(error.value).replace(f"{tmp_path}/", "")

    assert refused() == f"s.yaml:18: {why}; set engine.command or engine.server instead of engine.url"
    monkeypatch.setattr(OpenAi, "settings_for", {})
    monkeypatch.setattr(OpenAi, "decided_by", {})
    assert refused() == f"s.yaml:16: {why}; use an engine that it starts"


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
    assert own_start(kept) == "its server was started for other"


def test_all_reasons_of_an_invalid_run_are_said_and_it_is_not_a_known_start(
    starts: Starts, tmp_path: Path
) -> None:
    hot = (Finding("mismatch", "GPU 0 throttled", "hot"), Finding("mismatch", "GPU 1 throttled", "hot too"))
    run = replace(started(tmp_path), findings=hot)
    assert why_not(run, starts) == "GPU 0 throttled: hot; GPU 1 throttled: hot too"
    good = started(tmp_path)
    assert why_not(good, starts).startswith("warm-up: the first start of this software")
    assert why_not(good, starts) == ""


def test_a_metric_that_the_engine_says_it_did_not_measure_has_no_figure(tmp_path: Path) -> None:
    run = started(tmp_path)
    metric = run.scenario.gated_metric
    doubtful = replace(
        run, result=replace(run.result, facts=EngineFacts(not_measured={metric: "all at once"}))
    )
    assert figure(run).value == pytest.approx(8.0)
    with pytest.raises(InvalidRunError) as error:
        figure(doubtful)
    assert str(error.value) == (
        f"{run.scenario.name}: {METRICS[metric].label} has no steady figure: all at once"
    )
