"""The options files of imported cases are held against NVIDIA's own rule, which is written anew here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from pytest_dsr1.importing.served import safe_name
from pytest_dsr1.scenario.loading import LoadedScenario, load
from tests.helpers.imports import (
    DATA,
    EXCLUDED,
    NEWEST,
    PERF_SANITY,
    harvested,
    harvested_text,
    imported,
    written_options,
)
from tests.helpers.paths import SUITES

LEAST_1 = "expected a whole number of at least 1"
YOURS = "DSR1_DATASET names text of yours with about these lengths (`pytest-dsr1 docs datasets`)."

TWO_NODES = "deepseek_r1_fp4_v2_2_nodes_blackwell"
# File, case, tp, ep, requests in flight, rounds, input, output, GPUs.
CASES = [
    ("deepseek_r1_fp4_v2_blackwell", "r1_fp4_v2_tp4_mtp3_1k1k", 4, 1, 2, 10, 1024, 1024, 4),
    ("deepseek_r1_fp4_v2_blackwell", "r1_fp4_v2_dep8_mtp1_1k1k", 8, 8, 1024, 10, 1024, 1024, 8),
    ("deepseek_r1_fp4_v2_blackwell", "r1_fp4_v2_tp4_mtp3_8k1k", 4, 1, 4, 10, 8192, 1024, 4),
    ("deepseek_r1_fp4_v2_blackwell", "r1_fp4_v2_dep8_mtp1_8k1k", 8, 8, 256, 10, 8192, 1024, 8),
    ("deepseek_r1_fp8_blackwell", "r1_fp8_tp8_mtp3_1k1k", 8, 1, 4, 10, 1024, 1024, 8),
    ("deepseek_r1_fp8_blackwell", "r1_fp8_dep8_mtp1_1k1k", 8, 8, 1024, 10, 1024, 1024, 8),
    ("deepseek_r1_fp8_blackwell", "r1_fp8_tp8_mtp3_8k1k", 8, 1, 4, 10, 8192, 1024, 8),
    ("deepseek_r1_fp8_blackwell", "r1_fp8_dep8_mtp1_8k1k", 8, 8, 256, 10, 8192, 1024, 8),
    ("deepseek_r1_fp8_blackwell", "r1_fp8_tp8_6k1k", 8, 1, 64, 10, (4915, 7372), (819, 1228), 8),
    (TWO_NODES, "r1_fp4_v2_dep16_mtp1_1k1k", 16, 16, 1024, 10, 1024, 1024, 16),
    (TWO_NODES, "r1_fp4_v2_dep16_mtp1_8k1k", 16, 16, 1024, 10, 8192, 1024, 16),
    (TWO_NODES, "r1_fp4_v2_dep16_cutedsl_deepepll_smoke", 16, 16, 2, 1, 32, 16, 16),
    (TWO_NODES, "r1_fp4_v2_tep16_mtp3", 16, 16, 32, 12, 1024, 1024, 16),
    *(
        ("config_database_h200_sxm", f"deepseek_ai_DeepSeek_R1_0528_{load}_gpu8", 8, 8, conc, 10, isl, osl, 8)
        for isl, osl, concs in [
            (1024, 1024, (1, 32, 2048)),
            (1024, 8192, (1, 16, 512)),
            (8192, 1024, (1, 16, 256)),
        ]
        for conc in concs
        for load in [f"{isl}_{osl}_conc{conc}"]
    ),
]


@pytest.fixture(scope="module")
def scenarios(tmp_path_factory: pytest.TempPathFactory) -> dict[str, LoadedScenario]:
    folder = tmp_path_factory.mktemp("imported")
    return {
        name: scenario
        for file in sorted(PERF_SANITY.glob("*.yaml"))
        for name, scenario in imported(file, folder).items()
    }


def servers(file: str) -> dict[str, dict[str, Any]]:
    content = yaml.safe_load((PERF_SANITY / f"{file}.yaml").read_text())
    return {server["name"]: server for server in content["server_configs"]}


def theirs(server: dict[str, Any]) -> dict[str, Any]:
    """NVIDIA's options file: the external file, if any, below every key that is not excluded."""
    external = server.get("extra_llm_api_config_path")
    below = yaml.safe_load((DATA / "perf_sanity" / external).read_text()) if external else {}
    return below | {key: value for key, value in server.items() if key not in EXCLUDED}


