"""DeepSeek-R1's dimensions with a scenario's changes, its quantization, and the check of the result.

Only the standard library is used, so that the parent process can use this module without torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pytest_dsr1.scenario.schema.deepseek_r1 import DEEPSEEK_R1

FP8_BLOCK_SCALES: Mapping[str, Any] = {
    "quant_method": "fp8",
    "fmt": "e4m3",
    "activation_scheme": "dynamic",
    "weight_block_size": [128, 128],
}
"""`quantization_config` in the config.json of deepseek-ai/DeepSeek-R1; random weights use it too."""

_COUNTS = tuple(name for name, value in DEEPSEEK_R1.items() if isinstance(value, int))


def resolve_config(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return DeepSeek-R1's fields with a scenario's changes.

    Multi-head latent attention has as many key-value heads as heads, so their number follows
    `num_attention_heads`.
    """
    config = {**DEEPSEEK_R1, **overrides}
    if "num_key_value_heads" not in overrides:
        config["num_key_value_heads"] = config["num_attention_heads"]
    return config


def config_problems(config: Mapping[str, Any]) -> list[str]:
    """Return every reason why no model can be built from these fields, each with field and value."""
    problems = [
        f"{name} is {config[name]!r}, expected a whole number of at least {least}"
        for name in _COUNTS
        for least in (0 if name in {"first_k_dense_replace", "n_shared_experts"} else 1,)
        if type(config[name]) is not int or config[name] < least
    ]
    if problems:
        return problems
    experts, groups = config["n_routed_experts"], config["n_group"]
    if config["num_key_value_heads"] != config["num_attention_heads"]:
        problems.append(
            f"num_key_value_heads is {config['num_key_value_heads']}, expected num_attention_heads "
            f"({config['num_attention_heads']})"
        )
    if config["qk_rope_head_dim"] % 2:
        problems.append(f"qk_rope_head_dim is {config['qk_rope_head_dim']}, expected an even number")
    if config["first_k_dense_replace"] > config["num_hidden_layers"]:
        problems.append(
            f"first_k_dense_replace is {config['first_k_dense_replace']}, expected at most "
            f"num_hidden_layers ({config['num_hidden_layers']})"
        )
    if config["topk_group"] > groups:
        problems.append(f"topk_group is {config['topk_group']}, expected at most n_group ({groups})")
    # The router scores a group by its two best experts.
    if experts % groups or experts // groups < 2:
        problems.append(
            f"n_routed_experts is {experts}, expected a multiple of n_group ({groups}), at least 2 per group"
        )
    elif config["num_experts_per_tok"] > (reachable := experts // groups * config["topk_group"]):
        problems.append(
            f"num_experts_per_tok is {config['num_experts_per_tok']}, expected at most {reachable}, the "
            f"experts in topk_group={config['topk_group']} groups"
        )
    return problems


def attention_parameters(config: Mapping[str, Any]) -> int:
    """Return the parameters of one layer's multi-head latent attention, including its two inner norms."""
    hidden, heads = config["hidden_size"], config["num_attention_heads"]
    q_rank, kv_rank = config["q_lora_rank"], config["kv_lora_rank"]
    nope, rope, value = config["qk_nope_head_dim"], config["qk_rope_head_dim"], config["v_head_dim"]
    query = hidden * q_rank + q_rank * heads * (nope + rope) + q_rank
    key_value = hidden * (kv_rank + rope) + kv_rank * heads * (nope + value) + kv_rank
    return int(query + key_value + heads * value * hidden)


def expert_parameters(config: Mapping[str, Any]) -> int:
    """Return the parameters of one expert, routed or shared."""
    return int(3 * config["hidden_size"] * config["moe_intermediate_size"])


@dataclass(frozen=True, slots=True)
class ReadParameters:
    """The parameters that a decode step reads, split by the number formats in checkpoints.

    Attributes:
        attention: those of all layers, including inner norms.
        feed_forward: those of the dense layers, and of the shared and routed experts.
        other: those of norms, routers and the output head.
    """

    attention: int
    feed_forward: float
    other: int


def read_parts(config: Mapping[str, Any], experts: float) -> ReadParameters:
    """Return the parameters that a decode step reads: all except the embedding (it reads one row per token).

    Args:
        config: the model's dimensions.
        experts: the number of routed experts of each MoE layer that the step uses.
    """
    hidden, layers, dense_layers = (
        config[key] for key in ("hidden_size", "num_hidden_layers", "first_k_dense_replace")
    )
    moe_layers = layers - dense_layers
    dense = dense_layers * 3 * hidden * config["intermediate_size"]
    routers = moe_layers * config["n_routed_experts"] * (hidden + 1)
    return ReadParameters(
        attention=layers * attention_parameters(config),
        feed_forward=dense + moe_layers * (experts + config["n_shared_experts"]) * expert_parameters(config),
        other=layers * 2 * hidden + routers + hidden + config["vocab_size"] * hidden,
    )


def read_parameters(config: Mapping[str, Any], experts: float) -> float:
    """Return the sum of :func:`read_parts`."""
    parts = read_parts(config, experts)
    return float(parts.attention + parts.feed_forward + parts.other)


def parameter_count(config: Mapping[str, Any]) -> int:
    """Return the number of all parameters, with embedding and output head, without MTP modules."""
    embedding = config["vocab_size"] * config["hidden_size"]
    return int(read_parameters(config, config["n_routed_experts"])) + int(embedding)
