"""What options are known to cost, and how a scenario differs from the published run."""

from __future__ import annotations

import pytest

from pytest_dsr1.case.known_costs import cost_of, difference, known_cost
from pytest_dsr1.case.published import published_values
from pytest_dsr1.scenario.loading import load
from pytest_dsr1.scenario.schema.scenario import Scenario
from tests.helpers.paths import SUITES

B200 = "b200/min-latency"
GRAPHS = "known to cost 86.1% for one request at a time on 8 NVIDIA B200 (TensorRT-LLM's tech blog 2)"
DEPTHS = "(tech blog 1 and pull request 4762 of TensorRT-LLM)"


def changed(suite: str, *overrides: str) -> Scenario:
    return load(SUITES / f"{suite}.yaml", overrides=overrides).scenario


@pytest.mark.parametrize(
    ("override", "line"),
    [
        (
            "engine.llm_api.cuda_graph_config.enabled=false",
            f"engine.llm_api.cuda_graph_config, {GRAPHS}",
        ),
        ("engine.llm_api.cuda_graph_config=null", f"engine.llm_api.cuda_graph_config, {GRAPHS}"),
        (
            "engine.llm_api.disable_overlap_scheduler=true",
            "engine.llm_api.disable_overlap_scheduler: true here, known to cost 2.9% for one request at a "
            "time on 8 NVIDIA B200 (TensorRT-LLM's tech blog 2)",
        ),
        (
            "engine.llm_api.speculative_config.max_draft_len=1",
            "engine.llm_api.speculative_config.max_draft_len: 1 here, known to cost 16.9% to 21.7% for one "
            f"request at a time on 8 NVIDIA B200 {DEPTHS}",
        ),
        (
            "engine.llm_api.speculative_config=null",
            "engine.llm_api.speculative_config: null here, known to cost 52.8% to 56.1% for one request at a "
            f"time on 8 NVIDIA B200 {DEPTHS}",
        ),
        ("engine.llm_api.speculative_config.max_draft_len=9", None),
        (
            "engine.ep=4",
            "engine.ep: 4 here, known to cost up to 15.4% for one request at a time on 8 NVIDIA B200 "
            "(TensorRT-LLM's tech blog 1, for the MoE backend and engine.ep together)",
        ),
        ("engine.ep=8", "engine.ep: 8 here"),
        ("engine.environment.HF_TOKEN=hunter2", None),
    ],
)
def test_a_difference_has_its_value_and_cost(override: str, line: str | None) -> None:
    """A secret is not shown, and nobody has published what 9 draft tokens cost."""
    scenario = changed(B200, override)
    (key,) = scenario.published[0].changed or [""]
    found = difference(key, scenario)
    assert "hunter2" not in found
    if line is not None:
        assert found == line
    else:
        assert "known to cost" not in found


def test_the_cost_of_a_group_needs_another_value() -> None:
    """A padded graph is still a graph."""
    scenario = changed(B200, "engine.llm_api.cuda_graph_config.enable_padding=true")
    assert "known to cost" not in difference("engine.llm_api.cuda_graph_config.enable_padding", scenario)


@pytest.mark.parametrize(
    ("name", "value", "percent"),
    [
        ("cuda_graphs", False, 86.1),
        ("cuda_graphs", True, None),
        ("draft_tokens", 3, None),
        ("draft_tokens", 7, 20.7),
        ("overlap_scheduler", False, 2.9),
        ("max_batch_size", 4, None),
        ("moe_backend", "CUTLASS", None),
        ("moe_backend", "DEEPGEMM", None),
        ("relaxed_acceptance", False, 7.3),
        ("max_num_tokens", [4], None),
        ("draft_tokens", None, None),
    ],
)
def test_costs_by_shared_name(name: str, value: object, percent: float | None) -> None:
    cost = known_cost(name, value, changed(B200))
    assert (cost.least_percent if cost else None) == percent


