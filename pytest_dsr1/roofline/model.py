"""The model that a measurement ran, with its number formats: the basis of bounds and memory estimates.

Either all of it is known for sure, or nothing is returned: a bound based on a guess would reject good runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pytest_dsr1.machine.gpu.known import TensorCoreFormat
from pytest_dsr1.measurement.measurement import Measurement
from pytest_dsr1.scenario.schema.deepseek_r1 import DEEPSEEK_R1
from pytest_dsr1.scenario.schema.scenario import Scenario
from pytest_dsr1.workload.deepseek import config_problems, read_parts, resolve_config


class NotKnownError(Exception):
    """Something is not known for sure; the message says what."""


@dataclass(frozen=True, slots=True)
class NumberFormat:
    """How a value is stored, and the fastest tensor cores that can compute with it.

    Attributes:
        value_bytes: bytes per value, including its share of block scales.
        tensor_core: the format of those tensor cores.
    """

    value_bytes: float
    tensor_core: TensorCoreFormat


FP32 = NumberFormat(4, "BF16")
"""FP32 has lower peaks than BF16, so the bound of BF16 also holds."""
BF16 = NumberFormat(2, "BF16")
FP8 = NumberFormat(1, "FP8")
FP8_BLOCKS = NumberFormat(1 + 4 / 128**2, "FP8")
"""An FP32 scale for each block of 128 x 128 weights."""
NVFP4 = NumberFormat(0.5 + 1 / 16, "FP4")
"""An FP8 scale for each 16 weights."""

CHECKPOINTS: Mapping[str, str] = {
    "deepseek-ai/DeepSeek-R1": "FP8_BLOCK_SCALES",
    "deepseek-ai/DeepSeek-R1-0528": "FP8_BLOCK_SCALES",
    "deepseek-ai/DeepSeek-V3": "FP8_BLOCK_SCALES",
    "deepseek-ai/DeepSeek-V3-0324": "FP8_BLOCK_SCALES",
    "nvidia/DeepSeek-R1-FP4": "NVFP4",
    "nvidia/DeepSeek-R1-0528-FP4": "NVFP4",
}
"""The checkpoints with DeepSeek-R1's dimensions whose number formats are known, with their quantization.

