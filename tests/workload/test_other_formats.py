"""Datasets of other programs; the advised command makes a dataset of ours of each."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from pytest_dsr1.errors import InvalidRunError
from pytest_dsr1.workload.dataset import inspect_dataset
from pytest_dsr1.workload.other_formats import other_format

GOOD = '{"task_id":0,"input_ids":[5,77],"output_tokens":8}\n'
CHAT = [{"role": "system", "content": "s"}, {"role": "user", "content": "Why?"}]
SHAREGPT = [
    {"id": "a", "conversations": [{"from": "human", "value": "Why?"}, {"from": "gpt", "value": "So."}]}
]

FILES = {
    "banner": (f"[TensorRT-LLM] TensorRT-LLM version: 1.2.0\n{GOOD}", "starts with TensorRT-LLM's banner"),
    "logged banner": (
        f"[11/28/2026-09:14:02] [TRT-LLM] [I] Starting\n{GOOD}",
        "starts with TensorRT-LLM's banner",
    ),
    "ShareGPT": (json.dumps(SHAREGPT), "is a ShareGPT dataset of conversations"),
    "indented ShareGPT": (json.dumps(SHAREGPT, indent=2), "is a ShareGPT dataset of conversations"),
    "a list of our requests": (f"[{GOOD.strip()}]", "is one JSON list, not a line per request"),
    "trtllm-serve": (
        json.dumps({"input": {"messages": CHAT, "max_tokens": 16}}),
        "is a dataset of trtllm-serve's benchmark_serving",
    ),
    "a batch": (
        json.dumps(
            {"custom_id": "a", "method": "POST", "url": "/v1", "body": {"messages": CHAT, "max_tokens": 9}}
        ),
        "is a batch of OpenAI's API",
    ),
    "chat": (json.dumps({"messages": CHAT}), "is a dataset of chat messages"),
    "vLLM": (json.dumps({"prompt": "Why?"}), "is a dataset of vLLM's benchmark_serving"),
}


def refused(path: Path, text: str) -> str:
    path.write_text(text)
    with pytest.raises(InvalidRunError) as caught:
        inspect_dataset(path, 1)
    return str(caught.value)


@pytest.mark.parametrize("name", FILES)
def test_a_dataset_of_another_program_is_named(tmp_path: Path, name: str) -> None:
    text, kind = FILES[name]
    path = tmp_path / "data.jsonl"
    first, last = refused(path, text).splitlines()
    assert first.startswith(f"{path} is not a usable dataset: it {kind}")
    assert last.startswith("Each line is one JSON object such as ")


@pytest.mark.skipif(shutil.which("jq") is None, reason="jq is not installed")
@pytest.mark.parametrize("name", FILES)
def test_the_advised_command_makes_a_dataset(tmp_path: Path, name: str) -> None:
    message = refused(tmp_path / "data.jsonl", FILES[name][0]).splitlines()[0]
    command = re.search(r"(?:jq|grep) .*", message)
    assert command is not None
    done = subprocess.run(
        ["sh", "-c", command[0].removesuffix(" > own.jsonl")], capture_output=True, text=True, check=True
    )
    (tmp_path / "own.jsonl").write_text(done.stdout)
    assert inspect_dataset(tmp_path / "own.jsonl", 1).requests == 1


def test_a_trace_has_neither_tokens_nor_text(tmp_path: Path) -> None:
    line = json.dumps({"timestamp": 0, "input_length": 6758, "output_length": 500, "hash_ids": [0, 1]})
    assert "is a trace of lengths without tokens or text" in refused(tmp_path / "trace.jsonl", line)


@pytest.mark.parametrize("text", ["", "{", "17\n", '{"task_id": 0}\n', '{"a": [[['])
def test_anything_else_stays_unnamed(tmp_path: Path, text: str) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text(text)
    assert other_format(path) is None
    assert other_format(tmp_path / "missing") is None


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert other_format(tmp_path / "pipe") is None
