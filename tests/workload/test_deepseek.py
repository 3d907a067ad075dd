"""DeepSeek-R1's dimensions, a scenario's changes to them, and what they count up to."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_dsr1.workload.deepseek import (
    attention_parameters,
    config_problems,
    expert_parameters,
    parameter_count,
    read_parameters,
    resolve_config,
)


def test_deepseek_r1_has_its_published_size() -> None:
    r1 = resolve_config({})
    assert config_problems(r1) == []
    assert attention_parameters(r1) == 187_107_328
    assert expert_parameters(r1) == 44_040_192
    assert parameter_count(r1) == 671_026_419_200
    assert read_parameters(r1, r1["num_experts_per_tok"]) == 36_625_618_432


def test_key_value_heads_follow_the_heads_unless_given() -> None:
    assert resolve_config({"num_attention_heads": 8})["num_key_value_heads"] == 8
    assert resolve_config({"num_attention_heads": 8, "num_key_value_heads": 4})["num_key_value_heads"] == 4


@pytest.mark.parametrize(
    ("overrides", "problems"),
    [
        ({"hidden_size": 0}, ["hidden_size is 0, expected a whole number of at least 1"]),
        ({"hidden_size": "64"}, ["hidden_size is '64', expected a whole number of at least 1"]),
        ({"q_lora_rank": None}, ["q_lora_rank is None, expected a whole number of at least 1"]),
        ({"vocab_size": True}, ["vocab_size is True, expected a whole number of at least 1"]),
        (
            {"first_k_dense_replace": -1, "kv_lora_rank": 1.5},
            [
                "first_k_dense_replace is -1, expected a whole number of at least 0",
                "kv_lora_rank is 1.5, expected a whole number of at least 1",
            ],
        ),
        ({"num_key_value_heads": 8}, ["num_key_value_heads is 8, expected num_attention_heads (128)"]),
        ({"qk_rope_head_dim": 63}, ["qk_rope_head_dim is 63, expected an even number"]),
        (
            {"num_hidden_layers": 2},
            ["first_k_dense_replace is 3, expected at most num_hidden_layers (2)"],
        ),
        ({"topk_group": 9}, ["topk_group is 9, expected at most n_group (8)"]),
        (
            {"n_routed_experts": 8},
            ["n_routed_experts is 8, expected a multiple of n_group (8), at least 2 per group"],
        ),
        (
            {"n_routed_experts": 100},
            ["n_routed_experts is 100, expected a multiple of n_group (8), at least 2 per group"],
        ),
        (
            {"n_routed_experts": 16, "num_experts_per_tok": 9},
            ["num_experts_per_tok is 9, expected at most 8, the experts in topk_group=4 groups"],
        ),
        ({"n_shared_experts": 0, "num_hidden_layers": 3}, []),
    ],
)
def test_impossible_values_are_all_named(overrides: dict[str, Any], problems: list[str]) -> None:
    assert config_problems(resolve_config(overrides)) == problems
