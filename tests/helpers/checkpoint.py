"""Checkpoints in DeepSeek-R1's layout, in small."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


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


def chinese_checkpoint(folder: Path) -> Path:
    """Random weights and a tokenizer of Chinese characters, which transformers streams one by one."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import DeepseekV3Config, DeepseekV3ForCausalLM, PreTrainedTokenizerFast

    alphabet = [chr(0x4E00 + i) for i in range(254)]
    vocabulary = {token: i for i, token in enumerate(["<s>", "</s>", *alphabet])}
    vocabulary |= {"0": 2, "1": 3, "2": 4, "3": 5, " ": 6, "a": 7, "b": 8}
    vocabulary = {t: i for t, i in vocabulary.items() if i < 2 or i > 8 or t in "0123 ab"}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "isolated")
    tokenizer.decoder = decoders.Fuse()
    fast: Any = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>"
    )
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    config = DeepseekV3Config(
        vocab_size=256,
        hidden_size=64,
        intermediate_size=128,
        moe_intermediate_size=32,
        num_hidden_layers=2,
        first_k_dense_replace=1,
        num_attention_heads=4,
        num_key_value_heads=4,
        q_lora_rank=16,
        kv_lora_rank=16,
        qk_nope_head_dim=8,
        qk_rope_head_dim=8,
        v_head_dim=8,
        n_routed_experts=4,
        num_experts_per_tok=2,
        n_group=1,
        topk_group=1,
        max_position_embeddings=256,
        bos_token_id=0,
        eos_token_id=1,
    )
    DeepseekV3ForCausalLM(config).save_pretrained(folder)
    return folder
