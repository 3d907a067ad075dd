"""The option that names the options file, and the lines that write it."""

from __future__ import annotations

import pytest

from pytest_dsr1.engines.trtllm_options.dialects import NEWEST, dialect_of
from pytest_dsr1.engines.trtllm_options.file import file_lines, file_option


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