def test_the_cases_are_those_of_the_four_files() -> None:
    assert len(CASES) == 18 + 4
    for file in {case[0] for case in CASES}:
        ours = {case[1] for case in CASES if case[0] == file}
        assert ours == {name for name in servers(file) if "gpt_oss" not in name}


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}-{case[1]}")
def test_the_options_file_is_nvidias(scenarios: dict[str, LoadedScenario], case: tuple[Any, ...]) -> None:
    file, name, *_ = case
    assert written_options(scenarios[f"{file}-{name}"]) == theirs(servers(file)[name])


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}-{case[1]}")
def test_the_load_is_nvidias(scenarios: dict[str, LoadedScenario], case: tuple[Any, ...]) -> None:
    file, name, tp, ep, concurrency, rounds, inputs, outputs, gpus = case
    scenario = scenarios[f"{file}-{name}"].scenario
    assert (scenario.engine.tp, scenario.engine.ep) == (tp, ep)  # type: ignore[attr-defined]
    load = scenario.load
    assert (load.concurrency, load.num_requests, load.warmup_requests) == (
        concurrency,
        concurrency * rounds,
        0,
    )
    assert (scenario.hardware.count, scenario.hardware.nodes) == (gpus, 2 if gpus > 8 else 1)
    lengths = [
        length if isinstance(length, int) else (length.minimum, length.maximum)  # type: ignore[union-attr]
        for length in (scenario.dataset.input_tokens, scenario.dataset.output_tokens)
    ]
    assert lengths == [inputs, outputs]
    assert scenario.gate.metric == "total_output_throughput"
    assert scenario.targets == []


def test_the_options_of_the_other_files_are_nvidias_too(scenarios: dict[str, LoadedScenario]) -> None:
    shown = {case[0] for case in CASES}
    others = [file.stem for file in PERF_SANITY.glob("*.yaml") if file.stem not in shown]
    compared = 0
    for file in others:
        for name, server in servers(file).items():
            for suffix in ("", "-gb200", "-gb300"):
                if scenario := scenarios.get(f"{file}-{name}{suffix}"):
                    assert written_options(scenario) == theirs(server)
                    compared += 1
    assert compared == 5 + 4 + 1


SHIPPED = {"config_database_h200_sxm": "h200/perf-sanity", TWO_NODES: "b200/perf-sanity-2-nodes"}


def test_the_shipped_scenarios_run_the_same(scenarios: dict[str, LoadedScenario]) -> None:
    """They were written by hand; the smoke test of two nodes does not ship."""
    compared = 0
    for file, name, _, _, concurrency, _, isl, osl, _ in CASES:
        if file in SHIPPED and "smoke" not in name:
            path = SUITES / f"{SHIPPED[file]}-{isl}-{osl}-c{concurrency}.yaml"
            shipped, made = load(path, overrides=[NEWEST]), scenarios[f"{file}-{name}"]
            assert written_options(shipped) == written_options(made)
            same, other = shipped.scenario, made.scenario
            assert (same.load, same.speculation) == (other.load, other.speculation)
            assert same.hardware.nodes == other.hardware.nodes
            assert same.dataset.input_tokens == other.dataset.input_tokens
            assert same.dataset.output_tokens == other.dataset.output_tokens
            if same.speculation is None:
                assert same.dataset == other.dataset
            compared += 1
    assert compared == 9 + 3


