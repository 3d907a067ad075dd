"""Which scenarios and runs a gate can use."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pytest_dsr1.engines.openai.settings import OpenAi
from pytest_dsr1.errors import UserError
from pytest_dsr1.gate.eligibility import NotComparableError, compared, refuse_unfit
from pytest_dsr1.metrics.catalogue import gateable
from pytest_dsr1.scenario.loading import load
from pytest_dsr1.study.eligibility import gated_metric
from pytest_dsr1.workload.workload import Workload
from tests.helpers.paths import SUITES
from tests.helpers.reference_store import FACTS, references
from tests.helpers.scenario_files import GOOD, changed, load_text


def said(tmp_path: Path, records: str, metric: str = "", *, tokens: int = 1000) -> str:
    """What is said of a scenario of trtllm-bench that makes so many output tokens; empty where it is fit."""
    gate = f"gate: {{metric: {metric}}}\n" if metric else ""
    setting = f"  request_records: {records}\n" if records else ""
    text = changed(("  ep: 8\n", f"  ep: 8\n{setting}"), ("targets:\n", f"{gate}targets:\n"))
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
    cannot = "per_user_output_throughput cannot be gated without request records, and "
    instead = (
        "; set engine.request_records: true, or gate.metric to one of: total_output_throughput, "
        "per_gpu_output_throughput, energy_per_output_token, output_throughput_per_watt, mean_power, "
        "mean_power_per_gpu"
    )
    assert said(tmp_path, "false", mean) == f"s.yaml:29: {cannot}engine.request_records is false{instead}"
    many = "by default runs of over 20,000,000 output tokens have none"
    assert said(tmp_path, "", mean, tokens=most + 1) == f"s.yaml:28: {cannot}{many}{instead}"
    assert said(tmp_path, "", mean, tokens=most) == ""
    assert said(tmp_path, "true", mean, tokens=most + 1) == ""
    assert said(tmp_path, "false") == "", "a series shows the output throughput of the first target"


def fit(tmp_path: Path, load: str, *, metric: str = "total_output_throughput") -> str:
    """What is said of a scenario with this load; empty where it is fit."""
    text = changed(
        ("load:\n  concurrency: 1024\n  num_requests: 5120\n", f"load: {load}\n"),
        ("- metric: total_output_throughput", f"- metric: {metric}"),
        ("  type: trtllm-bench\n", "  type: openai\n  command: [vllm, serve]\n"),
        ("  llm_api:\n    enable_attention_dp: true\n    cuda_graph_config:\n      batch_sizes: [128]\n", ""),
        ('  environment:\n    TRTLLM_DG_JIT_USE_NVCC: "1"\n', ""),
    )
    loaded = load_text(tmp_path, text)
    try:
        refuse_unfit(loaded, loaded.scenario, lambda: pytest.fail("not needed"))
    except UserError as error:
        return str(error).replace(f"{tmp_path}/", "")
    return ""


def test_a_closed_loop_needs_five_waves(tmp_path: Path) -> None:
    assert fit(tmp_path, "{concurrency: 2, num_requests: 10}") == ""
    assert fit(tmp_path, "{concurrency: 2, num_requests: 9}") == (
        "s.yaml:13: 9 requests at load.concurrency 2 are too few for references and gates: one wave warms "
        "up, three count, one drains; set load.num_requests to at least 10"
    )
    assert fit(tmp_path, "{concurrency: 1, num_requests: 4}") == "", "one user has no drain"
    poisson = "{concurrency: 2, num_requests: 9, arrival: {type: poisson, rate_req_s: 2.0}}"
    assert fit(tmp_path, poisson) == "", "an open loop has no waves"


def test_a_closed_loop_without_a_limit_is_refused(tmp_path: Path) -> None:
    refused = (
        "s.yaml:13: with `all` no request waits until another one ends, so no part of a run is steady; "
        "references and gates need a number: set load.concurrency to at most "
    )
    every = "{{concurrency: all, num_requests: {}}}"
    assert fit(tmp_path, every.format(3000)) == f"{refused}600 for these 3,000 requests"
    assert fit(tmp_path, every.format(9)) == f"{refused}1 for these 9 requests"
    assert fit(tmp_path, every.format(4)) == f"{refused}1 for these 4 requests"
    poisson = "{concurrency: all, num_requests: 9, arrival: {type: poisson, rate_req_s: 2.0}}"
    assert fit(tmp_path, poisson) == ""


def test_the_load_is_refused_before_a_metric_is_asked_for() -> None:
    """Naming one would not help."""
    offline = load(SUITES / "b200" / "mlperf-offline.yaml")
    assert offline.scenario.gated_metric is None
    with pytest.raises(UserError, match="with `all` no request waits until another one ends"):
        refuse_unfit(offline, offline.scenario, lambda: pytest.fail("not needed"))


def test_a_scenario_without_targets_names_the_metric_of_its_gate(tmp_path: Path) -> None:
    free = GOOD.partition("targets:")[0]
    none = load_text(tmp_path, free)
    with pytest.raises(UserError) as caught:
        refuse_unfit(none, none.scenario, lambda: pytest.fail("not needed"))
    expected = (
        "gate.metric: expected a metric, found none; a scenario without targets names the metric of its gate "
        f"and references there, one of: {', '.join(gateable())}"
    )
    assert str(caught.value) == f"{tmp_path}/s.yaml:1: {expected}"
    with pytest.raises(UserError, match=f"^mine: {re.escape(expected)}$"):
        gated_metric(none.scenario)
    named = load_text(tmp_path, free + "gate: {metric: per_gpu_output_throughput}\n")
    refuse_unfit(named, named.scenario, lambda: pytest.fail("not needed"))
    assert gated_metric(named.scenario) == "per_gpu_output_throughput"


def test_a_target_that_is_no_sample_of_the_run(tmp_path: Path) -> None:
    said = fit(tmp_path, "{concurrency: 2, num_requests: 10}", metric="total_latency")
    assert said.startswith(
        "s.yaml:22: total_latency, the metric of the first target, cannot be gated; set gate.metric to one "
        "of: total_output_throughput, total_token_throughput, "
    )


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


def test_facts_that_must_be_equal_end_a_gate_and_others_are_listed() -> None:
    found = references()
    assert compared(found, FACTS) == ()
    assert compared(found, {**FACTS, "driver": "580"}) == ("driver: 575.57.08 -> 580",)
    with pytest.raises(NotComparableError, match=r"\n  gpu.power_limit_w: 700 in the references, 500 here\n"):
        compared(found, {**FACTS, "gpu.power_limit_w": 500.0})


def test_forced_and_natural_acceptance_are_not_comparable() -> None:
    forced = {**FACTS, "option.speculation.acceptance_length": 2.4}
    key = "option.speculation.acceptance_length"
    with pytest.raises(NotComparableError, match=rf"\n  {key}: none in the references, 2.4 here\n"):
        compared(references(), forced)
    with pytest.raises(NotComparableError, match=rf"\n  {key}: 2.4 in the references, none here\n"):
        compared(references(facts=forced), FACTS)
    with pytest.raises(NotComparableError, match=rf"\n  {key}: 2.4 in the references, 3 here\n"):
        compared(references(facts=forced), {**forced, key: 3.0})
    assert compared(references(facts=forced), forced) == ()
