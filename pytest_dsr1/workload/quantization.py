"""What a checkpoint's configuration says about quantization, in TensorRT-LLM's words.

Follows TensorRT-LLM's own reader (``tensorrt_llm/_torch/model_config.py``, ``load_hf_quant_config`` and
``quantization/modelopt_config.py``). Three layouts exist:

- NVIDIA's ``hf_quant_config.json``: ``{"quantization": {"quant_algo": ..., "kv_cache_quant_algo": ...}}``;
- the same producer's newer, flat layout, also inside config.json: ``quant_method: modelopt...``,
  ``quant_algo`` and ``kv_cache_scheme``;
- DeepSeek's own inside config.json: ``quant_method: fp8`` and ``weight_block_size: [128, 128]``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

_KV_CACHE_SCHEMES = {"float of 8 bits": "FP8", "float of 4 bits": "NVFP4", "int of 8 bits": "INT8"}


@dataclass(frozen=True, slots=True)
class Quantization:
    """Of the weights and of the KV cache; ``none`` for neither, else TensorRT-LLM's name or a description."""

    weights: str
    kv_cache: str


class UnknownLayoutError(Exception):
    """What keeps a configuration from being understood, as the end of a sentence that names the file."""


UNQUANTIZED = Quantization("none", "none")


def read_quantization(config: object) -> Quantization:
    """From hf_quant_config.json, or from ``quantization_config`` in config.json; None is no quantization.

    Raises:
        UnknownLayoutError: the layout is none of those above.
    """
    if config is None:
        return UNQUANTIZED
    if not isinstance(config, dict):
        raise UnknownLayoutError("holds no object")
    if "quantization" in config:
        inner = config["quantization"]
        if not isinstance(inner, dict):
            raise UnknownLayoutError("`quantization` is no object")
        return Quantization(_name(inner, "quant_algo"), _name(inner, "kv_cache_quant_algo"))
    method = config.get("quant_method")
    producer = config.get("producer")
    if str(method).lower().startswith("modelopt") or (
        isinstance(producer, dict) and producer.get("name") == "modelopt"
    ):
        return Quantization(_name(config, "quant_algo"), _kv_cache_scheme(config))
    if method == "fp8":
        blocks = config.get("weight_block_size")
        return Quantization(
            "FP8_BLOCK_SCALES" if blocks == [128, 128] else f"fp8 with weight_block_size {blocks}", "none"
        )
    if isinstance(method, str):
        return Quantization(method.upper(), "none")
    raise UnknownLayoutError("names neither `quantization` nor `quant_method`")


def _name(config: Mapping[str, object], key: str) -> str:
    name = config.get(key)
    if name is None:
        return "none"
    if not isinstance(name, str):
        raise UnknownLayoutError(f"`{key}` is no string")
    return name.upper()


def _kv_cache_scheme(config: Mapping[str, object]) -> str:
    if "kv_cache_scheme" not in config:
        return _name(config, "kv_cache_quant_algo")
    scheme = config["kv_cache_scheme"]
    if isinstance(scheme, dict):
        kind = f"{scheme.get('type')} of {scheme.get('num_bits')} bits"
        return _KV_CACHE_SCHEMES.get(kind, kind)
    return _name(config, "kv_cache_scheme")
