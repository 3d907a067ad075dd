# ruff: noqa: E501  (messages stand whole)
"""The rules between values about a server: each rule is broken alone, with its whole message."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.scenario_files import load_text, mistakes

SERVED = """\
name: served
description: A scenario against a server
hardware: {}
model: {name: deepseek-ai/DeepSeek-R1}
dataset: {input_tokens: 8, output_tokens: 4}
load:
  concurrency: 2
  num_requests: 4
engine:
  type: openai
  url: http://host:8000
targets:
  - metric: total_output_throughput
    value: 1.0
"""

URL = "  url: http://host:8000"
LOAD = "  num_requests: 4"
CONSTANT = f"{LOAD}\n  arrival: {{type: constant, rate_req_s: 1}}"
TRACE = f"{LOAD}\n  arrival: {{type: trace, path: t.jsonl}}"
IN_PROCESS = ("  type: openai\n  url: http://host:8000", "  type: transformers")
WEIGHTS = ("DeepSeek-R1}", "DeepSeek-R1, random_weights: {}}")
SERVABLE = ("R1}", "R1, path: /models/r1}")
FILE = ("{input_tokens", "{path: x.jsonl, input_tokens")


def changed(*changes: tuple[str, str]) -> str:
    text = SERVED
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


IMPOSSIBLE = {
    "command of a server that runs": (
        [(URL, f"{URL}\n  command: [serve]")],
        "12:3: engine.command: not allowed with `engine.url`, because that server is running",
    ),
    "arguments of a server that runs": (
        [(URL, f"{URL}\n  arguments: [--fast]")],
        "12:3: engine.arguments: not allowed with `engine.url`, because that server is running",
    ),
    "address without a scheme": (
        [(URL, "  url: host:8000")],
        "11:3: engine.url: expected http://HOST:PORT or https://HOST, found host:8000",
    ),
    "no origin": (
        [(f"{URL}\n", "")],
        "9:1: engine: expected `url` or `command`, because `server: other` has no default command; found neither",
    ),
    "TensorRT-LLM's options for another server": (
        [(URL, "  command: [serve]\n  server: vllm\n  llm_api: {print_iter_log: true}")],
        "13:3: engine.llm_api: expected `engine.server: trtllm-serve` with these options; found vllm",
    ),
    "TensorRT-LLM's options for a server that runs": (
        [(URL, f"{URL}\n  server: trtllm-serve\n  llm_api: {{print_iter_log: true}}")],
        "13:3: engine.llm_api: not allowed with `engine.url`, because that server is running",
    ),
    "two options files": (
        [
            (
                URL,
                "  server: trtllm-serve\n  llm_api: {print_iter_log: true}\n  arguments: [--config=a.yaml]",
            ),
            SERVABLE,
        ],
        "13:3: engine.arguments: --config=a.yaml gives the server other options than `engine.llm_api`; write all of them there",
    ),
    "two shares of memory": (
        [
            (
                URL,
                "  server: trtllm-serve\n  gpu_memory_fraction: 0.8\n  llm_api: {kv_cache_config: {free_gpu_memory_fraction: 0.9, enable_block_reuse: false}}",
            ),
            SERVABLE,
        ],
        "13:31: engine.llm_api.kv_cache_config.free_gpu_memory_fraction: expected the same as engine.gpu_memory_fraction, 0.8; found 0.9",
    ),
    "an unknown option of TensorRT-LLM": (
        [(URL, "  server: trtllm-serve\n  llm_api: {print_iter_lg: true}"), SERVABLE],
        "12:13: engine.llm_api.print_iter_lg: unknown key (did you mean 'print_iter_log'?)",
    ),
    "other GPUs than ranks": (
        [
            (URL, "  server: trtllm-serve\n  tp: 4\n  pp: 2\n  llm_api: {context_parallel_size: 2}"),
            SERVABLE,
        ],
        "12:3: engine.tp: expected tp x pp to be hardware.count, 0; found tp 4 x pp 2 x context_parallel_size 2 = 16 GPUs",
    ),
    "an option in another block": (
        [(URL, "  server: trtllm-serve\n  llm_api: {moe_config: {attn_backend: 1}}"), SERVABLE],
        "12:26: engine.llm_api.moe_config.attn_backend: unknown key here; it belongs in `engine.llm_api`",
    ),
    "no model to serve": (
        [(URL, "  server: vllm")],
        "4:1: model: expected `path` of the model that vllm must serve; found none",
    ),
    "token ids for the chat endpoint": (
        [(URL, f"{URL}\n  endpoint: chat")],
        "5:1: dataset: the chat endpoint accepts only text, but synthetic requests are token ids; set dataset.path to a JSONL file with prompts",
    ),
    "token ids for transformers serve": (
        [(URL, f"{URL}\n  server: transformers")],
        "5:1: dataset: transformers serve accepts only text, but synthetic requests are token ids; set dataset.path to a JSONL file with prompts",
    ),
    "a ramp of an open loop": (
        [(LOAD, f"{CONSTANT}\n  ramp_s: 1")],
        "10:3: load.ramp_s: not possible with `load.arrival`: an open loop has its own schedule",
    ),
    "an open loop in process": (
        [(LOAD, CONSTANT), IN_PROCESS, WEIGHTS],
        "9:3: load.arrival: not possible with the engine `transformers`, only with `openai`",
    ),
    "a ramp in process": (
        [(LOAD, f"{LOAD}\n  ramp_s: 1"), IN_PROCESS, WEIGHTS],
        "9:3: load.ramp_s: not possible with the engine `transformers`, only with `openai`",
    ),
    "a duration in process": (
        [(LOAD, f"{LOAD}\n  duration_s: 1"), IN_PROCESS, WEIGHTS],
        "9:3: load.duration_s: not possible with the engine `transformers`, only with `openai`",
    ),
    "a trace and a dataset": (
        [(LOAD, TRACE), FILE],
        "5:11: dataset.path: not possible with a trace (load.arrival), which has its own lengths",
    ),
}


@pytest.mark.parametrize(("changes", "message"), IMPOSSIBLE.values(), ids=list(IMPOSSIBLE))
def test_the_impossible_is_a_mistake(changes: list[tuple[str, str]], message: str, tmp_path: Path) -> None:
    assert mistakes(tmp_path, changed(*changes)) == [f"s.yaml:{message}"]


POSSIBLE = {
    "attached": [],
    "an address from a variable": [(URL, "  url: ${SERVER}")],
    "started by its own command": [(URL, "  command: [serve, '{port}']")],
    "started by the usual command": [(URL, "  server: vllm"), ("R1}", "R1, path: /models/r1}")],
    "trtllm-serve with its options": [
        (
            URL,
            "  server: trtllm-serve\n  llm_api: {moe_config: {backend: TRTLLM}, unchecked: {a_new_one: 1}}",
        ),
        SERVABLE,
    ],
    "trtllm-serve with ranks that its arguments may give": [
        (URL, "  server: trtllm-serve\n  tp: 4\n  arguments: [--pp_size, '2']"),
        SERVABLE,
    ],
    "chat of text": [(URL, f"{URL}\n  endpoint: chat"), FILE],
    "a ramp and a duration": [(LOAD, f"{LOAD}\n  ramp_s: 1\n  duration_s: 9")],
    "an open loop of a duration": [(LOAD, f"{CONSTANT}\n  duration_s: 9")],
    "a trace": [(LOAD, TRACE)],
    "goodput": [
        ("total_output_throughput", "goodput"),
        ("targets:", "slo: {preset: mlperf-server}\ntargets:"),
    ],
}


@pytest.mark.parametrize("changes", POSSIBLE.values(), ids=list(POSSIBLE))
def test_the_possible_is_none(changes: list[tuple[str, str]], tmp_path: Path) -> None:
    warnings = load_text(tmp_path, changed(*changes)).warnings
    assert [text for text in warnings if "a_new_one: is not checked" not in text] == []


def test_tasks_without_the_chat_template_are_warned_of(tmp_path: Path) -> None:
    asked = ("targets:", "accuracy: {tasks: [{}]}\ntargets:")
    (warning,) = load_text(tmp_path, changed(asked)).warnings
    assert warning.partition("s.yaml:")[2] == (
        "12: accuracy.tasks: the questions are sent without the model's chat template, which most chat models need for good answers: set engine.endpoint: chat, and dataset.path to a file with prompts"
    )
    chat = (URL, f"{URL}\n  endpoint: chat")
    assert load_text(tmp_path, changed(asked, chat, FILE)).warnings == ()
    assert (
        load_text(
            tmp_path, changed(("targets:", "accuracy: {same_answers: {prompts: 4}}\ntargets:"))
        ).warnings
        == ()
    )


def test_a_server_over_nodes_is_trtllm_serve_without_a_launcher(tmp_path: Path) -> None:
    gpus = ("hardware: {}", "hardware: {gpu: NVIDIA B200, count: 16, nodes: 2}")
    one = "hardware.nodes: expected 1: the engine `openai` runs on one machine"
    assert mistakes(tmp_path, changed(gpus)) == [f"s.yaml:3:41: {one}"]
    path = ("{name: deepseek-ai/DeepSeek-R1}", "{name: deepseek-ai/DeepSeek-R1, path: /models/r1}")
    assert mistakes(tmp_path, changed(gpus, path, (URL, "  server: vllm"))) == [f"s.yaml:3:41: {one}"]
    serve = "  server: trtllm-serve"
    load_text(tmp_path, changed(gpus, path, (URL, serve)))
    own = (URL, f"{serve}\n  command: [srun, trtllm-serve]")
    assert mistakes(tmp_path, changed(gpus, path, own)) == [
        "s.yaml:12:3: engine.command: expected the program alone, because pytest-dsr1 starts it on 2 nodes (hardware.nodes) with srun; found srun: remove it, and put srun's options into slurm.srun of the site file"
    ]
