"""What imported disaggregated servers are told is held against NVIDIA's rule, which is written anew here."""

from __future__ import annotations

from math import ceil
from pathlib import Path
from typing import Any

import pytest
import yaml

from pytest_dsr1.engines.openai.settings import OpenAi
from pytest_dsr1.scenario.loading import LoadedScenario, load
from tests.helpers.imports import (
    DATA,
    EXCLUDED,
    NEWEST,
    harvested,
    harvested_text,
    imported,
    written_options_of_roles,
)
from tests.helpers.paths import SUITES

FILES = sorted((DATA / "perf_sanity" / "disaggregated").glob("*.yaml"))
FORCED = "TLLM_SPEC_DECODE_FORCE_NUM_ACCEPTED_TOKENS"
LEAST_1 = "expected a whole number of at least 1"

# The file up to its number in flight: GPUs, nodes, requests in flight, rounds, input, output, forced length.
LOADS = {
    "b200_deepseek-r1-fp4_1k1k_con1_": (12, 2, 1, 10, 1024, 1024, None),
    "b200_deepseek-r1-fp4_1k1k_con256_": (12, 2, 256, 10, 1024, 1024, None),
    "b200_deepseek-r1-fp4_1k1k_con2048_": (12, 2, 2048, 5, 1024, 1024, 2.0),
    "b200_deepseek-r1-fp4_8k1k_con1_": (12, 2, 1, 10, 8192, 1024, None),
    "b200_deepseek-r1-fp4_8k1k_con256_": (12, 2, 256, 10, 8192, 1024, 2.0),
    "b200_deepseek-r1-fp4_8k1k_con1536_": (12, 2, 1536, 10, 8192, 1024, None),
    "gb200_deepseek-r1-fp4_128k8k_con1_": (16, 4, 1, 10, 131072, 8192, None),
    "gb200_deepseek-r1-fp4_1k1k_con1024_": (36, 9, 1024, 10, 1024, 1024, None),
    "gb200_deepseek-r1-fp4_1k1k_con2048_": (24, 6, 2048, 5, 1024, 1024, 4.0),
    "gb300_deepseek-r1-fp4_128k8k_con256_": (12, 3, 256, 2, 131072, 8192, 2.0),
}


@pytest.fixture(scope="module")
def scenarios(tmp_path_factory: pytest.TempPathFactory) -> dict[str, LoadedScenario]:
    folder = tmp_path_factory.mktemp("imported")
    return {name: one for file in FILES for name, one in imported(file, folder).items()}


def test_each_file_is_one_scenario_of_its_name(scenarios: dict[str, LoadedScenario]) -> None:
    assert list(scenarios) == [file.stem for file in FILES]
    assert len(LOADS) == len(FILES) == 10


def theirs(server: dict[str, Any]) -> dict[str, Any]:
    """NVIDIA's options file: every key that is not excluded; with the draft length by its newest name."""
    kept = {key: value for key, value in server.items() if key not in EXCLUDED}
    if "num_nextn_predict_layers" in (draft := dict(kept.get("speculative_config", {}))):
        draft["max_draft_len"] = draft.pop("num_nextn_predict_layers")
        kept["speculative_config"] = draft
    return kept


def variables(text: str) -> dict[str, str]:
    pairs = dict(word.split("=", 1) for word in text.split())
    return {key: value for key, value in pairs.items() if key != FORCED}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_each_server_is_told_what_nvidias_is(scenarios: dict[str, LoadedScenario], file: Path) -> None:
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    given, around = content["worker_config"], content["environment"]
    loaded = scenarios[file.stem]
    assert written_options_of_roles(loaded) == {
        "context": theirs(given["ctx"]),
        "generation": theirs(given["gen"]),
    }
    engine = OpenAi.of(loaded.scenario)
    assert {name: role.environment for name, role in engine.roles.items()} == dict.fromkeys(
        ("context", "generation"), variables(around["worker_env_var"])
    )
    assert engine.environment == variables(around["server_env_var"])


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_nodes_are_those_of_nvidias_rule(scenarios: dict[str, LoadedScenario], file: Path) -> None:
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    hardware, nodes, gpus = content["hardware"], 0, 0
    for role, server in content["worker_config"].items():
        size = server["tensor_parallel_size"] * server["pipeline_parallel_size"]
        gpus += hardware[f"num_{role}_servers"] * size
        nodes += hardware[f"num_{role}_servers"] * ceil(size / hardware["gpus_per_node"])
    ours = scenarios[file.stem].scenario.hardware
    assert (ours.count, ours.nodes) == (gpus, nodes)


