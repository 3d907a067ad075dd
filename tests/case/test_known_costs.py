"""What options are known to cost, and how a scenario differs from the published run."""

from __future__ import annotations

import pytest

from pytest_dsr1.case.known_costs import difference, known_cost
from pytest_dsr1.case.published import published_values
from pytest_dsr1.scenario.loading import load
from pytest_dsr1.scenario.schema.scenario import Scenario
from tests.helpers.paths import SUITES

B200 = "b200/min-latency"
GRAPHS = "known to cost 86.1% for one request at a time on NVIDIA B200 (TensorRT-LLM's tech blog 2)"
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
            "time on NVIDIA B200 (TensorRT-LLM's tech blog 2)",
        ),
        (
            "engine.llm_api.speculative_config.max_draft_len=1",
            "engine.llm_api.speculative_config.max_draft_len: 1 here, known to cost 16.9% to 21.7% for one "
            f"request at a time on NVIDIA B200 {DEPTHS}",
        ),
        (
            "engine.llm_api.speculative_config=null",
            "engine.llm_api.speculative_config: null here, known to cost 52.8% to 56.1% for one request at a "
            f"time on NVIDIA B200 {DEPTHS}",
        ),
        ("engine.llm_api.speculative_config.max_draft_len=9", None),
        ("engine.ep=4", "engine.ep: 4 here"),
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


def test_costs_were_measured_on_one_gpu_with_one_request_at_a_time() -> None:
    assert known_cost("cuda_graphs", False, changed("h200/min-latency")) is None
    assert known_cost("cuda_graphs", False, changed("b200/max-throughput")) is None


def test_publications_have_the_differences_of_a_scenario() -> None:
    scenario = changed(B200, "engine.ep=4", "load.num_requests=4")
    newest = next(published_values(scenario, None))
    assert newest.differences == ("engine.ep: 4 here", "load.num_requests: 4 here")