def test_an_imported_scenario_says_where_it_comes_from_and_what_is_missing() -> None:
    found = harvested(PERF_SANITY / "config_database_b200_nvl.yaml", "1f1d64f0")
    forced, _, natural, by_one, _ = (case.tree for case in found.cases)
    assert forced["source"] == {
        "document": "config_database_b200_nvl.yaml: perf-sanity case "
        "deepseek_ai_DeepSeek_R1_0528_1024_1024_conc1_gpu8",
        "commit": "1f1d64f0",
        "notes": [
            "The client of the source sends random starts of neighboring ids; here all ids are random, as "
            "the acceptance length is forced.",
            "match_mode says how NVIDIA's database finds earlier results; it changes no run.",
            "TLLM_SPEC_DECODE_FORCE_NUM_ACCEPTED_TOKENS=3 forces the acceptance length 4.",
        ],
    }
    assert forced["speculation"] == {"acceptance_length": 4.0}
    assert forced["dataset"] == {"input_tokens": 1024, "output_tokens": 1024}
    assert "environment" not in forced["engine"]
    assert "speculation" not in natural
    assert by_one["speculation"] == {"acceptance_length": 2.0}
    assert by_one["model"] == {
        "name": "nvidia/DeepSeek-R1-0528-FP4-v2",
        "path": "${DSR1_MODELS}/DeepSeek-R1-0528-FP4-v2",
        "quantization": "NVFP4",
        "kv_cache_quantization": "FP8",
    }
    assert by_one["source"]["notes"][-1] == (
        "The formats of this checkpoint's weights and KV cache are those of nvidia/DeepSeek-R1-0528-FP4; its "
        "own "
        "hf_quant_config.json was not read."
    )


def test_a_check_of_the_log_is_no_option_and_is_told() -> None:
    smoke = harvested(PERF_SANITY / f"{TWO_NODES}.yaml").cases[2].tree
    assert smoke["source"]["notes"][1] == (
        "expected_communication_strategy: NVIDIA looks for DeepEPLowLatency in the server's log."
    )
    assert smoke["engine"]["environment"]["TRTLLM_FORCE_COMM_METHOD"] == "DEEPEPLOWLATENCY"


def test_multi_token_prediction_needs_text() -> None:
    given = harvested(PERF_SANITY / "deepseek_r1_fp8_blackwell.yaml").cases[0].tree
    assert given["dataset"] == {"path": "${DSR1_DATASET}", "input_tokens": 1024, "output_tokens": 1024}
    assert given["source"]["notes"] == [
        f"datasets/perf-ci/deepseek_r1-1k1k-20480-ratio-1_for_serve.json is not public: {YOURS}"
    ]
    random = harvested(PERF_SANITY / "config_database_h200_sxm.yaml").cases[0].tree
    assert random["dataset"]["path"] == "${DSR1_DATASET}"
    assert random["source"]["notes"][0] == (
        "The client of the source sends random starts of neighboring ids; the speed of multi-token "
        "prediction "
        f"depends on the text: {YOURS}"
    )


def test_what_is_no_run_of_deepseek_r1_is_refused_by_name() -> None:
    found = harvested(DATA / "perf_sanity")
    where = "tests/data/perf_sanity"
    assert [str(refusal) for refusal in found.refusals] == [
        f"{where}/aggregated/config_database_h200_sxm.yaml: 1 case: not imported: other models "
        "(gpt_oss_120b_fp4)",
        f"{where}/examples/auto_deploy/model_registry/configs/deepseek-r1.yaml:2: not imported: it is an "
        "options file "
        "without a load; a name such as B200/1k1k_tp8_conc64.yaml would say it. Write a scenario with your "
        "load, and "
        "put the options into engine.llm_api",
    ]
    assert len(found.cases) == 28 + 4 + 10


SMALL = """\
metadata: {model_name: deepseek_r1_0528_fp8, supported_gpus: [B200]}
hardware: {gpus_per_node: 8}
server_configs:
  - name: a
    tensor_parallel_size: 8
    client_configs:
      - {concurrency: 4, isl: 1024, osl: 1024}
"""


def changed(*changes: tuple[str, str]) -> str:
    text = SMALL
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