def test_what_draft_tokens_cost_in_both_publications() -> None:
    """3 of them are fastest in both; output speeds in tok/s, from 0 draft tokens on."""
    blog = (111, 198, 250, 253, 245, 239)
    pull_request = (151.1, 266.1, 317.7, 320.3, 306.4, 291.8, 269.5, 254.0)
    for count in {*range(8)} - {3}:
        costs = sorted(
            round(100 * (1 - speeds[count] / speeds[3]), 1)
            for speeds in (blog, pull_request)
            if count < len(speeds)
        )
        cost = known_cost("draft_tokens", count, changed(B200))
        assert cost is not None
        assert [cost.least_percent, cost.most_percent] == [costs[0], costs[-1]]
        assert ("tech blog 1" in cost.source) == (len(costs) == 2)


def test_costs_were_measured_on_one_machine_at_two_loads() -> None:
    assert known_cost("cuda_graphs", False, changed("h200/min-latency")) is None
    full = changed("b200/max-throughput")
    cost = known_cost("cuda_graphs", False, full)
    assert cost is not None
    assert cost.sentence == (
        "known to cost 18% to 22% at full load on 8 NVIDIA B200 (TensorRT-LLM's tech blog 3)"
    )
    four = changed("b200/max-throughput", "hardware.count=4", "engine.tp=4", "engine.ep=4")
    assert known_cost("cuda_graphs", False, four) is None
    for concurrency, known in {"1024": True, "1023": False, "2": False, "all": True}.items():
        scenario = changed("b200/max-throughput", f"load.concurrency={concurrency}")
        assert (known_cost("cuda_graphs", False, scenario) is not None) is known


@pytest.mark.parametrize(
    ("suite", "override", "percent"),
    [
        ("max-throughput", "engine.llm_api.enable_attention_dp=false", "75% to 80%"),
        ("max-throughput", "engine.ep=1", "29.6% to 58.7%"),
        ("max-throughput", "engine.ep=null", "29.6% to 58.7%"),
        ("max-throughput", "engine.ep=4", None),
        ("max-throughput", "engine.llm_api.disable_overlap_scheduler=true", "3.8% to 4%"),
        ("max-throughput-0528-fp8kv", "engine.llm_api.kv_cache_config.dtype=bfloat16", "5.7%"),
        ("max-throughput-0528-fp8kv", "engine.llm_api.kv_cache_config.dtype=auto", None),
        ("min-latency", "engine.llm_api.enable_attention_dp=true", "up to 84.2%"),
        ("min-latency", "engine.llm_api.moe_config.backend=CUTLASS", "up to 15.4%"),
        (
            "min-latency-relaxed",
            "engine.llm_api.speculative_config.use_relaxed_acceptance_for_thinking=false",
            "7.3% to 7.6%",
        ),
    ],
)
def test_what_a_key_of_the_scenario_costs(suite: str, override: str, percent: str | None) -> None:
    cost = cost_of(override.partition("=")[0], changed(f"b200/{suite}", override))
    if percent is None:
        assert cost is None
    else:
        assert cost is not None
        assert f"known to cost {percent} " in cost.sentence


@pytest.mark.parametrize(
    ("name", "value", "once", "again"),
    [("attention_dp", False, 4, 5), ("ep", 1, 1.42, 2.42), ("kv_cache_dtype", "BF16", 1.06, 1.06)],
)
def test_costs_at_full_load_follow_from_speedups(name: str, value: object, once: float, again: float) -> None:
    cost = known_cost(name, value, changed("b200/max-throughput"))
    assert cost is not None
    expected = [round(100 * (1 - 1 / factor), 1) for factor in (once, again)]
    assert [cost.least_percent, cost.most_percent] == expected


def test_publications_have_the_differences_of_a_scenario() -> None:
    scenario = changed(B200, "engine.ep=8", "load.num_requests=4")
    newest = next(published_values(scenario, None))
    assert newest.differences == ("engine.ep: 8 here", "load.num_requests: 4 here")
