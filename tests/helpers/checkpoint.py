"""A checkpoint in DeepSeek-R1's layout, in small."""

from __future__ import annotations

import json
from pathlib import Path


def small_checkpoint(folder: Path) -> Path:
    """Write config.json with FP8 blocks, and one shard; return the folder."""
    folder.mkdir(parents=True)
    config = {
        "architectures": ["DeepseekV3ForCausalLM"],
        "quantization_config": {"quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [128, 128]},
    }
    header = json.dumps({"w": {"dtype": "U8", "shape": [8], "data_offsets": [0, 8]}}).encode()
    shard = len(header).to_bytes(8, "little") + header + bytes(8)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "model.safetensors").write_bytes(shard)
    return folder