REFUSED = [
    (
        ("tensor_parallel_size", "tp: 8\n    tensor_parallel_size"),
        "it is of the older style with the keys tp; import a file of perf-sanity/aggregated/ instead",
    ),
    (
        ("tensor_parallel_size: 8", "backend: _autodeploy\n    extra_llm_api_config_path: ../x.yaml"),
        "the rest of its options is in ../x.yaml, which is not in a folder above this file; import the file "
        "where it "
        "is in a checkout of TensorRT-LLM",
    ),
    (
        ("isl: 1024", "isl: 1024, backend: openai-chat"),
        "its client sends to the API openai-chat; only openai (completions) is imported",
    ),
    (
        (
            "isl: 1024",
            "name: g, isl: 1, only_run_accuracy: true, accuracy_config: {enable_accuracy_test: true}",
        ),
        "its client tests the accuracy only",
    ),
    (
        ("isl: 1024", "isl: 1024, benchmark_client: agentx"),
        "its benchmark_client is agentx; only benchmark_serving, NVIDIA's or SemiAnalysis's, is imported",
    ),
    (("B200", "L40"), "the GPU L40 is unknown (known: H100, H200, B200, B300, GB200, GB300)"),
    (
        ("tensor_parallel_size", 'server_env_var: "A=${HOME}"\n    tensor_parallel_size'),
        "server_env_var: A contains ${...}, which a scenario would expand",
    ),
    (
        ("tensor_parallel_size: 8", "tensor_parallel_size: 12"),
        "it needs 12 GPUs, which do not fill 2 nodes of 8",
    ),
    (
        ("tensor_parallel_size", "gpus: 4\n    tensor_parallel_size"),
        "its gpus is 4, but its tensor x pipeline x context parallelism is 8 x 1 x 1",
    ),
    (
        ("tensor_parallel_size: 8", "gpus: 8\n    tensor_parallel_size: 2\n    context_parallel_size: 2"),
        "its gpus is 8, but its tensor x pipeline x context parallelism is 2 x 1 x 2",
    ),
    (
        (
            "tensor_parallel_size",
            "speculative_config: {decoding_type: MTP, num_nextn_predict_layers: 1, max_draft_len: 3}\n"
            "    tensor_parallel_size",
        ),
        "its speculative_config has two draft lengths, num_nextn_predict_layers: 1 and max_draft_len: 3; "
        "which one counts depends on the version of TensorRT-LLM",
    ),
    (
        (
            "metadata: {model_name: deepseek_r1_0528_fp8, supported_gpus: [B200]}\n",
            "metadata: {model_name: x}\n",
        ),
        "other models (x)",
    ),
]


@pytest.mark.parametrize(("change", "reason"), REFUSED, ids=lambda value: str(value)[:30])
def test_what_cannot_be_said_is_refused_with_the_reason(
    tmp_path: Path, change: tuple[str, str], reason: str
) -> None:
    found = harvested_text(tmp_path, changed(change))
    assert (found.cases, found.problems) == ([], [])
    assert [refusal.reason for refusal in found.refusals] == [reason]


def test_a_client_or_gpu_that_is_refused_leaves_the_others(tmp_path: Path) -> None:
    second = "osl: 1024}\n      - {concurrency: 1, name: chat, backend: openai-chat}"
    found = harvested_text(tmp_path, changed(("osl: 1024}", second)))
    assert len(found.cases) == 1
    (refusal,) = found.refusals
    assert refusal.what.endswith(", client chat")
    assert refusal.reason == "its client sends to the API openai-chat; only openai (completions) is imported"
    found = harvested_text(tmp_path, changed(("[B200]", "[B200, L40]")))
    assert [case.tree["hardware"]["gpu"] for case in found.cases] == ["NVIDIA B200"]
    (refusal,) = found.refusals
    assert refusal.what.endswith(", the client on line 7 on L40")


