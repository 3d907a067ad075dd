from __future__ import annotations

import pytest

from pytest_dsr1.workload.checkpoint import Quantization, UnknownLayoutError, read_quantization

NVIDIA = {"producer": {"name": "modelopt", "version": "0.29.0"}}


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (None, ("none", "none")),
        (
            {
                **NVIDIA,
                "quantization": {"quant_algo": "NVFP4", "kv_cache_quant_algo": None, "group_size": 16},
            },
            ("NVFP4", "none"),
        ),
        ({**NVIDIA, "quantization": {"quant_algo": "nvfp4", "kv_cache_quant_algo": "FP8"}}, ("NVFP4", "FP8")),
        ({"quantization": {"quant_algo": None}}, ("none", "none")),
        (
            {
                "activation_scheme": "dynamic",
                "fmt": "e4m3",
                "quant_method": "fp8",
                "weight_block_size": [128, 128],
            },
            ("FP8_BLOCK_SCALES", "none"),
        ),
        (
            {"quant_method": "fp8", "weight_block_size": [64, 64]},
            ("fp8 with weight_block_size [64, 64]", "none"),
        ),
        ({"quant_method": "fp8"}, ("fp8 with weight_block_size None", "none")),
        (
            {
                "quant_method": "modelopt",
                "quant_algo": "NVFP4",
                "kv_cache_scheme": {"dynamic": False, "num_bits": 8, "type": "float"},
            },
            ("NVFP4", "FP8"),
        ),
        ({"quant_method": "modelopt_fp4", "quant_algo": "NVFP4", "kv_cache_scheme": None}, ("NVFP4", "none")),
        ({**NVIDIA, "quant_algo": "FP8", "kv_cache_scheme": "fp8"}, ("FP8", "FP8")),
        ({**NVIDIA, "quant_algo": "FP8", "kv_cache_quant_algo": "FP8"}, ("FP8", "FP8")),
        (
            {**NVIDIA, "quant_algo": "FP8", "kv_cache_scheme": {"type": ["x"], "num_bits": 3}},
            ("FP8", "['x'] of 3 bits"),
        ),
        ({"quant_method": "awq"}, ("AWQ", "none")),
    ],
)
def test_layouts(config: object, expected: tuple[str, str]) -> None:
    assert read_quantization(config) == Quantization(*expected)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ([], "is not an object"),
        ({"quantization": "NVFP4"}, "has a `quantization` that is not an object"),
        ({"quantization": {"quant_algo": 4}}, "has a `quant_algo` that is not a string"),
        (
            {**NVIDIA, "quant_algo": "FP8", "kv_cache_scheme": 8},
            "has a `kv_cache_scheme` that is not a string",
        ),
        ({}, "has neither `quantization` nor `quant_method`"),
        ({"quant_method": 8}, "has neither `quantization` nor `quant_method`"),
        ({"producer": "modelopt"}, "has neither `quantization` nor `quant_method`"),
    ],
)
def test_unknown_layouts(config: object, message: str) -> None:
    with pytest.raises(UnknownLayoutError, match=f"^{message}$"):
        read_quantization(config)
