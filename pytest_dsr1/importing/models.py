"""The checkpoints and GPUs of published runs, by the names that their files use."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A released checkpoint of DeepSeek-R1.

    Attributes:
        name: on Hugging Face.
        quantization: of its weights, as the checkpoint names it.
        kv_cache_quantization: of the KV cache, as the checkpoint names it.
        doubt: what was not verified, a sentence.
    """

    name: str
    quantization: str
    kv_cache_quantization: str = "none"
    doubt: str = ""

    def model(self) -> dict[str, str]:
        """Return the scenario's ``model:``."""
        model = {
            "name": self.name,
            "path": "${DSR1_MODELS}/" + self.name.split("/")[1],
            "quantization": self.quantization,
        }
        if self.kv_cache_quantization != "none":
            model["kv_cache_quantization"] = self.kv_cache_quantization
        return model


_FP8 = Checkpoint("deepseek-ai/DeepSeek-R1-0528", "FP8_BLOCK_SCALES")
_FP4 = Checkpoint("nvidia/DeepSeek-R1-0528-FP4", "NVFP4", "FP8")
_FP4_V2 = Checkpoint(
    "nvidia/DeepSeek-R1-0528-FP4-v2",
    "NVFP4",
    "FP8",
    "The formats of this checkpoint's weights and KV cache are those of nvidia/DeepSeek-R1-0528-FP4; its own "
    "hf_quant_config.json was not read.",
)

PERF_SANITY = {
    "deepseek_r1_0528_fp8": _FP8,
    "deepseek_r1_0528_fp4": _FP4,
    "deepseek_r1_0528_fp4_v2": _FP4_V2,
}
"""The checkpoints by the keys of MODEL_PATH_DICT (TensorRT-LLM, tests/integration/defs/perf/_model_paths.py,
057af15a)."""

GPUS = {
    "H100": "NVIDIA H100 80GB HBM3",
    "H200": "NVIDIA H200",
    "B200": "NVIDIA B200",
    "B300": "NVIDIA B300 SXM6 AC",
    "GB200": "NVIDIA GB200",
    "GB300": "NVIDIA GB300",
}
"""The names that NVML reports, by the names in files."""


def checkpoint_on_hugging_face(name: str) -> Checkpoint | None:
    """Return the checkpoint with this name on Hugging Face, in any case of letters; None if unknown."""
    known = {checkpoint.name.lower(): checkpoint for checkpoint in PERF_SANITY.values()}
    return known.get(name.lower())


def gpus_per_node(gpu: str) -> int:
    """Return how many GPUs of this name in files one node has (GB200 and GB300 NVL72: 4)."""
    return 4 if gpu.startswith("GB") else 8