def test_a_file_whose_name_and_metadata_name_no_gpu_is_refused(tmp_path: Path) -> None:
    found = harvested_text(tmp_path, changed((", supported_gpus: [B200]", "")), "own.yaml")
    assert [refusal.reason for refusal in found.refusals] == [
        "the file has no metadata.supported_gpus, and its name names no GPU"
    ]
    (case,) = harvested_text(tmp_path, changed((", supported_gpus: [B200]", "")), "own_h200_sxm.yaml").cases
    assert case.tree["hardware"] == {"gpu": "NVIDIA H200", "count": 8}


def test_all_mistakes_are_found_at_once_with_their_lines(tmp_path: Path) -> None:
    found = harvested_text(
        tmp_path,
        """\
metadata: {supported_gpus: B200}
hardware: {gpus_per_node: many}
server_configs:
  - model_name: deepseek_r1_0528_fp8
    tensor_parallel_size: "8"
    max_batch_size: 0
    enable_attention_dp: yes
    backend: trt
    server_env_var: A
    client_configs:
      - {concurrency: 1.5, isl: -1, random_range_ratio: 2, streaming: 1, name: 7}
      - text
  - {name: b, model_name: deepseek_r1_0528_fp8, client_configs: []}
  - name: c
  - 5
""",
    )
    assert found.cases == []
    assert [str(problem).removeprefix(f"{tmp_path}/own_b200.yaml:") for problem in found.problems] == [
        "1:28: metadata.supported_gpus: expected a list of texts, found the text 'B200'",
        "2:27: hardware.gpus_per_node: expected a whole number of at least 0, found the text 'many'",
        f"5:27: server_configs.0.tensor_parallel_size: {LEAST_1}, found the text '8'",
        f"6:21: server_configs.0.max_batch_size: {LEAST_1}, found the number 0",
        "7:26: server_configs.0.enable_attention_dp: TensorRT-LLM reads yes as True, pytest-dsr1 as 'yes': "
        "write it in another form",
        "8:14: server_configs.0.backend: expected pytorch or _autodeploy, found trt",
        "9:21: server_configs.0.server_env_var: expected NAME=VALUE, found 'A'",
        f"11:23: server_configs.0.client_configs.0.concurrency: {LEAST_1}, found the number 1.5",
        f"11:33: server_configs.0.client_configs.0.isl: {LEAST_1}, found the number -1",
        "11:57: server_configs.0.client_configs.0.random_range_ratio: expected less than 1, found 2",
        "11:71: server_configs.0.client_configs.0.streaming: expected true or false, found the number 1",
        "11:80: server_configs.0.client_configs.0.name: expected a text, found the number 7",
        "12:9: server_configs.0.client_configs.1: expected a mapping, found the text 'text'",
        "13:65: server_configs.1.client_configs: expected a list of mappings, found an empty list",
        "14:5: server_configs.2.client_configs: missing; expected a list of mappings",
        "14:5: server_configs.2.model_name: missing, also in metadata; expected the name of a model",
        "15:5: server_configs.3: expected a mapping, found the number 5",
    ]


def test_the_client_of_semianalysis_draws_other_lengths(tmp_path: Path) -> None:
    (case,) = harvested_text(
        tmp_path,
        changed(("isl: 1024", "isl: 1000, random_range_ratio: 0.8, use_nv_sa_benchmark: true")),
    ).cases
    assert case.tree["dataset"] == {
        "input_tokens": {"minimum": 800, "maximum": 1000},
        "output_tokens": {"minimum": 819, "maximum": 1024},
    }
    assert len(case.tree["source"]["notes"]) == 1


def test_the_client_of_semianalysis_ignores_keys_of_nvidias(tmp_path: Path) -> None:
    keys = "use_nv_sa_benchmark: true, dataset_file: d/x.json, streaming: false, warmup: true"
    (case,) = harvested_text(tmp_path, changed(("isl: 1024", f"isl: 1024, {keys}"))).cases
    assert case.tree["load"]["warmup_requests"] == 0
    assert "path" not in case.tree["dataset"]
    assert "streaming" not in case.tree["engine"]
    assert case.tree["source"]["notes"][1:] == [
        "NVIDIA ignores dataset_file, streaming, warmup with use_nv_sa_benchmark: random tokens, streamed, "
        "without a warm-up."
    ]