The architecture alone is not enough: other models have it with other dimensions, and later FP4 checkpoints
store a part of the attention in FP4 too.
"""

_WEIGHTS: Mapping[str, tuple[NumberFormat, NumberFormat]] = {
    "FP8_BLOCK_SCALES": (FP8_BLOCKS, FP8_BLOCKS),
    "NVFP4": (BF16, NVFP4),
    "none": (BF16, BF16),
}
"""Number formats of attention and feed-forward layers; routers, norms and the output head stay BF16."""

_CACHES = {"FP8": FP8, "BF16": BF16, "BFLOAT16": BF16}

SPECULATES = 1.05
"""More tokens per step than this come from speculation, not from how an engine counts its steps."""


@dataclass(frozen=True, slots=True)
class RunModel:
    """The model of a measurement.

    Attributes:
        config: its dimensions, as `DeepseekV3Config` names them.
        attention: how attention weights are stored; for the parts of the weights, see
            :class:`~pytest_dsr1.workload.deepseek.ReadParameters`.
        feed_forward: how feed-forward weights are stored.
        other: how all other weights are stored.
        cache: how the KV cache is stored.
        draft_tokens: draft tokens per request in a step; 0 without speculation.
    """

    config: Mapping[str, Any]
    attention: NumberFormat
    feed_forward: NumberFormat
    other: NumberFormat
    cache: NumberFormat
    draft_tokens: int

    def weight_bytes(self, experts: float) -> float:
        """Return the bytes of weights that a step reads with this many routed experts per layer."""
        parts = read_parts(self.config, experts)
        return (
            parts.attention * self.attention.value_bytes
            + parts.feed_forward * self.feed_forward.value_bytes
            + parts.other * self.other.value_bytes
        )

    @property
    def memory_bytes(self) -> float:
        """The least bytes of all weights, each held once, without draft modules."""
        embedding = self.config["vocab_size"] * self.config["hidden_size"]
        return self.weight_bytes(self.config["n_routed_experts"]) + float(embedding * self.other.value_bytes)

    @property
    def cache_token_bytes(self) -> float:
        """Bytes per token in the KV cache: the latent of multi-head latent attention in each layer."""
        latent = self.config["kv_lora_rank"] + self.config["qk_rope_head_dim"]
        return float(latent * self.config["num_hidden_layers"] * self.cache.value_bytes)


def run_model(measurement: Measurement) -> RunModel:
    """Return the model that a measurement ran.

    Raises:
        NotKnownError: its dimensions, its number formats or its speculation are not known for sure.
    """
    scenario, engine = measurement.scenario, measurement.scenario.engine
    if doubt := engine.model_doubt:
        raise NotKnownError(doubt)
    config, quantization = _weights(scenario)
    reported = measurement.result.facts.quantization
    if reported is not None and reported.upper() != quantization.upper():
        raise NotKnownError(
            f"the engine reports the quantization {reported}, but the scenario says {quantization}"
        )
    if quantization not in _WEIGHTS:
        raise NotKnownError(f"the number formats of the quantization {quantization} are unknown")
    attention, feed_forward = _WEIGHTS[quantization]
    if engine.number_format is not None:
        value = FP32 if engine.number_format == "float32" else BF16
        return RunModel(config, value, value, value, value, 0)
    cache = _cache(measurement)
    return RunModel(config, attention, feed_forward, BF16, cache, _draft_tokens(measurement))


def _weights(scenario: Scenario) -> tuple[Mapping[str, Any], str]:
    """Return dimensions and quantization."""
    model, random = scenario.model, scenario.model.random_weights
    if model.architecture != "DeepseekV3ForCausalLM":
        raise NotKnownError(f"the architecture {model.architecture} is unknown")
    if random is not None:
        config = resolve_config(random.config)
        unknown = sorted(set(config) - set(DEEPSEEK_R1))
        if unknown:
            raise NotKnownError(
                f"model.random_weights.config has fields that are not dimensions: {', '.join(unknown)}"
            )
        if problems := config_problems(config):
            raise NotKnownError(f"model.random_weights.config describes no valid model: {problems[0]}")
        return config, model.quantization if scenario.engine.quantizes_random_weights else "none"
    if model.path is None:
        raise NotKnownError("the scenario names no checkpoint")
    if model.name not in CHECKPOINTS:
        raise NotKnownError(f"the dimensions and number formats of {model.name} are unknown")
    if model.quantization != CHECKPOINTS[model.name]:
        raise NotKnownError(
            f"model.quantization is {model.quantization}, but {model.name} was published in "
            f"{CHECKPOINTS[model.name]}"
        )
    return DEEPSEEK_R1, model.quantization


def asked_cache(scenario: Scenario) -> str:
    """Return the name of the KV cache's format: the one the scenario sets, else the checkpoint's."""
    asked, stored = scenario.engine.kv_cache_format, scenario.model.kv_cache_quantization
    if asked is None or asked == "auto":
        return "BF16" if stored == "none" else stored
    return "BF16" if asked == "bfloat16" else asked.upper()


def _cache(measurement: Measurement) -> NumberFormat:
    """Return the format of the KV cache: the one the engine reports, else the one the scenario sets."""
    reported = measurement.result.facts.kv_cache_dtype
    if reported is None or reported.upper() in {"AUTO", "NONE"}:
        what, name = "the scenario asks for", asked_cache(measurement.scenario)
    else:
        what, name = "the engine reports", reported
    if name.upper() not in _CACHES:
        raise NotKnownError(f"{what} a KV cache of {name}, whose size is unknown")
    return _CACHES[name.upper()]


def _draft_tokens(measurement: Measurement) -> int:
    if asked := measurement.scenario.engine.draft_tokens:
        return asked
    accepted = measurement.metrics.get("acceptance_length")
    if accepted is not None and accepted.value > SPECULATES:
        raise NotKnownError(
            f"the engine generated {accepted.value:.2f} tokens per step, but the scenario has no draft tokens"
        )
    return 0
