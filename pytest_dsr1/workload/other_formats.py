"""Datasets of other programs, by their first lines, and how to make one of ours from them."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

from pytest_dsr1.storage.files import open_regular

_LOOK = 1 << 16
"""The bytes at the start of a file that are looked at."""
_BANNER = re.compile(r"\s*\[(?:TensorRT-LLM|TRT-LLM|\d\d/\d\d/\d{4}-)[^\]]*\]")
_JQ = "jq -c '{{task_id: input_line_number, prompt: {prompt}, output_tokens: {output}}}' {file} > own.jsonl"


def other_format(path: Path) -> str | None:
    """Return what a file is that is not a dataset of ours, a phrase after ``it``; None if that is unknown.

    Known are the banner that TensorRT-LLM prints into a redirected prepare_dataset.py, ShareGPT, and the
    datasets of trtllm-serve's and vLLM's benchmark_serving, of OpenAI's batches, and of traces.
    """
    try:
        with open_regular(path) as file:
            text = file.read(_LOOK).decode("utf-8", "replace").lstrip("\ufeff \n\r\t")
    except OSError:
        return None
    file_name = shlex.quote(str(path))
    if _BANNER.match(text):
        return (
            "starts with TensorRT-LLM's banner: the package prints it when prepare_dataset.py imports "
            "it, and the "
            f"redirect took it along; remove it: grep '^{{' {file_name} > own.jsonl"
        )
    if re.search(r'"conversations?"\s*:\s*\[', text):
        return (
            "is a ShareGPT dataset of conversations, which says nothing about output lengths; make "
            "requests of its "
            f"first turns: jq -c '.[] | {{task_id: 0, prompt: .conversations[0].value, output_tokens: "
            f"256}}' {file_name} "
            "> own.jsonl"
        )
    if re.match(r"\[\s*\{", text):
        return (
            "is one JSON list, not a line per request; write each element on its line: "
            f"jq -c '.[]' {file_name} > own.jsonl"
        )
    return _of_keys(_first_object(text), file_name)


def _first_object(text: str) -> dict[str, object]:
    line = text.partition("\n")[0]
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _of_keys(first: dict[str, object], path: str) -> str | None:
    """Return what a file is whose first line has these keys; None if that is unknown."""
    inside = first.get("input")
    if isinstance(inside, dict) and "messages" in inside:
        line = _JQ.format(
            prompt=".input.messages[-1].content", output="(.input.max_tokens // 256)", file=path
        )
        return (
            f"is a dataset of trtllm-serve's benchmark_serving (trtllm_custom); make requests of it: {line}"
        )
    if "custom_id" in first and "body" in first:
        line = _JQ.format(prompt=".body.messages[-1].content", output="(.body.max_tokens // 256)", file=path)
        return f"is a batch of OpenAI's API; make requests of it: {line}"
    if "messages" in first:
        line = _JQ.format(prompt=".messages[-1].content", output="256", file=path)
        return f"is a dataset of chat messages without output lengths; make requests of it: {line}"
    if "hash_ids" in first or ("input_length" in first and "output_length" in first):
        return "is a trace of lengths without tokens or text; use dataset.input_tokens and output_tokens"
    if "prompt" in first and not {"task_id", "output_tokens"} & first.keys():
        line = _JQ.format(prompt=".prompt", output="256", file=path)
        return f"is a dataset of vLLM's benchmark_serving (custom); make requests of it: {line}"
    return None
