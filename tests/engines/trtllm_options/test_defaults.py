# ruff: noqa: E501  (messages stand whole)
"""Remarks about what a scenario leaves open, and about values that a version does not have."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_dsr1.engines.trtllm_options.defaults import DEFAULTS, Asked, remarks
from pytest_dsr1.engines.trtllm_options.names import OPTIONS, VALUES
from pytest_dsr1.engines.trtllm_options.options import LlmApiOptions

PADDED: dict[str, Any] = {"cuda_graph_config": {"enable_padding": True}}
PINNED: dict[str, Any] = {
    "moe_config": {"backend": "CUTLASS"},
    "kv_cache_config": {"use_kv_cache_manager_v2": False, "enable_block_reuse": False},
}


def asked(options: dict[str, Any] | None = None, **more: Any) -> Asked:
    return Asked(LlmApiOptions.model_validate(options or {}), **more)


def left_open(version: str, options: dict[str, Any] | None = None, **more: Any) -> list[str]:
    found = remarks(asked(options, **more), version)
    return [remark.split(" is not pinned")[0] for remark in found if " is not pinned" in remark]


def test_nothing_is_known_of_a_build_with_a_name_of_its_own() -> None:
    assert list(remarks(asked(PADDED), "20261101")) == []


def test_the_whole_sentence() -> None:
    assert list(remarks(asked({**PADDED, **PINNED}), "1.3.0rc8")) == [
        "cuda_graph_config.batch_sizes is not pinned, and differs between 1.2 and the installed version 1.3.0rc8: CUDA graphs above 128 requests double in size before 1.3.0rc8, they grow by 64 since; effect: less padding: up to 1.3 times the throughput, and a start that takes 1.17 times as long"
    ]


@pytest.mark.parametrize(
    ("version", "options"),
    [
        ("1.2.1", []),
        ("1.2.0rc4", []),
        ("1.3.0rc7", ["moe_config.backend", "kv_cache_config.use_kv_cache_manager_v2"]),
        ("1.3", [each.option for each in DEFAULTS[:3]]),
        ("1.4.0rc1", [each.option for each in DEFAULTS[:3]]),
        ("1.1.0", ["TRTLLM_ENABLE_PDL"]),
    ],
)
def test_a_default_is_named_where_it_differs(version: str, options: list[str]) -> None:
    assert left_open(version, PADDED) == options


@pytest.mark.parametrize(
    ("graphs", "batch", "named"),
    [
        ({"enable_padding": True}, None, True),
        ({"enable_padding": True}, 128, False),
        ({"enable_padding": True}, 129, True),
        ({"enable_padding": True, "max_batch_size": 64}, 256, False),
        ({"enable_padding": True, "batch_sizes": [1, 256]}, 256, False),
        ({"enable_padding": False}, 256, False),
        ({"enabled": False}, 256, False),
    ],
)
def test_sizes_of_cuda_graphs_matter_with_padding_and_large_batches(
    graphs: dict[str, Any], batch: int | None, named: bool
) -> None:
    found = left_open("1.4", {"cuda_graph_config": graphs, **PINNED}, max_batch_size=batch)
    assert found == ["cuda_graph_config.batch_sizes"] * named


@pytest.mark.parametrize(
    "pinned",
    [
        {"environment": {"TRTLLM_ENABLE_PDL": "1"}},
        {"options": {"env_overrides": {"TRTLLM_ENABLE_PDL": "0"}}},
    ],
)
def test_a_variable_pins_it(pinned: dict[str, Any]) -> None:
    assert left_open("1.1.0", **pinned) == []


def test_an_unchecked_option_pins_it_too() -> None:
    assert "moe_config.backend" not in left_open("1.4", {"unchecked": {"moe_config": {"backend": "NEWGEMM"}}})


def test_the_reuse_of_blocks_is_open_only_with_the_block_in_a_benchmark() -> None:
    cache = {"kv_cache_config": {"dtype": "fp8"}}
    assert "kv_cache_config.enable_block_reuse" in left_open("1.4", cache)
    assert "kv_cache_config.enable_block_reuse" not in left_open("1.4", cache, serves=True)
    assert "kv_cache_config.enable_block_reuse" not in left_open("1.4")


def test_processes_of_a_server_matter_only_for_a_server() -> None:
    assert left_open("1.4", PINNED, serves=True) == ["num_serve_frontends"]
    assert left_open("1.4", {**PINNED, "num_serve_frontends": 4}, serves=True) == []
    for words in (["--num_serve_frontends", "4"], ["--num_serve_frontends=4"]):
        assert left_open("1.4", PINNED, serves=True, arguments=words) == []


@pytest.mark.parametrize(
    ("version", "option", "value", "known"),
    [
        (
            "1.4",
            "moe_config",
            {"backend": "WIDEEP"},
            "AUTO, CUTLASS, TRTLLM, DEEPGEMM, CUTEDSL, TRITON, VANILLA, DENSEGEMM, MARLIN, MEGAMOE_DEEPGEMM, MEGAMOE_CUTEDSL, CUTEDSL_FC12",
        ),
        ("1.0.0", "moe_config", {"backend": "AUTO"}, "CUTLASS, TRTLLM, DEEPGEMM, WIDEEP, CUTEDSL, VANILLA"),
        ("1.4", "kv_cache_config", {"dtype": "bfloat16"}, "auto, fp8, nvfp4"),
    ],
)
def test_a_value_that_the_version_lacks_is_named(
    version: str, option: str, value: dict[str, str], known: str
) -> None:
    key, word = next(iter(value.items()))
    assert [remark for remark in remarks(asked({option: value}), version) if "not pinned" not in remark] == [
        f"engine.llm_api.{option}.{key}: {word} is not known in TensorRT-LLM {version}; known are {known}"
    ]


def test_the_tables_name_options_that_exist() -> None:
    assert set(VALUES) <= set(OPTIONS)
    assert {each.option for each in DEFAULTS if not each.option.isupper()} <= set(OPTIONS)
