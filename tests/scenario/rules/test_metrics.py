"""What a judged metric needs of the scenario: each rule broken alone, with its whole message."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.plugins import plugged_in
from tests.helpers.scenario_files import changed, load_text, mistakes

STREAMING = "is measured only with `engine.streaming: true`, found false"
MTP = "is measured only with `engine.llm_api.speculative_config`, found none"
SLO = "is measured only with `slo`, found none"


def target(metric: str) -> tuple[str, str]:
    return "metric: request_throughput", f"metric: {metric}"


def gate(metric: str) -> tuple[str, str]:
    return "targets:\n", f"gate: {{metric: {metric}}}\ntargets:\n"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (target("ttft_p99"), f"31:5: targets.1.metric: ttft_p99 {STREAMING}"),
        (target("average_inter_event_gap"), f"31:5: targets.1.metric: average_inter_event_gap {STREAMING}"),
        (gate("average_ttft"), f"28:8: gate.metric: average_ttft {STREAMING}"),
        (target("acceptance_length"), f"31:5: targets.1.metric: acceptance_length {MTP}"),
        (gate("acceptance_length"), f"28:8: gate.metric: acceptance_length {MTP}"),
        (target("goodput"), f"31:5: targets.1.metric: goodput {SLO}"),
        (target("slo_attainment"), f"31:5: targets.1.metric: slo_attainment {SLO}"),
    ],
)
def test_a_metric_that_cannot_be_measured_is_refused(
    tmp_path: Path, change: tuple[str, str], message: str
) -> None:
    assert mistakes(tmp_path, changed(change)) == [f"s.yaml:{message}"]


CPU = """\
name: cpu
description: A scenario of the tests
hardware: {}
model: {name: deepseek-ai/DeepSeek-R1, random_weights: {}}
dataset: {input_tokens: 64, output_tokens: 64}
load: {concurrency: 1, num_requests: 10}
engine: {type: transformers}
targets:
  - metric: total_output_throughput
    value: 1.0
"""


MUTE = """
from typing import Literal
from pytest_dsr1.engines.protocol import EngineSpec
from pytest_dsr1.scenario.schema.engine import EngineSettings

class Mute(EngineSettings):
    \"\"\"An engine without streaming.\"\"\"

    type: Literal["mute"]
    \"\"\"Mute.\"\"\"

    @property
    def streams(self):
        return False

def pytest_dsr1_engines():
    return [EngineSpec(settings=Mute, create=object)]
"""


@pytest.mark.parametrize(("metric", "wanted"), [("ttft_p99", "streaming"), ("acceptance_length", "drafts")])
def test_an_engine_without_a_setting_for_it(tmp_path: Path, metric: str, wanted: str) -> None:
    text = CPU.replace("type: transformers", "type: mute").replace("total_output_throughput", metric)
    with plugged_in(tmp_path, "mute", MUTE):
        assert mistakes(tmp_path, text) == [
            f"s.yaml:9:5: targets.0.metric: {metric} is measured only with {wanted}, which the engine "
            "`mute` lacks"
        ]


def test_only_a_run_shows_whether_a_server_speculates(tmp_path: Path) -> None:
    text = CPU.replace("type: transformers", "type: openai, server: vllm")
    text = text.replace("total_output_throughput", "acceptance_length")
    assert load_text(tmp_path, text).scenario.targets[0].metric == "acceptance_length"


@pytest.mark.parametrize("key", ["engine.streaming", "engine.llm_api.speculative_config"])
def test_nothing_is_said_about_a_setting_that_is_a_mistake(tmp_path: Path, key: str) -> None:
    metric = "ttft_p99" if key == "engine.streaming" else "acceptance_length"
    wrong = {"engine.streaming": "  streaming: maybe\n  ep: 8\n"}.get(key)
    change = ("  ep: 8\n", wrong) if wrong else ("  llm_api:\n", "  llm_api:\n    speculative_config: 3\n")
    (found,) = mistakes(tmp_path, changed(target(metric), change))
    assert f" {key}: expected" in found


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [
        ("total_output_throughput", "per_gpu_output_throughput", "9:5: targets.0.metric"),
        ("targets:\n", "gate: {metric: per_gpu_output_throughput}\ntargets:\n", "8:8: gate.metric"),
    ],
)
def test_a_metric_per_gpu_needs_one(tmp_path: Path, old: str, new: str, place: str) -> None:
    assert mistakes(tmp_path, CPU.replace(old, new)) == [
        f"s.yaml:{place}: per_gpu_output_throughput needs a GPU, but hardware.count is 0"
    ]


def test_an_engine_that_always_streams_shows_the_times_of_tokens(tmp_path: Path) -> None:
    text = CPU.replace("total_output_throughput", "ttft_p99")
    assert load_text(tmp_path, text).scenario.targets[0].metric == "ttft_p99"
