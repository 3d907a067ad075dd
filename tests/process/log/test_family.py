"""The causes of logs that were written with the facts of public reports."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from pytest_dsr1.process.child import signal_name
from pytest_dsr1.process.log.reader import LogReader
from tests.helpers.paths import DATA

OWN = DATA / "logs" / "own"
EXPECTED: dict[str, dict[str, Any]] = yaml.safe_load((OWN / "expected.yaml").read_text())


def read(name: str) -> LogReader:
    """The reader of a sample; a carriage return ends a line, as in `LineSplitter`."""
    text = (OWN / f"{name}.log").read_bytes().decode()
    return LogReader(line for line in re.split("[\r\n]", text) if line)


@pytest.mark.parametrize("name", EXPECTED)
def test_the_cause_of_a_sample_is_named(name: str) -> None:
    expected, cause = EXPECTED[name], read(name).cause
    assert cause is not None
    assert (cause.name or signal_name(cause.number or 0)) == expected["cause"]
    assert expected.get("quotes", "") in cause.text or cause.number


def test_every_sample_has_a_cause_and_a_source() -> None:
    assert {path.stem for path in OWN.glob("*.log")} == set(EXPECTED)
    assert all(entry["source"] for entry in EXPECTED.values())
    assert len(EXPECTED) >= 30
