"""The options file as text: it is printed in plans, and read by TensorRT-LLM."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from pytest_dsr1.engines.trtllm_options.file import file_lines, file_text
from pytest_dsr1.text import harmless


@pytest.mark.parametrize(
    "text",
    [
        "a\n::error::x",
        f"{'word ' * 14}::error::x {'word ' * 30}",
        "::error::x",
        "##[error]x",
        "a \\::error::x ##[b",
        "a\x85b\u2028c\ud7ff\U0001f600",
        "DSR1_OPTIONS",
        "x " * 300,
    ],
)
def test_no_line_of_a_text_is_a_command_of_a_ci_server(text: str) -> None:
    options: dict[str, Any] = {"K": text, "L": [text, {text: 1}], "n": 8, "none": None}
    made = file_text(options)
    assert yaml.safe_load(made) == options
    for line in made.splitlines():
        assert line.isprintable()
        assert harmless(line)[:1_500] == line[:1_500]


def test_a_script_has_no_secret_and_says_so() -> None:
    options = {"backend": "X", "env_overrides": {"HF_TOKEN": "planted", "MODE": "plain"}}
    assert file_lines(options) == [
        "# (not shown) stands for a secret: write it there before you run this",
        "cat > extra_llm_api_options.yaml <<'DSR1_OPTIONS'",
        "backend: X\nenv_overrides:\n  HF_TOKEN: (not shown)\n  MODE: plain",
        "DSR1_OPTIONS",
    ]
    assert "planted" in file_text(options)
    assert len(file_lines({"backend": "X"})) == 3
    assert file_lines({}) == []