def test_nvidias_client_warms_up_and_takes_the_lengths_of_a_dataset(tmp_path: Path) -> None:
    keys = "dataset_file: d/x.json, random_range_ratio: 0.8, streaming: false, warmup: true"
    (case,) = harvested_text(tmp_path, changed(("isl: 1024", f"isl: 1024, {keys}"))).cases
    assert case.tree["load"]["warmup_requests"] == 1
    assert case.tree["engine"]["streaming"] is False
    assert case.tree["dataset"] == {"path": "${DSR1_DATASET}", "input_tokens": 1024, "output_tokens": 1024}
    assert case.tree["source"]["notes"] == [
        f"d/x.json is not public: {YOURS}",
        "NVIDIA ignores random_range_ratio with a dataset_file, which has its own lengths.",
    ]


def test_the_placeholder_of_a_dataset_is_none(tmp_path: Path) -> None:
    keys = "dataset_file: <dataset_file>, random_range_ratio: 0.5"
    (case,) = harvested_text(tmp_path, changed(("isl: 1024", f"isl: 1024, {keys}"))).cases
    drawn = {"minimum": 512, "maximum": 1536}
    assert case.tree["dataset"] == {"input_tokens": drawn, "output_tokens": drawn}


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ("", "deepseek_r1_0528_fp8_tp8_ep1_pp1_cp1_bs512_attnTRTLLM_moe"),
        (
            "moe_config: {backend: CUTLASS}\n    cache_transceiver_config: {backend: UCX}\n"
            "    max_batch_size: 4",
            "deepseek_r1_0528_fp8_tp8_ep1_pp1_cp1_bs4_attnTRTLLM_moeCUTLASS_specUCX",
        ),
    ],
)
def test_what_has_no_name_gets_nvidias(tmp_path: Path, options: str, name: str) -> None:
    clients = "osl: 1024}\n      - {concurrency: 4, isl: 8192, osl: 1024, iterations: 2}"
    text = changed(("name: a\n", f"{options}\n"), ("osl: 1024}", clients))
    assert [case.name for case in harvested_text(tmp_path, text).cases] == [
        safe_name("own_b200", name, "con4_iter1_isl1024_osl1024"),
        safe_name("own_b200", name, "con4_iter2_isl8192_osl1024"),
    ]


def test_relative_paths_of_nvidias_are_noted(tmp_path: Path) -> None:
    options = (
        "moe_config: {load_balancer: tests/eplb.yaml}\n    speculative_config: {decoding_type: Eagle3, "
        "speculative_model: eagle/x, max_draft_len: 3}\n    tensor_parallel_size"
    )
    (case,) = harvested_text(tmp_path, changed(("tensor_parallel_size", options))).cases
    assert case.tree["source"]["notes"][1:] == [
        "moe_config.load_balancer: tests/eplb.yaml is relative to the root of a checkout of TensorRT-LLM; "
        "write its whole path before a run.",
        "speculative_config.speculative_model: eagle/x is relative to NVIDIA's folder of models; write its "
        "whole path before a run.",
    ]


def test_each_client_of_a_server_and_each_gpu_is_a_scenario(tmp_path: Path) -> None:
    found = harvested_text(
        tmp_path,
        changed(
            ("[B200]", "[B200, H200]"),
            ("osl: 1024}", "osl: 1024, name: x}\n      - {concurrency: 8, use_chat_template: true, odd: 1}"),
        ),
    )
    assert [case.name for case in found.cases] == [
        "own_b200-a-b200-x",
        "own_b200-a-h200-x",
        "own_b200-a-b200-con8_iter1_isl1024_osl1024",
        "own_b200-a-h200-con8_iter1_isl1024_osl1024",
    ]
    assert found.cases[-1].tree["source"]["notes"] == [
        "The client of the source sends random starts of neighboring ids; here all ids are random.",
        "use_chat_template: NVIDIA's client puts each prompt into the chat template and counts the template "
        "as input; "
        "token ids have the same length without it.",
        "The client's keys odd are unknown and have no effect.",
    ]


