# ruff: noqa: E501  (messages stand whole)
"""What must hold between values: each rule broken alone, with its whole message."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_dsr1.scenario.rules.general import all_relations
from pytest_dsr1.scenario.schema.scenario import Hardware
from tests.helpers.scenario_files import changed, load_text, mistakes

CPU = """\
name: cpu
description: A scenario on the CPU
hardware: {}
model:
  name: deepseek-ai/DeepSeek-R1
  random_weights: {config: {vocab_size: 4096}}
dataset:
  input_tokens: 64
  output_tokens: 64
  vocab_size: 4096
load:
  concurrency: 1
  num_requests: 10
engine:
  type: transformers
targets:
  - metric: total_output_throughput
    value: 1.0
"""

MTP = "    speculative_config: {decoding_type: MTP, max_draft_len: 3}\n    cuda_graph_config:"

IMPOSSIBLE = [
    (
        "model without weights",
        ("  path: ${DSR1_MODELS}/DeepSeek-R1\n", ""),
        "6:1: model: expected `path`, which the engine `trtllm-bench` needs; found none",
    ),
    (
        "model made here",
        ("  path: ${DSR1_MODELS}/DeepSeek-R1\n", "  path: x\n  random_weights: {}\n"),
        "9:3: model.random_weights: not possible with the engine `trtllm-bench`, which takes `path`",
    ),
    (
        "GPUs without a name",
        ("  gpu: NVIDIA H200\n", ""),
        "4:3: hardware.count: expected `hardware.gpu`, the name of the 8 GPUs; found none",
    ),
    (
        "nodes",
        ("  gpu: NVIDIA H200\n", "  gpu: NVIDIA H200\n  nodes: 3\n"),
        "5:3: hardware.nodes: expected a divisor of hardware.count, 8; found 3",
    ),
    (
        "more ranks",
        ("  tp: 8", "  tp: 8\n  pp: 2"),
        "18:3: engine.tp: expected tp x pp to be hardware.count, 8; found tp 8 x pp 2 = 16 GPUs",
    ),
    ("ep", ("  ep: 8", "  ep: 3"), "19:3: engine.ep: expected a divisor of engine.tp, 8; found 3"),
    (
        "inputs",
        ("max_num_tokens: 1151", "max_num_tokens: 1023"),
        "21:3: engine.max_num_tokens: expected at least "
        "the longest input, 1024 tokens, as enable_chunked_context is false; found 1023",
    ),
    (
        "uniform inputs",
        ("input_tokens: 1024", "input_tokens: {minimum: 1, maximum: 1152}"),
        "21:3: "
        "engine.max_num_tokens: expected at least the longest input, 1152 tokens, as enable_chunked_context is "
        "false; found 1151",
    ),
    (
        "normal inputs",
        ("input_tokens: 1024", "input_tokens: {mean: 1152, stdev: 0}"),
        "21:3: "
        "engine.max_num_tokens: expected at least the longest input, 1152 tokens, as enable_chunked_context is "
        "false; found 1151",
    ),
    (
        "sequences",
        ("  tp: 8", "  tp: 8\n  max_seq_len: 3071"),
        "19:3: engine.max_seq_len: expected at least the "
        "longest input and output together, 3072 tokens; found 3071",
    ),
    (
        "graph sizes",
        ("      batch_sizes: [128]", "      batch_sizes: [128]\n      max_batch_size: 64"),
        "26:7: "
        "engine.llm_api.cuda_graph_config.max_batch_size: expected the largest of batch_sizes, 128, or no value; "
        "found 64",
    ),
    (
        "two fractions",
        (
            "  llm_api:\n",
            "  kv_cache_free_gpu_mem_fraction: 0.9\n  llm_api:\n    kv_cache_config: "
            "{free_gpu_memory_fraction: 0.8, enable_block_reuse: false}\n",
        ),
        "24:23: "
        "engine.llm_api.kv_cache_config.free_gpu_memory_fraction: expected the same as "
        "engine.kv_cache_free_gpu_mem_fraction, 0.9; found 0.8",
    ),
    (
        "range of outputs",
        ("output_tokens: 2048", "output_tokens: {minimum: 9, maximum: 8}"),
        "12:31: dataset.output_tokens.maximum: expected at least `minimum` (9), found 8",
    ),
    (
        "range of inputs",
        ("input_tokens: 1024", "input_tokens: {minimum: 9, maximum: 8}"),
        "11:30: dataset.input_tokens.maximum: expected at least `minimum` (9), found 8",
    ),
    (
        "MTP on random tokens",
        ("    cuda_graph_config:", MTP),
        "10:1: dataset: the speed of multi-token prediction "
        "depends on the text, so synthetic tokens mislead; expected real text in dataset.path, found none "
        "(`pytest-dsr1 docs datasets` shows how to get it)",
    ),
    (
        "same metric twice",
        ("metric: request_throughput", "metric: total_output_throughput"),
        "31:5: targets.1.metric: total_output_throughput is already the metric of targets.0",
    ),
]

IMPOSSIBLE_ON_CPU = [
    (
        "checkpoint for transformers",
        "  random_weights: {config: {vocab_size: 4096}}",
        "  path: x",
        [
            "4:1: model: expected `random_weights`, which the engine `transformers` needs; found none",
            "6:3: model.path: not possible with the engine `transformers`, which takes `random_weights`",
        ],
    ),
    (
        "count of no GPU",
        "hardware: {}",
        "hardware: {gpu: NVIDIA H200}",
        ["3:12: hardware.gpu: expected `hardware.count` to be at least 1; found 0"],
    ),
    (
        "GPU beside the CPU",
        "hardware: {}",
        "hardware: {gpu: NVIDIA H200, count: 1}",
        ["14:1: engine.device: `cpu` uses no GPU: expected hardware.count 0, found 1; or set `device: cuda`"],
    ),
    (
        "probe without a GPU",
        "hardware: {}",
        "hardware: {}\nprobe: true",
        ["4:1: probe: not possible without a GPU; expected its name in `hardware.gpu`, found none"],
    ),
    (
        "cuda without a GPU",
        "  type: transformers",
        "  type: transformers\n  device: cuda",
        ["16:3: engine.device: `cuda` uses one GPU: expected hardware.count 1 and a hardware.gpu, found 0"],
    ),
    (
        "compile",
        "  type: transformers",
        "  type: transformers\n  compile: true",
        ["16:3: engine.compile: needs `engine.device: cuda`, found `cpu`"],
    ),
    (
        "setup of no GPU",
        "hardware: {}",
        "hardware: {}\ngpu_setup: {vboost: 4}",
        ["4:1: gpu_setup: not possible without a GPU; expected its name in `hardware.gpu`, found none"],
    ),
    (
        "unknown tokens",
        "  vocab_size: 4096",
        "  vocab_size: 4097",
        ["10:3: dataset.vocab_size: expected at most the model's vocab_size (4096), found 4097"],
    ),
]

UNUSUAL = [
    (
        "concurrency",
        [("concurrency: 1024", "concurrency: 512")],
        "14: load.concurrency: expected 1024, because with attention data parallelism each of 8 ranks takes "
        "128 requests (engine.max_batch_size); found 512",
    ),
    (
        "rounds",
        [("num_requests: 5120", "num_requests: 5000")],
        "15: load.num_requests: 5000 is not a multiple of "
        "load.concurrency (1024): the last requests run at a lower load",
    ),
    (
        "warm-up",
        [("num_requests: 5120", "num_requests: 1024\n  warmup_requests: 1025")],
        "16: load.warmup_requests: expected at most load.num_requests (1024), found 1025",
    ),
    (
        "queue",
        [
            ("    enable_attention_dp: true\n", ""),
            ("metric: request_throughput", "metric: per_user_output_throughput"),
        ],
        "30: targets.1.metric: per_user_output_throughput says little here: it includes waiting, and the "
        "engine serves 128 of 1024 requests at once",
    ),
    (
        "graphs",
        [("batch_sizes: [128]", "batch_sizes: [64, 1]")],
        "25: engine.llm_api.cuda_graph_config.batch_sizes: "
        "expected the largest CUDA graph to be for engine.max_batch_size, 128 requests; found 64",
    ),
    (
        "largest graph",
        [("batch_sizes: [128]", "max_batch_size: 256")],
        "25: "
        "engine.llm_api.cuda_graph_config.max_batch_size: expected the largest CUDA graph to be for "
        "engine.max_batch_size, 128 requests; found 256",
    ),
    (
        "fraction",
        [("  llm_api:\n", "  llm_api:\n    kv_cache_config: {enable_block_reuse: false}\n")],
        "23: "
        "engine.llm_api.kv_cache_config: older versions of TensorRT-LLM fall back to 0.9 without "
        "`free_gpu_memory_fraction` here",
    ),
    (
        "reuse",
        [("  llm_api:\n", "  llm_api:\n    kv_cache_config: {free_gpu_memory_fraction: 0.8}\n")],
        "23: "
        "engine.llm_api.kv_cache_config: without `enable_block_reuse: false` here, equal prefixes are computed only "
        "once, unlike in the published measurements",
    ),
    (
        "relaxed",
        [
            ("  input_tokens", "  path: x.jsonl\n  input_tokens"),
            (
                "  llm_api:\n",
                "  llm_api:\n    "
                "speculative_config: {decoding_type: MTP, max_draft_len: 3, relaxed_topk: 10}\n",
            ),
        ],
        "24: "
        "engine.llm_api.speculative_config.relaxed_topk: has no effect without "
        "`use_relaxed_acceptance_for_thinking: true`",
    ),
]


@pytest.mark.parametrize(
    ("change", "message"), [case[1:] for case in IMPOSSIBLE], ids=[c[0] for c in IMPOSSIBLE]
)
def test_the_impossible_is_a_mistake(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    assert mistakes(tmp_path, changed(change)) == [f"s.yaml:{message}"]


@pytest.mark.parametrize(
    ("old", "new", "messages"),
    [case[1:] for case in IMPOSSIBLE_ON_CPU],
    ids=[case[0] for case in IMPOSSIBLE_ON_CPU],
)
def test_the_impossible_on_transformers_is_a_mistake(
    tmp_path: Path, old: str, new: str, messages: list[str]
) -> None:
    assert CPU.count(old) == 1
    found = mistakes(tmp_path, CPU.replace(old, new))
    assert found == [f"s.yaml:{message}" for message in messages]


@pytest.mark.parametrize(
    ("changes", "message"), [case[1:] for case in UNUSUAL], ids=[case[0] for case in UNUSUAL]
)
def test_the_unusual_is_a_warning(tmp_path: Path, changes: list[tuple[str, str]], message: str) -> None:
    loaded = load_text(tmp_path, changed(*changes))
    assert [warning.replace(f"{tmp_path}/", "") for warning in loaded.warnings] == [f"s.yaml:{message}"]


def test_every_request_at_once_is_usual_with_attention_data_parallelism(tmp_path: Path) -> None:
    assert load_text(tmp_path, changed(("concurrency: 1024", "concurrency: all"))).warnings == ()


def test_a_gpu_slice_is_possible(tmp_path: Path) -> None:
    text = CPU.replace("hardware: {}", "hardware: {gpu: NVIDIA H200, count: 1}")
    text = text.replace("  type: transformers", "  type: transformers\n  device: cuda\n  compile: true")
    assert load_text(tmp_path, text.replace("total_output", "per_gpu_output")).warnings == ()


LLM_API = ("  type: trtllm-bench", "  type: trtllm")
PATH = "  path: ${DSR1_MODELS}/DeepSeek-R1\n"


@pytest.mark.parametrize(
    ("origin", "message"),
    [
        ("", "6:1: model: expected either `path` or `random_weights`; found none"),
        (
            f"{PATH}  random_weights: {{}}\n",
            "6:1: model: expected either `path` or `random_weights`; found both",
        ),
    ],
)
def test_the_llm_api_takes_one_origin(tmp_path: Path, origin: str, message: str) -> None:
    assert mistakes(tmp_path, changed(LLM_API, (PATH, origin))) == [f"s.yaml:{message}"]


@pytest.mark.parametrize("origin", [PATH, "  random_weights: {}\n"])
def test_the_llm_api_takes_either_origin(tmp_path: Path, origin: str) -> None:
    assert load_text(tmp_path, changed(LLM_API, (PATH, origin))).warnings == ()


def test_random_weights_cannot_be_nvfp4(tmp_path: Path) -> None:
    text = changed(LLM_API, (PATH, "  random_weights: {}\n"), ("FP8_BLOCK_SCALES", "NVFP4"))
    assert mistakes(tmp_path, text) == [
        "s.yaml:9:3: model.quantization: expected `FP8_BLOCK_SCALES` or `none` for random weights; found `NVFP4`"
    ]


def test_random_weights_of_a_server_cannot_be_nvfp4(tmp_path: Path) -> None:
    text = CPU.replace("type: transformers", "type: openai\n  server: vllm")
    text = text.replace("dataset:", "  quantization: NVFP4\ndataset:")
    assert mistakes(tmp_path, text) == [
        "s.yaml:7:3: model.quantization: expected `FP8_BLOCK_SCALES` or `none` for random weights; found `NVFP4`"
    ]


def test_the_rules_of_tensorrt_llm_hold_for_its_llm_api(tmp_path: Path) -> None:
    text = changed(LLM_API, ("  tp: 8", "  tp: 8\n  pp: 2"))
    assert mistakes(tmp_path, text) == [
        "s.yaml:18:3: engine.tp: expected tp x pp to be hardware.count, 8; found tp 8 x pp 2 = 16 GPUs"
    ]


def test_nothing_is_said_about_what_rests_on_a_mistake(tmp_path: Path) -> None:
    text = changed(("  tp: 8", "  tp: eight"), ("  ep: 8", "  ep: 3"))
    assert len(mistakes(tmp_path, text)) == 1


def test_no_queue_is_feared_while_a_key_that_decides_the_slots_is_a_mistake(tmp_path: Path) -> None:
    few = [("concurrency: 1024", "concurrency: 8192"), ("num_requests: 5120", "num_requests: 8192")]
    wrong = ("    enable_attention_dp: true\n", "    enable_attention_dp: 3\n")
    text = changed(*few, wrong, ("metric: request_throughput", "metric: per_user_output_throughput"))
    (found,) = mistakes(tmp_path, text)
    assert "enable_attention_dp: expected true or false" in found


def test_with_chunked_context_inputs_may_be_longer(tmp_path: Path) -> None:
    text = changed(("max_num_tokens: 1151", "max_num_tokens: 512\n  enable_chunked_context: true"))
    assert load_text(tmp_path, text).warnings == ()


def test_every_rule_is_a_sentence_and_reads_known_keys() -> None:
    from itertools import chain

    from pytest_dsr1.scenario.schema import json_schema
    from pytest_dsr1.scenario.schema.engine import engines

    known = {".".join(map(str, path)) for path, _ in json_schema.fields()}
    for relation in all_relations():
        assert relation.rule.endswith("."), relation.check
        assert set(relation.keys) <= known, relation.rule
    for schema in engines().values():
        assert known.issuperset(chain.from_iterable(schema.settings.decided_by.values())), schema.name


@pytest.mark.parametrize("server", ["vllm", "sglang"])
def test_a_server_makes_random_weights(server: str, tmp_path: Path) -> None:
    text = CPU.replace("type: transformers", f"type: openai\n  server: {server}")
    assert load_text(tmp_path, text).warnings == ()


def test_other_servers_make_no_weights(tmp_path: Path) -> None:
    text = CPU.replace("type: transformers", "type: openai\n  server: trtllm-serve")
    assert mistakes(tmp_path, text) == [
        "s.yaml:4:1: model: expected `path`, which the engine `openai` needs; found none",
        "s.yaml:6:3: model.random_weights: not possible with the engine `openai`, which takes `path`",
    ]


def test_nodes_need_an_engine_that_spans_them(tmp_path: Path) -> None:
    text = CPU.replace("hardware: {}", "hardware: {nodes: 2}")
    assert mistakes(tmp_path, text) == [
        "s.yaml:3:12: hardware.nodes: expected 1 without hardware.gpu",
        "s.yaml:3:12: hardware.nodes: expected 1: the engine `transformers` runs on one machine",
    ]


def test_hardware_in_words() -> None:
    assert Hardware(gpu="NVIDIA B200", count=16, nodes=2).words == "16 x NVIDIA B200 on 2 nodes"
    assert Hardware(gpu="NVIDIA B200", count=8).words == "8 x NVIDIA B200"
    assert Hardware().words == "CPU"
