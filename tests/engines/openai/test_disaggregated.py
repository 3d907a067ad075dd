# ruff: noqa: E501  (messages stand whole)
"""Disaggregated servers in a scenario: each rule is broken alone; what is known of them; where they run."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_dsr1.engines.openai.disaggregated import Disaggregated, Placed
from pytest_dsr1.engines.openai.settings import OpenAi
from pytest_dsr1.scenario.schema.scenario import Scenario
from tests.helpers.scenario_files import load_text, mistakes

CACHE = "cache_transceiver_config: {backend: NIXL}"
TEXT = f"""\
name: two-roles
description: Context servers and a generation server
hardware: {{gpu: NVIDIA B200, count: 16, nodes: 3}}
model: {{name: nvidia/DeepSeek-R1-0528-FP4-v2, path: /m, quantization: NVFP4}}
dataset: {{input_tokens: 8, output_tokens: 4}}
load: {{concurrency: 2, num_requests: 4}}
engine:
  type: openai
  server: trtllm-serve
  disaggregated:
    context: {{servers: 2, tp: 4, ep: 4, llm_api: {{{CACHE}}}}}
    generation: {{tp: 8, max_batch_size: 32, llm_api: {{enable_attention_dp: true, {CACHE}}}}}
gate: {{metric: total_output_throughput}}
"""
SERVER = "  server: trtllm-serve"
CONTEXT = f"ep: 4, llm_api: {{{CACHE}}}"
GENERATION = "llm_api: {enable_attention_dp: true, "
DRAFTS = f"{GENERATION}speculative_config: {{decoding_type: MTP, max_draft_len: 3}}, "


def changed(*changes: tuple[str, str]) -> str:
    text = TEXT
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


def of(folder: Path, *changes: tuple[str, str]) -> Scenario:
    return load_text(folder, changed(*changes)).scenario


ONE_MACHINE = "3:41: hardware.nodes: expected 1: the engine `openai` runs on one machine"
WHERE = "expected one for each server, or several that it fills: 3 (of 8 GPUs), 4 (of 4 GPUs), 8 (of 2 GPUs), 16 (of 1 GPUs)"
IMPOSSIBLE = {
    "another server": (
        [(SERVER, "  server: vllm")],
        [ONE_MACHINE, "10:3: engine.disaggregated: expected `engine.server: trtllm-serve`; found vllm"],
    ),
    "running servers": (
        [(SERVER, f"{SERVER}\n  url: http://host:8000")],
        [
            ONE_MACHINE,
            "10:3: engine.url: not allowed with `engine.disaggregated`, whose servers pytest-dsr1 starts",
        ],
    ),
    "options of one server": (
        [(SERVER, f"{SERVER}\n  tp: 16\n  command: [serve]\n  llm_api: {{print_iter_log: true}}")],
        [
            "10:3: engine.tp: not allowed with `engine.disaggregated`: each role has its own",
            "11:3: engine.command: not allowed with `engine.disaggregated`: its servers have none",
            "12:3: engine.llm_api: not allowed with `engine.disaggregated`: each role has its own",
        ],
    ),
    "other GPUs than those of the servers": (
        [("count: 16", "count: 12")],
        [
            "3:30: hardware.count: expected the GPUs of all servers, 2 x 4 (context) + 1 x 8 (generation) = 16; found 12"
        ],
    ),
    "two servers on a node": ([("nodes: 3", "nodes: 2")], [f"3:41: hardware.nodes: {WHERE}; found 2"]),
    "no node of a server's own": ([(", nodes: 3", "")], [f"3:1: hardware.nodes: {WHERE}; found 1"]),
    "no way of the cache": (
        [(CONTEXT, "ep: 4")],
        [
            "11:5: engine.disaggregated.context.llm_api.cache_transceiver_config: expected a `backend` in it, which passes the KV cache on between the roles; found none"
        ],
    ),
    "two ways of the cache": (
        [(CONTEXT, CONTEXT.replace("NIXL", "UCX"))],
        [
            "12:109: engine.disaggregated.generation.llm_api.cache_transceiver_config.backend: expected the backend of the context servers, UCX; found NIXL"
        ],
    ),
    "an unknown option": (
        [(GENERATION, "llm_api: {print_iter_lg: true, ")],
        [
            "12:55: engine.disaggregated.generation.llm_api.print_iter_lg: unknown key (did you mean 'print_iter_log'?)"
        ],
    ),
    "an unknown value": (
        [(CONTEXT, f"llm_api: {{moe_config: {{backend: A_NEW_ONE}}, {CACHE}}}")],
        [
            "11:66: engine.disaggregated.context.llm_api.moe_config.backend: expected one of the 13 names in `pytest-dsr1 docs scenario`, found the text 'A_NEW_ONE'; if your version has it, put it into `engine.disaggregated.context.llm_api.unchecked`"
        ],
    ),
    "an option in another block": (
        [(GENERATION, "llm_api: {moe_config: {attn_backend: 1}, ")],
        [
            "12:68: engine.disaggregated.generation.llm_api.moe_config.attn_backend: unknown key here; it belongs in `engine.disaggregated.generation.llm_api`"
        ],
    ),
    "options that contradict each other": (
        [(GENERATION, "llm_api: {cuda_graph_config: {batch_sizes: [1, 8], max_batch_size: 4}, ")],
        [
            "12:96: engine.disaggregated.generation.llm_api.cuda_graph_config.max_batch_size: expected the largest of batch_sizes, 8, or no value; found 4"
        ],
    ),
    "an unchecked option with a key": (
        [(CONTEXT, f"llm_api: {{unchecked: {{moe_config: {{backend: TRTLLM}}}}, {CACHE}}}")],
        [
            "11:69: engine.disaggregated.context.llm_api.unchecked.moe_config.backend: has a key that is checked: `engine.disaggregated.context.llm_api.moe_config.backend`; write it there"
        ],
    ),
    "random tokens for draft tokens": (
        [(GENERATION, DRAFTS)],
        [
            "5:1: dataset: the speed of multi-token prediction depends on the text, so synthetic tokens mislead; expected real text in dataset.path, found none (`pytest-dsr1 docs datasets` shows how to get it)"
        ],
    ),
    "more accepted than drafted": (
        [(GENERATION, DRAFTS), ("gate:", "speculation: {acceptance_length: 5}\ngate:")],
        [
            "13:15: speculation.acceptance_length: expected at most 4, the 3 draft tokens of a step and one more; found 5"
        ],
    ),
    "forced by hand": (
        [("servers: 2,", "servers: 2, environment: {TLLM_SPEC_DECODE_FORCE_NUM_ACCEPTED_TOKENS: '1'},")],
        [
            "11:41: engine.disaggregated.context.environment.TLLM_SPEC_DECODE_FORCE_NUM_ACCEPTED_TOKENS: forces the acceptance length: remove it, and set speculation.acceptance_length: 2"
        ],
    ),
}


@pytest.mark.parametrize(("changes", "messages"), IMPOSSIBLE.values(), ids=list(IMPOSSIBLE))
def test_the_impossible_is_a_mistake(
    changes: list[tuple[str, str]], messages: list[str], tmp_path: Path
) -> None:
    assert mistakes(tmp_path, changed(*changes)) == [f"s.yaml:{message}" for message in messages]


POSSIBLE = {
    "as it stands": [],
    "nodes of fewer GPUs": [("nodes: 3", "nodes: 4")],
    "nodes with different numbers of GPUs": [
        ("servers: 2, ", ""),
        ("count: 16, nodes: 3", "count: 12, nodes: 2"),
    ],
    "an unchecked way of the cache": [
        (CONTEXT, "llm_api: {unchecked: {cache_transceiver_config: {backend: NEW}}}"),
        (f", {CACHE}}}}}\ngate", ", unchecked: {cache_transceiver_config: {backend: NEW}}}}\ngate"),
    ],
}


@pytest.mark.parametrize("changes", POSSIBLE.values(), ids=list(POSSIBLE))
def test_the_possible_is_none(changes: list[tuple[str, str]], tmp_path: Path) -> None:
    warnings = load_text(tmp_path, changed(*changes)).warnings
    assert [text for text in warnings if "unchecked.cache_transceiver_config" not in text] == []


def test_what_is_unusual_of_a_role_is_said_with_its_key(tmp_path: Path) -> None:
    text = changed((GENERATION, "llm_api: {kv_cache_config: {free_gpu_memory_fraction: 0.8}, "))
    assert [warning.partition("s.yaml:")[2] for warning in load_text(tmp_path, text).warnings] == [
        "12: engine.disaggregated.generation.llm_api.kv_cache_config: without `enable_block_reuse: false` here, equal prefixes are computed only once, unlike in the published measurements"
    ]


@pytest.mark.parametrize(
    ("context", "generation", "layouts"),
    [
        ({"tp": 4}, {"tp": 8}, {2: 8, 3: 4, 6: 2, 12: 1}),
        ({"tp": 1, "pp": 4, "servers": 5}, {"tp": 16}, {6: 16, 7: 8, 9: 4, 18: 2, 36: 1}),
        ({"tp": 4}, {"tp": 6}, {2: 6, 5: 2, 10: 1}),
        ({}, {"llm_api": {"context_parallel_size": 2}}, {2: 2, 3: 1}),
    ],
)
def test_each_server_has_nodes_of_its_own(
    context: dict[str, object], generation: dict[str, object], layouts: dict[int, int]
) -> None:
    asked = Disaggregated.model_validate({"context": context, "generation": generation})
    assert asked.layouts() == layouts


def test_those_that_write_the_answers_decide_what_is_known(tmp_path: Path) -> None:
    engine = OpenAi.of(of(tmp_path, (GENERATION, DRAFTS), ("{input_tokens", "{path: x.jsonl, input_tokens")))
    assert engine.draft_tokens == 3
    assert (engine.ranks, engine.slots, engine.kv_cache_format, engine.kv_cache_limits) == (
        1,
        None,
        None,
        None,
    )
    assert engine.model_doubt is None
    doubtful = OpenAi.of(of(tmp_path, (CONTEXT, f"llm_api: {{unchecked: {{a_new_one: 1}}, {CACHE}}}")))
    assert doubtful.model_doubt == (
        "engine.disaggregated.context.llm_api.unchecked (a_new_one) may change the model"
    )


def test_each_server_is_placed_and_each_node_has_its_gpus(tmp_path: Path) -> None:
    scenario = of(tmp_path)
    asked = OpenAi.of(scenario).disaggregated
    assert asked is not None
    assert asked.placed(3) == [
        Placed("generation", 1, first=0, nodes=1, per_node=8),
        Placed("context", 1, first=1, nodes=1, per_node=4),
        Placed("context", 2, first=2, nodes=1, per_node=4),
    ]
    assert scenario.gpus_by_node == (8, 4, 4)
    assert [each.nodes for each in asked.placed(4)] == [2, 1, 1]
    assert OpenAi.of(scenario).gpus_by_node(16, 4) == (4, 4, 4, 4)
