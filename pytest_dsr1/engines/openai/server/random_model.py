"""The files of a model with random weights for a server: its configuration and a tokenizer.

Nothing is downloaded and no weights are written: the server makes them (``--load-format dummy``). The
tokenizer is byte-level BPE and its vocabulary fills all ids: 3 special tokens, the 256 bytes, and words of a
space and letters, with one merge each. So a sequence of word ids decodes to a text that encodes to the same
ids.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import string
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pytest_dsr1.errors import EngineError
from pytest_dsr1.scenario.schema.scenario import Scenario
from pytest_dsr1.storage.files import open_regular, write_atomically
from pytest_dsr1.workload.deepseek import FP8_BLOCK_SCALES, config_problems, resolve_config
from pytest_dsr1.workload.prepare import cache_folder

DUMMY_WEIGHTS = {"vllm": ["--load-format", "dummy"], "sglang": ["--load-format", "dummy"]}
"""The arguments with which a server makes random weights itself."""
_BEGIN, _END, _PAD = _SPECIAL = ("<|begin_of_sentence|>", "<|end_of_sentence|>", "<|pad|>")
_FORMAT_VERSION = 1
"""Must change when the same scenario gives other files."""


def model_folder(scenario: Scenario, environ: Mapping[str, str]) -> Path:
    """Return the folder of the scenario's model with random weights; equal models share a folder."""
    key = json.dumps([_FORMAT_VERSION, _config(scenario)], sort_keys=True)
    digest = hashlib.sha256(key.encode()).hexdigest()
    return cache_folder(environ) / "models" / f"random-{digest[:16]}"


def write_model(scenario: Scenario, folder: Path) -> None:
    """Write the files of a model with random weights.

    Raises:
        EngineError: no model can have the scenario's configuration, or the folder cannot be written.
    """
    config = _config(scenario)
    if problems := config_problems(config):
        raise EngineError(f"{scenario.name}: model.random_weights.config: {'; '.join(problems)}")
    if config["vocab_size"] < (least := len(_SPECIAL) + 256):
        raise EngineError(
            f"{scenario.name}: model.random_weights.config: vocab_size is {config['vocab_size']}, expected "
            f"at least {least}, because a server's tokenizer has a token for each byte"
        )
    ends = {"bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2}
    files = {
        "config.json": {**config, **ends},
        "generation_config.json": {**ends, "do_sample": False},
        "tokenizer.json": _tokenizer(config["vocab_size"]),
        "tokenizer_config.json": {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "bos_token": _BEGIN,
            "eos_token": _END,
            "pad_token": _PAD,
            "clean_up_tokenization_spaces": False,
            "model_max_length": config["max_position_embeddings"],
        },
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            _keep(folder / name, json.dumps(content, ensure_ascii=False))
    except OSError as error:
        raise EngineError(
            f"{scenario.name}: cannot write the model's configuration to {folder}: {error.strerror}; "
            "set XDG_CACHE_HOME to a folder that you can write to"
        ) from None


def _keep(path: Path, text: str) -> None:
    """Make the text of a file this one; another server may read the file meanwhile."""
    with suppress(OSError), open_regular(path) as file:
        if file.read() == text.encode():
            return
    write_atomically(path, text)


def _config(scenario: Scenario) -> dict[str, Any]:
    weights = scenario.model.random_weights
    assert weights is not None
    quantized = scenario.model.quantization == "FP8_BLOCK_SCALES"
    return {
        "architectures": [scenario.model.architecture],
        "model_type": "deepseek_v3",
        "torch_dtype": "bfloat16",
        "scoring_func": "sigmoid",
        "topk_method": "noaux_tc",
        "norm_topk_prob": True,
        "moe_layer_freq": 1,
        "num_nextn_predict_layers": 0,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-6,
        "initializer_range": 0.02,
        "attention_bias": False,
        "tie_word_embeddings": False,
        **({"quantization_config": FP8_BLOCK_SCALES} if quantized else {}),
        **resolve_config(weights.config),
    }


def _tokenizer(vocab_size: int) -> dict[str, Any]:
    """Return the content of tokenizer.json, in the format of the library `tokenizers`."""
    alphabet = _bytes_as_characters()
    tokens = [*_SPECIAL, *alphabet]
    merges = []
    for word in itertools.islice(_words(), vocab_size - len(tokens)):
        stem, last = alphabet[ord(" ")] + word[:-1], word[-1]
        merges.append([stem, last])
        tokens.append(stem + last)
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    by_bytes = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": i, "content": token, **flags} for i, token in enumerate(_SPECIAL)],
        "normalizer": None,
        "pre_tokenizer": by_bytes,
        "post_processor": None,
        "decoder": by_bytes,
        "model": {"type": "BPE", "vocab": {token: i for i, token in enumerate(tokens)}, "merges": merges},
    }


def _words() -> Iterator[str]:
    for length in itertools.count(1):
        for letters in itertools.product(string.ascii_lowercase, repeat=length):
            yield "".join(letters)


def _bytes_as_characters() -> list[str]:
    """Return GPT-2's printable character for each byte; byte-level BPE works on these characters."""
    others = (chr(code) for code in itertools.count(256))
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    return [chr(byte) if byte in printable else next(others) for byte in range(256)]
