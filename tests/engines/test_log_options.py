"""Options that a log shows: the last value counts, and only the start of the log is read."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pytest_dsr1.engines import log_options
from pytest_dsr1.engines.in_effect import Option
from pytest_dsr1.engines.log_options import Shown, inverted, shown_in, sizes, start_of, switch, whole, word


def test_the_last_value_counts() -> None:
    options = [Shown("tp", re.compile(r"tp=(\d+)"), whole), Shown("pp", re.compile(r"pp=(\d+)"), whole)]
    assert list(shown_in("tp=1\ntp=8\n", options, "log")) == [Option("tp", 8, "log")]


def test_what_is_not_a_value_is_left_out() -> None:
    """Two processes that write at once can make such numbers."""
    options = [
        Shown("gib", re.compile(r"memory: ([\d.]+)"), float),
        Shown("tokens", re.compile(r"size: ([\d,]+)"), whole),
        Shown("sizes", re.compile(r"sizes: \[([\d, ]*)\]"), sizes),
    ]
    assert (
        list(shown_in("memory: 1.2.3\nsize: ,\nsizes: [1 2, 3]\nsize: " + "9" * 5000, options, "log")) == []
    )


def test_values_of_texts() -> None:
    assert (whole("2,578,672"), sizes("1, 2, 4"), sizes("")) == (2578672, [1, 2, 4], [])
    assert (word("'auto'"), word("fp8"), word("None")) == ("auto", "fp8", None)
    assert (switch("True"), switch("False"), inverted("True"), inverted("False")) == (
        True,
        False,
        False,
        True,
    )


def test_the_lines_of_the_start_that_may_show_options_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The arguments of TensorRT-LLM are in the line after their title."""
    log = tmp_path / "log"
    first = b"Loading: 1%\nGPU KV cache size: 8 tokens \xff\n[I] LLM Args:\ntp=8\npp=1\n"
    log.write_bytes(first + b"GPU KV cache size: 9 tokens\n")
    start = "GPU KV cache size: 8 tokens \ufffd\n[I] LLM Args:\ntp=8\n"
    assert start_of(log) == f"{start}GPU KV cache size: 9 tokens\n"
    monkeypatch.setattr(log_options, "START_BYTES", len(first))
    assert start_of(log) == start
    assert start_of(tmp_path / "missing") == ""
