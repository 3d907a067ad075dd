"""The memory-bandwidth bound of decoding with a DeepSeek-V3-architecture model.

A decode step must read each weight that it uses and the KV cache once, and cannot be faster than that. With
DeepSeek-R1's own dimensions the counts equal its published 671.03 billion parameters, of which 36.6 billion
are read per token.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from pytest_dsr1.records import RequestRecord
from pytest_dsr1.workload.deepseek import read_parameters


@dataclass(frozen=True, slots=True)
class DecodeBound:
    """The least time a decode step can take.

    Attributes:
        experts: the expected number of different routed experts per layer in a step.
        step_s: the time to read the bytes at the peak bandwidth, in seconds.
        output_tok_s: output tokens per second of the whole batch at that speed.
        formula: the arithmetic with its numbers, for messages.
    """

    experts: float
    step_s: float
    output_tok_s: float
    formula: str


def expected_experts(experts: int, per_token: int, tokens: int) -> float:
    """Return the expected number of different experts in a step in which each token picks uniformly.

    A token misses a given expert with probability 1 - k/E, and B independent tokens miss it with (1 - k/E)^B.
    So the number is E * (1 - (1 - k/E)^B).

    Args:
        experts: E, all experts of a layer.
        per_token: k, the experts that one token picks.
        tokens: B, the tokens of the step.
    """
    return float(experts * (1 - (1 - per_token / experts) ** tokens))


def decode_bound(
    config: Mapping[str, Any], *, batch: int, context: float, value_bytes: int, bandwidth_tb_s: float
) -> DecodeBound:
    """Return the bound of a decode step of ``batch`` requests that have ``context`` tokens on average.

    The KV cache counts as the latent that multi-head latent attention must keep: kv_lora_rank +
    qk_rope_head_dim values per token and layer, read once.

    Args:
        config: the model's dimensions, as `DeepseekV3Config` names them.
        batch: requests in the step.
        context: tokens before the new one, averaged over requests and steps.
        value_bytes: bytes per weight and per cached value.
        bandwidth_tb_s: peak memory bandwidth, in 1e12 bytes/s.
    """
    total, per_token = config["n_routed_experts"], config["num_experts_per_tok"]
    experts = expected_experts(total, per_token, batch)
    weights = read_parameters(config, experts) * value_bytes
    latent = config["kv_lora_rank"] + config["qk_rope_head_dim"]
    cache = batch * context * latent * config["num_hidden_layers"] * value_bytes
    step_s = (weights + cache) / (bandwidth_tb_s * 1e12)
    return DecodeBound(
        experts=experts,
        step_s=step_s,
        output_tok_s=batch / step_s,
        formula=(
            f"a step of {batch} reads {weights / 1e9:.2f} GB of weights ({experts:.1f} of {total} routed "
            f"experts per layer expected under uniform routing) and {cache / 1e9:.2f} GB of KV cache, which "
            f"takes {step_s * 1e3:.3f} ms at {bandwidth_tb_s:g} TB/s: {batch} / {step_s * 1e3:.3f} ms = "
            f"{batch / step_s:.1f} tok/s"
        ),
    )


def mean_decode_step_s(records: Iterable[RequestRecord], batch: int) -> float | None:
    """Return the mean time of a decode step, over the batches of ``batch`` requests submitted together.

    The time of a batch is from the last of its first tokens to its last token. Return None without such a
    batch, or if all answers have one token.
    """
    together: dict[float, list[RequestRecord]] = defaultdict(list)
    for record in records:
        together[record.submitted_s].append(record)
    seconds, steps = 0.0, 0
    for group in together.values():
        if len(group) == batch:
            decoding_from_s = max(record.first_token_s or record.submitted_s for record in group)
            seconds += max(record.last_token_s for record in group) - decoding_from_s
            steps += max(record.output_tokens for record in group) - 1
    return seconds / steps if steps else None