@pytest.mark.parametrize("start", LOADS)
def test_the_load_is_nvidias(scenarios: dict[str, LoadedScenario], start: str) -> None:
    gpus, nodes, concurrency, rounds, inputs, outputs, forced = LOADS[start]
    (scenario,) = (one.scenario for name, one in scenarios.items() if name.startswith(start))
    assert (scenario.hardware.count, scenario.hardware.nodes) == (gpus, nodes)
    load, data = scenario.load, scenario.dataset
    assert (load.concurrency, load.num_requests, load.warmup_requests) == (
        concurrency,
        concurrency * rounds,
        0,
    )
    assert (data.input_tokens, data.output_tokens) == (inputs, outputs)
    assert (scenario.speculation and scenario.speculation.acceptance_length) == forced
    assert scenario.gate.metric == "total_output_throughput"
    assert (scenario.targets, scenario.published) == ([], [])


SHIPPED = {
    "1024-1024-c1": "b200_deepseek-r1-fp4_1k1k_con1_",
    "1024-1024-c256": "b200_deepseek-r1-fp4_1k1k_con256_",
    "1024-1024-c2048": "b200_deepseek-r1-fp4_1k1k_con2048_",
    "8192-1024-c1": "b200_deepseek-r1-fp4_8k1k_con1_",
    "8192-1024-c256": "b200_deepseek-r1-fp4_8k1k_con256_",
    "8192-1024-c1536": "b200_deepseek-r1-fp4_8k1k_con1536_",
}


@pytest.mark.parametrize(("load_of", "start"), SHIPPED.items())
def test_the_shipped_scenarios_run_the_same(
    scenarios: dict[str, LoadedScenario], load_of: str, start: str
) -> None:
    """They were written by hand."""
    (made,) = (one for name, one in scenarios.items() if name.startswith(start))
    path = SUITES / "b200" / f"perf-sanity-disaggregated-{load_of}.yaml"
    shipped = load(path, overrides=[NEWEST])
    assert written_options_of_roles(shipped) == written_options_of_roles(made)
    same, other = shipped.scenario, made.scenario
    assert same.source
    assert same.source.document.endswith(made.scenario.name + ".yaml")
    assert (same.load, same.speculation, same.model) == (other.load, other.speculation, other.model)
    assert (same.hardware.count, same.hardware.nodes) == (other.hardware.count, other.hardware.nodes)
    assert OpenAi.of(same).environment == OpenAi.of(other).environment
    for role, servers in OpenAi.of(same).roles.items():
        assert servers.environment == OpenAi.of(other).roles[role].environment


def test_a_scenario_says_what_it_does_not_take_over() -> None:
    (case,) = harvested(FILES[2], "036f1e86").cases
    assert case.name.startswith("b200_deepseek-r1-fp4_1k1k_con256_")
    assert case.tree["description"] == (
        "DeepSeek-R1-0528-FP4-v2 on 12 B200 with disaggregated trtllm-serve, 1024 tokens in and 1024 out, "
        "256 in flight (perf-sanity, e2e)"
    )
    source = case.tree["source"]
    assert (source["document"], source["commit"]) == (f"{FILES[2].name}: perf-sanity, e2e", "036f1e86")
    assert source["notes"][1:3] == [
        "NVIDIA binds each server's memory with `numactl -m 0,1` (slurm.numa_bind); the scenario does not.",
        "context and generation: speculative_config.num_nextn_predict_layers has the name max_draft_len "
        "since TensorRT-LLM 1.3.",
    ]


SMALL = """\
metadata: {model_name: deepseek_r1_0528_fp8, supported_gpus: [H200]}
benchmark: {concurrency_list: '4'}
hardware: {gpus_per_node: 8, num_ctx_servers: 1, num_gen_servers: 1}
environment: {worker_env_var: A=1}
worker_config:
  ctx: {tensor_parallel_size: 4, cache_transceiver_config: {backend: UCX}}
  gen: {tensor_parallel_size: 4, cache_transceiver_config: {backend: UCX}}
"""


def changed(*changes: tuple[str, str]) -> str:
    text = SMALL
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


def test_what_the_file_leaves_open_has_nvidias_defaults(tmp_path: Path) -> None:
    (case,) = harvested_text(tmp_path, SMALL).cases
    assert case.tree["hardware"] == {"gpu": "NVIDIA H200", "count": 8, "nodes": 2}
    assert case.tree["dataset"] == {"input_tokens": 1024, "output_tokens": 1024}
    assert case.tree["load"] == {"concurrency": 4, "num_requests": 4, "warmup_requests": 0}
    assert "environment" not in case.tree["engine"]


@pytest.mark.parametrize("given", ["'4 8'", "[4, '8']"])
def test_each_number_in_flight_and_each_gpu_is_a_scenario(tmp_path: Path, given: str) -> None:
    text = changed(("'4'", given), ("[H200]", "[H200, H100]"), ("A=1", "A=1, client_env_var: B=2"))
    found = harvested_text(tmp_path, text, "own.yaml")
    assert [case.name for case in found.cases] == [
        "own-h200-con4",
        "own-h100-con4",
        "own-h200-con8",
        "own-h100-con8",
    ]
    assert [case.tree["load"]["concurrency"] for case in found.cases] == [4, 4, 8, 8]
    assert (
        "client_env_var (B=2) is for NVIDIA's client, which is not used."
        in found.cases[0].tree["source"]["notes"]
    )


