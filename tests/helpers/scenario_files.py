"""A valid scenario file for tests to change, and functions that load a text as a scenario."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from pytest_dsr1.errors import UserError
from pytest_dsr1.scenario.loading import LoadedScenario, load

GOOD = """\
name: mine
description: A scenario of the tests
hardware:
  gpu: NVIDIA H200
  count: 8
model:
  name: deepseek-ai/DeepSeek-R1
  path: ${DSR1_MODELS}/DeepSeek-R1
  quantization: FP8_BLOCK_SCALES
dataset:
  input_tokens: 1024
  output_tokens: 2048
load:
  concurrency: 1024
  num_requests: 5120
engine:
  type: trtllm-bench
  tp: 8
  ep: 8
  max_batch_size: 128
  max_num_tokens: 1151
  llm_api:
    enable_attention_dp: true
    cuda_graph_config:
      batch_sizes: [128]
  environment:
    TRTLLM_DG_JIT_USE_NVCC: "1"
targets:
  - metric: total_output_throughput
    value: 11489.2671
  - metric: request_throughput
    value: 5.61
"""


def changed(*changes: tuple[str, str]) -> str:
    """Return the valid file with parts of its text replaced."""
    text = GOOD
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


def load_text(folder: Path, text: str, *overrides: str) -> LoadedScenario:
    """Save the text as ``s.yaml`` and load it."""
    path = folder / "s.yaml"
    path.write_text(text, encoding="utf-8")
    return load(path, overrides=overrides)


def mistakes(folder: Path, text: str, *overrides: str) -> list[str]:
    """Return the lines of the one message about this text, without the header and the folder."""
    with pytest.raises(UserError) as caught:
        load_text(folder, text, *overrides)
    header, *lines = str(caught.value).splitlines()
    count = "1 mistake" if len(lines) == 1 else f"{len(lines)} mistakes"
    assert header == f"{folder / 's.yaml'}: {count} in this scenario"
    return [line.strip().replace(f"{folder}/", "") for line in lines]


def one_of(names: Iterable[str]) -> str:
    """Return the words of a message that lists what is possible."""
    return f"one of {', '.join(map(repr, names))}"


def name_or_message(folder: Path, text: str, *overrides: str) -> str:
    """Return the name of the scenario, or the message of the error."""
    try:
        return load_text(folder, text, *overrides).scenario.name
    except UserError as error:
        return str(error)
