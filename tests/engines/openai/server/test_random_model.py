"""A model of random weights that a server is to make: the folder it is given."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

import pytest

from pytest_dsr1.engines.openai.server.command import launch_command
from pytest_dsr1.engines.openai.server.random_model import model_folder, write_model
from pytest_dsr1.errors import EngineError
from pytest_dsr1.scenario.schema.scenario import Scenario
from pytest_dsr1.workload.checkpoint import Quantization, read_quantization
from tests.helpers.values import scenario

SLICE: dict[str, Any] = {"num_hidden_layers": 4, "first_k_dense_replace": 1}


def served(server: str = "vllm", **config: Any) -> Scenario:
    """A scenario whose server makes this model."""
    return scenario(
        model={"name": "m", "random_weights": {"config": config}}, engine={"type": "openai", "server": server}
    )


def test_folder_of_the_slice(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    write_model(served(**SLICE), tmp_path)
    config = transformers.AutoConfig.from_pretrained(tmp_path)
    assert (config.architectures, config.num_hidden_layers) == (["DeepseekV3ForCausalLM"], 4)
    assert (config.n_routed_experts, config.hidden_size, config.first_k_dense_replace) == (256, 7168, 1)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
    assert (len(tokenizer), tokenizer.bos_token_id, tokenizer.eos_token_id) == (129280, 0, 1)
    words = random.Random(0).choices(range(259, 129280), k=500)
    assert tokenizer(tokenizer.decode(words))["input_ids"] == words
    assert tokenizer.decode(tokenizer("Grüße, 你好\n")["input_ids"]) == "Grüße, 你好\n"


def test_weights_in_blocks_of_fp8(tmp_path: Path) -> None:
    of = served(**SLICE)
    blocks = of.model_copy(update={"model": of.model.model_copy(update={"quantization": "FP8_BLOCK_SCALES"})})
    write_model(blocks, tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert read_quantization(config["quantization_config"]) == Quantization("FP8_BLOCK_SCALES", "none")
    environ = {"XDG_CACHE_HOME": str(tmp_path)}
    assert model_folder(blocks, environ) != model_folder(of, environ)


def test_equal_models_share_a_folder(tmp_path: Path) -> None:
    environ = {"XDG_CACHE_HOME": str(tmp_path)}
    folder = model_folder(served(**SLICE), environ)
    assert folder.is_relative_to(tmp_path)
    assert folder == model_folder(served(**SLICE).model_copy(update={"name": "other"}), environ)
    assert folder != model_folder(served(num_hidden_layers=5), environ)


def test_files_that_another_server_reads_are_never_cut(tmp_path: Path) -> None:
    of = served(vocab_size=4096)
    write_model(of, tmp_path)
    files = {path: (path.stat().st_ino, path.read_bytes()) for path in sorted(tmp_path.iterdir())}
    write_model(of, tmp_path)
    assert {path: (path.stat().st_ino, path.read_bytes()) for path in sorted(tmp_path.iterdir())} == files
    changed = tmp_path / "config.json"
    changed.write_bytes(b"\xff")
    with changed.open("rb") as reader:
        write_model(of, tmp_path)
        assert reader.read() == b"\xff"
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == {
        path: content for path, (_, content) in files.items()
    }


@pytest.mark.parametrize("server", ["vllm", "sglang"])
def test_server_makes_the_weights(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    of = served(server, **SLICE)
    line = launch_command(of, 8000).shell()
    assert f" {model_folder(of, {'XDG_CACHE_HOME': str(tmp_path)})} " in line
    assert line.endswith(" --load-format dummy")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"num_hidden_layers": 0}, "random_weights.config: num_hidden_layers is 0, expected a whole number"),
        (
            {"vocab_size": 100},
            "vocab_size is 100, expected at least 259, because a server's tokenizer has a token",
        ),
    ],
)
def test_no_model(config: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=message):
        write_model(served(**config), tmp_path)


def test_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EngineError, match=r"file: .*; set XDG_CACHE_HOME to a folder that you can write to"):
        write_model(served(vocab_size=4096), tmp_path / "file")


def test_tokenizer_has_an_id_for_each_token(tmp_path: Path) -> None:
    write_model(served(vocab_size=300), tmp_path)
    model = json.loads((tmp_path / "tokenizer.json").read_text())["model"]
    assert sorted(model["vocab"].values()) == list(range(300))
    assert len(model["merges"]) == 300 - 259


def test_a_pipe_in_the_cache_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "config.json")
    write_model(served(vocab_size=4096), tmp_path)
    assert (tmp_path / "config.json").is_file()
