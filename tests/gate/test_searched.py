"""What a gate compares of a search, and how narrow that must be."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_dsr1.errors import UserError
from pytest_dsr1.gate.noise import Level, level
from pytest_dsr1.gate.searched import facts_of, refuse_unfit, too_coarse, with_own_error
from pytest_dsr1.machine.values import FactValue
from pytest_dsr1.scenario.schema.search import Search
from tests.helpers.scenario_files import changed, load_text
from tests.helpers.values import scenario

LOAD: dict[str, FactValue] = {
    "dataset.content": "ab12",
    "option.load.concurrency": 20,
    "option.load.num_requests": 400,
    "option.load.duration_s": 60.0,
    "option.load.arrival.rate_req_s": 3.5,
}
"""Facts of one probe."""


def asked(search: dict[str, Any], **changes: Any) -> dict[str, FactValue]:
    """Return the facts of a search, without ``dataset``."""
    searched = scenario(search={"load": {"concurrency": [1, 64]}, **search}, **changes)
    found = facts_of({**LOAD, "driver": "575", "option.load.arrival.kind": "poisson"}, searched)
    prefix = "option.load.search."
    assert {key: found.pop(key) for key in ("driver", "option.load.arrival.kind")} == {
        "driver": "575",
        "option.load.arrival.kind": "poisson",
    }
    assert all(key.startswith(prefix) for key in found), "the load of a probe is not compared"
    found.pop(f"{prefix}dataset")
    return {key.removeprefix(prefix): fact for key, fact in found.items()}


def test_a_search_is_compared_by_its_question() -> None:
    """The range, the goal, the width and the service level, however that is given."""
    question: dict[str, FactValue] = {"range": ["1", "64"], "goal": 0.99, "width_percent": 5.0}
    assert asked({}) == question
    assert asked({"slo": "mlperf-server"}) == {**question, "slo.preset": "mlperf-server"}
    assert asked({"goal": 0.9, "width_percent": 20}, slo={"request_latency_ms": 1000, "ttft_ms": 50}) == {
        **question,
        "goal": 0.9,
        "width_percent": 20.0,
        "slo.request_latency_ms": 1000.0,
        "slo.ttft_ms": 50.0,
    }
    assert asked({"load": {"rate": [0.1, 12.3456789012]}})["range"] == ["0.1", "12.3456789"]


def test_a_search_is_compared_by_the_dataset_that_its_probes_are_made_of() -> None:
    """Each probe has its own content; what they are drawn from is the same."""

    def told(**dataset: Any) -> FactValue:
        searched = scenario(search={"load": {"concurrency": [1, 64]}}, dataset=dataset)
        return facts_of({}, searched)["option.load.search.dataset"]

    first = told(input_tokens=8, output_tokens=4, seed=1)
    assert "null" not in str(first), "what is not given is not compared"
    assert first == told(seed=1, output_tokens=4, input_tokens=8)
    assert first != told(input_tokens=8, output_tokens=4, seed=2)
    assert told(path="x.jsonl", input_tokens=8, output_tokens=4, seed=1, vocab_size=100) == (
        '{"input_tokens": 8, "output_tokens": 4, "path": "x.jsonl", "seed": 1, "vocab_size": 100}'
    )


@pytest.mark.parametrize(("delta", "fit"), [(5.1, True), (5, False), (4.9, False)])
def test_a_gate_of_searches_needs_a_delta_above_their_width(tmp_path: Path, delta: float, fit: bool) -> None:
    text = changed(
        ("load:\n  concurrency: 1024\n", "load:\n  concurrency: 1\n"),
        ("  type: trtllm-bench\n", "  type: openai\n  command: [vllm, serve]\n"),
        ("  llm_api:\n    enable_attention_dp: true\n    cuda_graph_config:\n      batch_sizes: [128]\n", ""),
        ('  environment:\n    TRTLLM_DG_JIT_USE_NVCC: "1"\n', ""),
        (
            "targets:\n",
            f"search: {{load.concurrency: [1, 64], slo: mlperf-server}}\ngate: {{delta_percent: {delta}}}\n"
            "targets:\n",
        ),
    )
    loaded = load_text(tmp_path, text)
    if fit:
        refuse_unfit(loaded, loaded.scenario)
        return
    with pytest.raises(UserError) as caught:
        refuse_unfit(loaded, loaded.scenario)
    assert str(caught.value) == (
        f"{tmp_path / 's.yaml'}:24: a gate of searches needs gate.delta_percent above search.width_percent, "
        f"found {delta:g} and 5: set a larger delta, or a narrower search"
    )


def test_a_step_of_the_concurrency_is_less_than_delta() -> None:
    """The next number below 7 is 14% less."""
    asked = Search.model_validate({"load": {"concurrency": [1, 64]}})
    gated = scenario(search=asked, gate={"delta_percent": 8})
    assert too_coarse(gated, 20.0) == ""
    assert too_coarse(gated, 12.6) == ""
    assert too_coarse(gated, 12.5) != "", "a step is exactly 8%"
    assert too_coarse(gated, 7.0) == (
        "small: a step of the concurrency is 14% of the references' mean 7, so a search cannot show a loss "
        "of 8%: set a larger gate.delta_percent, or search load.rate"
    )
    rate = Search.model_validate({"load": {"rate": [1.0, 64.0]}})
    assert too_coarse(scenario(search=rate, gate={"delta_percent": 8}), 7.0) == ""
    throughput = scenario(search=asked, gate={"delta_percent": 8, "metric": "throughput_at_slo"})
    assert too_coarse(throughput, 7.0) == ""


def test_the_noise_of_searches_is_at_least_the_error_of_one() -> None:
    """Whole numbers agree by chance. Without this, the next step of the load would be a loss."""
    equal = level([math.log(20.0)] * 20, range(20))
    assert with_own_error(equal, [1.0, 1.5, 2.0]) == replace(equal, sd=0.015)
    noisy = Level(3.0, 0.02, 19, 0.05, 20)
    assert with_own_error(noisy, [1.5]) == noisy
