"""Bad input as a user meets it: through pytest, and never with a traceback.

Malformed scenarios are run through pytest in tests/scenario/test_validation.py, beside their table.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.helpers.suites import Suites


@pytest.mark.parametrize("kind", ["dataset", "checkpoint"])
def test_a_malformed_dataset_or_checkpoint_is_an_error_without_a_traceback(suites: Suites, kind: str) -> None:
    path = suites.write("gamma")
    text = path.read_text(encoding="utf-8")
    if kind == "dataset":
        bad = suites.pytester.path / "bad.jsonl"
        bad.write_bytes(b'{"task_id":0,"input_ids":[5],"output_tokens":"four"}\n\xff\n{\n')
        text = text.replace("dataset:\n", f"dataset:\n  path: {bad}\n").replace("  vocab_size: 100\n", "")
        place = f"{bad.name}:1"
    else:
        place = "config.json is missing"
        (suites.pytester.path / "checkpoint").mkdir()
        text = text.replace("random_weights: {}", f"path: {suites.pytester.path / 'checkpoint'}")
        text = text.replace("type: transformers", "type: trtllm-bench").replace(
            "hardware: {}", "hardware:\n  gpu: NVIDIA H200\n  count: 1"
        )
        text = text.replace("average_ttft", "average_request_latency")
    path.write_text(text, encoding="utf-8")
    result = suites.run("--dsr1-profile=gamma")
    assert result.ret == 10, result.stderr.str()
    assert place in result.stdout.str()
    assert "Traceback" not in result.stdout.str()
    assert not (Path(suites.pytester.path) / "engine-runs.txt").exists()


def test_malformed_questions_are_an_error_before_the_engine_starts(suites: Suites) -> None:
    bad = suites.pytester.path / "bad.jsonl"
    bad.write_bytes(b'{"prompt": "1+1?"}\n\xff\n')
    path = suites.write("gamma")
    text = path.read_text(encoding="utf-8")
    text = re.sub(r"(?m)^model:\n(  .*\n)+", "model: {name: m}\n", text)
    text = text.replace("type: transformers", "type: openai\n  url: http://127.0.0.1:9")
    path.write_text(f"{text}accuracy: {{tasks: [{{path: {bad}}}]}}\n", encoding="utf-8")
    result = suites.run("--dsr1-profile=gamma")
    assert result.ret == 10, result.stderr.str()
    result.stdout.fnmatch_lines(
        [
            f"{bad} has questions that cannot be asked (2 problems):",
            f"  {bad}:1: answer is missing",
            f"  {bad}:2: not UTF-8: byte 0xff at column 1",
        ]
    )
    assert "Traceback" not in result.stdout.str()
    assert not (Path(suites.pytester.path) / "engine-runs.txt").exists()