def test_a_role_has_variables_of_its_own(tmp_path: Path) -> None:
    more = "A=1, ctx_worker_env_var: A=2 B=3, server_env_var: C=4}"
    (case,) = harvested_text(tmp_path, changed(("A=1}", more))).cases
    engine = case.tree["engine"]
    assert engine["disaggregated"]["context"]["environment"] == {"A": "2", "B": "3"}
    assert engine["disaggregated"]["generation"]["environment"] == {"A": "1"}
    assert engine["environment"] == {"C": "4"}


def test_an_answer_may_come_as_a_whole_and_the_accuracy_is_not_tested(tmp_path: Path) -> None:
    text = changed(("'4'}", "'4', streaming: false}\naccuracy: {enable_accuracy_test: true}"))
    (case,) = harvested_text(tmp_path, text).cases
    assert case.tree["engine"]["streaming"] is False
    assert "accuracy: the accuracy is not tested." in case.tree["source"]["notes"]


REFUSED = {
    "gen_only": (
        [("'4'", "'4', mode: gen_only")],
        "it measures only the steps of the generation servers (benchmark.mode: gen_only); only e2e is "
        "imported",
    ),
    "gen_only_no_context": (
        [("'4'", "'4', mode: gen_only_no_context"), ("num_ctx_servers: 1", "num_ctx_servers: 0")],
        "it measures only the steps of the generation servers, without context servers (benchmark.mode: "
        "gen_only_no_context); only e2e is imported",
    ),
    "another model": ([("deepseek_r1_0528_fp8", "deepseek_v32_fp4")], "other models (deepseek_v32_fp4)"),
    "another GPU": (
        [("H200", "L40")],
        "the GPU L40 is unknown (known: H100, H200, B200, B300, GB200, GB300)",
    ),
    "no GPU": (
        [(", supported_gpus: [H200]", "")],
        "the file has no metadata.supported_gpus, and its name names no GPU",
    ),
    "AutoDeploy": (
        [("gen: {", "gen: {backend: _autodeploy, ")],
        "its gen servers are AutoDeploy's, which is imported only of aggregated files",
    ),
    "options elsewhere": (
        [("ctx: {", "ctx: {extra_llm_api_config_path: a.yaml, ")],
        "its ctx servers are AutoDeploy's, which is imported only of aggregated files",
    ),
    "one role is forced": (
        [("A=1", f"A=1, gen_worker_env_var: {FORCED}=1")],
        f"its context and generation servers have different values of {FORCED}",
    ),
    "the accuracy alone": (
        [("'4'}", "'4', only_run_accuracy: true}\naccuracy: {enable_accuracy_test: true}")],
        "its client tests the accuracy only",
    ),
    "two numbers of GPUs": (
        [("gen: {", "gen: {gpus: 8, ")],
        "its gpus is 8, but its tensor x pipeline x context parallelism is 4 x 1 x 1",
    ),
}


@pytest.mark.parametrize(("changes", "reason"), REFUSED.values(), ids=list(REFUSED))
def test_what_cannot_be_said_is_refused_with_the_reason(
    tmp_path: Path, changes: list[tuple[str, str]], reason: str
) -> None:
    found = harvested_text(tmp_path, changed(*changes), "own.yaml")
    assert (found.cases, found.problems) == ([], [])
    assert [refusal.reason for refusal in found.refusals] == [reason]


def test_all_mistakes_are_found_at_once_with_their_lines(tmp_path: Path) -> None:
    found = harvested_text(
        tmp_path,
        """\
metadata: {supported_gpus: [H200]}
benchmark: {concurrency_list: 4 x, mode: fast, multi_round: 0, benchmark_ratio: 1}
hardware: {num_ctx_servers: 0}
environment: {worker_env_var: A}
worker_config:
  ctx: {tensor_parallel_size: "4"}
  gen: {enable_attention_dp: yes}
""",
    )
    assert found.cases == []
    assert [str(problem).removeprefix(f"{tmp_path}/own_b200.yaml:") for problem in found.problems] == [
        "1:11: metadata.model_name: missing; expected the name of a model",
        "2:31: benchmark.concurrency_list: expected whole numbers of at least 1, found '4 x'",
        "2:42: benchmark.mode: expected one of e2e, gen_only, gen_only_no_context; found fast",
        f"2:61: benchmark.multi_round: {LEAST_1}, found the number 0",
        "2:81: benchmark.benchmark_ratio: expected less than 1, found 1",
        "3:11: hardware.num_gen_servers: missing; expected a whole number of at least 1",
        f"3:29: hardware.num_ctx_servers: {LEAST_1}, found the number 0",
        "4:31: environment.worker_env_var: expected NAME=VALUE, found 'A'",
        f"6:31: worker_config.ctx.tensor_parallel_size: {LEAST_1}, found the text '4'",
        "7:30: worker_config.gen.enable_attention_dp: TensorRT-LLM reads yes as True, pytest-dsr1 as 'yes': "
        "write it in another form",
    ]
