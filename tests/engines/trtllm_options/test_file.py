"""The options file: the option that names it, the lines that write it, and its text."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from pytest_dsr1.engines.trtllm_options.dialects import NEWEST, dialect_of
from pytest_dsr1.engines.trtllm_options.file import file_lines, file_option, file_text
from pytest_dsr1.text import harmless


@pytest.mark.parametrize(
    ("version", "offered", "option"),
    [
        ("1.1", {"--extra_llm_api_options"}, "--extra_llm_api_options"),
        ("1.2", {"--extra_llm_api_options", "--config"}, "--extra_llm_api_options"),
        ("1.3.0rc27", {"--extra_llm_api_options", "--config"}, "--config"),
        ("1.4", {"--config"}, "--config"),
        ("1.3", {"--config"}, "--config"),
        ("1.4", {"--extra_llm_api_options"}, "--extra_llm_api_options"),
    ],
)
def test_the_option_is_one_that_the_program_has(version: str, offered: set[str], option: str) -> None:
    assert file_option(dialect_of(version), offered) == option


def test_a_plan_for_an_unknown_version_keeps_the_name_that_every_build_accepts() -> None:
    assert file_option(NEWEST) == "--extra_llm_api_options"


def test_without_options_nothing_is_written() -> None:
    assert file_lines({}) == []


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