def test_what_concerns_nvidias_client_alone_is_noted(tmp_path: Path) -> None:
    client = "accuracy_config: {enable_accuracy_test: true}, client_env_var: A=1, trust_remote_code: true"
    (case,) = harvested_text(tmp_path, changed(("isl: 1024", f"isl: 1, {client}"))).cases
    assert case.tree["source"]["notes"][1:] == [
        "accuracy_config: the accuracy is not tested.",
        "client_env_var (A=1) is for NVIDIA's client, which is not used.",
    ]


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("- 1", "x.yaml:1:1: expected a mapping of options, found a list"),
        ("a: 2026-13-45\nb: [", "x.yaml:2:5: not valid YAML: "),
        (
            "a: 2026-13-45\nb: 1_000",
            "x.yaml:2:4: b: TensorRT-LLM reads 1_000 as 1000, pytest-dsr1 as '1_000': write it in another "
            "form",
        ),
    ],
)
def test_mistakes_in_the_file_of_further_options(tmp_path: Path, text: str, mistake: str) -> None:
    (tmp_path / "x.yaml").write_text(text, encoding="utf-8")
    extra = "backend: _autodeploy\n    extra_llm_api_config_path: x.yaml\n    tensor_parallel_size"
    found = harvested_text(tmp_path, changed(("tensor_parallel_size", extra)))
    assert found.cases == []
    assert [str(problem) for problem in found.problems if str(problem).startswith(f"{tmp_path}/{mistake}")]
    assert len(found.problems) == 1


def test_null_is_as_if_there_were_no_key(tmp_path: Path) -> None:
    nulls = "max_batch_size: null\n    gpus: null\n    pipeline_parallel_size:\n    tensor_parallel_size"
    (case,) = harvested_text(tmp_path, changed(("tensor_parallel_size", nulls))).cases
    assert case.tree["engine"] == {"type": "openai", "server": "trtllm-serve", "tp": 8}
    assert case.tree["hardware"]["count"] == 8


def test_other_kinds_of_values_are_mistakes(tmp_path: Path) -> None:
    found = harvested_text(
        tmp_path, changed(("{gpus_per_node: 8}", "[8]"), ("isl: 1024", "isl: 1, random_range_ratio: much"))
    )
    assert [str(problem).partition(": ")[2] for problem in found.problems] == [
        "hardware: expected a mapping, found a list",
        "server_configs.0.client_configs.0.random_range_ratio: expected a number of at least 0, found the "
        "text "
        "'much'",
    ]


def test_merge_keys_are_resolved_as_pyyaml_does(tmp_path: Path) -> None:
    text = """\
metadata: {model_name: deepseek_r1_0528_fp8, supported_gpus: [B200]}
hardware: {gpus_per_node: 8}
server_configs:
  - &A
    name: a
    tensor_parallel_size: 8
    moe_config: &M {backend: CUTLASS, max_num_tokens: 1024}
    kv_cache_config: {<<: {dtype: fp8, tokens_per_block: 32}, own: {"<<": 1}}
    client_configs: [{concurrency: 4}]
  - {<<: *A, name: b, moe_config: {max_num_tokens: 4096, <<: *M}}
"""
    (tmp_path / "own_b200.yaml").write_text(text, encoding="utf-8")
    scenarios = imported(tmp_path / "own_b200.yaml", tmp_path / "out")
    for server in yaml.safe_load(text)["server_configs"]:
        assert written_options(scenarios[f"own_b200-{server['name']}"]) == theirs(server)


def test_only_a_mapping_can_be_merged(tmp_path: Path) -> None:
    found = harvested_text(
        tmp_path, changed(("tensor_parallel_size", "<<: [1, {}]\n    tensor_parallel_size"))
    )
    assert [str(problem).removeprefix(f"{tmp_path}/own_b200.yaml:") for problem in found.problems] == [
        "5:9: <<: expected a mapping to merge, found a list"
    ]
