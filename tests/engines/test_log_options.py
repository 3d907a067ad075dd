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


def test_values_of_texts() -> None:
    assert (whole("2,578,672"), sizes("1, 2, 4"), sizes("")) == (2578672, [1, 2, 4], [])
    assert (word("'auto'"), word("fp8"), word("None")) == ("auto", "fp8", None)
    assert (switch("True"), switch("False"), inverted("True"), inverted("False")) == (
        True,
        False,
        False,
        True,
    )


def test_only_the_start_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_options, "START_BYTES", 6)
    log = tmp_path / "log"
    log.write_bytes(b"tp=8\xff\ntp=4\n")
    assert start_of(log) == "tp=8�\n"
    assert start_of(tmp_path / "missing") == ""
