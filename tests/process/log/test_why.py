"""Logs that were written by somebody who has not seen the table of families."""

from __future__ import annotations

import re
import signal
from pathlib import Path
from typing import Any

import pytest
import yaml

from pytest_dsr1.process.log.reader import LogReader
from pytest_dsr1.process.log.why import explained
from tests.helpers.paths import DATA

BLIND = DATA / "logs" / "blind"
EXPECTED: dict[str, dict[str, dict[str, Any]]] = yaml.safe_load((BLIND / "expected.yaml").read_text())


def read(path: Path) -> LogReader:
    """The reader of a sample; a carriage return ends a line, as in `LineSplitter`."""
    return LogReader(line for line in re.split("[\r\n]", path.read_bytes().decode()) if line)


@pytest.mark.parametrize("name", EXPECTED["failed"])
def test_the_explanation_names_the_cause(name: str) -> None:
    expected = EXPECTED["failed"][name]
    code = -signal.Signals[expected["signal"]] if "signal" in expected else expected["exit_status"]
    log = read(BLIND / "failed" / name)
    reason = explained(log, code, {}, "program")
    assert reason is not None
    assert [word for word in expected["must_contain"] if word not in reason.lower()] == [], reason
    assert [word for word in expected["must_not_contain"] if word in reason.lower()] == [], reason


def test_there_are_enough_samples_by_others() -> None:
    assert (len(EXPECTED["failed"]), len(EXPECTED["harmless"])) == (15, 20)


@pytest.mark.parametrize("name", EXPECTED["harmless"])
def test_a_harmless_log_has_no_cause(name: str) -> None:
    cause = read(BLIND / "harmless" / name).cause
    assert cause is None, cause


SENTENCES: list[dict[str, Any]] = yaml.safe_load((DATA / "logs" / "sentences.yaml").read_text())


@pytest.mark.parametrize("sample", SENTENCES, ids=lambda sample: sample["name"])
def test_the_whole_sentence_about_an_end(sample: dict[str, Any]) -> None:
    log = LogReader(line for line in sample["log"].splitlines() if line)
    assert explained(log, sample["status"], {}, "program") == sample["says"]
