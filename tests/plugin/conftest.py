"""A folder with scenarios of its own and an engine that answers at once."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy  # noqa: F401, ICN001 - cannot be imported once more by each run in this process
import pytest
import scipy.special  # noqa: F401 - likewise
import vl_convert  # noqa: F401 - likewise

from tests.helpers.paths import ROOT

SCENARIO = """\
name: {name}
description: A scenario of the tests
hardware: {{}}
model:
  name: deepseek-ai/DeepSeek-R1
  random_weights: {{}}
dataset:
  input_tokens: 8
  output_tokens: 4
  vocab_size: 100
load:
  concurrency: 2
  num_requests: 8
engine:
  type: transformers
targets:
  - metric: total_output_throughput
    value: {target}
  - metric: average_ttft
    value: 200
"""

CONFTEST = """\
import pytest
from tests.standins.scripted_engine import ScriptedEngine

@pytest.fixture(scope="session")
def dsr1_engine(dsr1_scenario):
    return ScriptedEngine()
"""


@pytest.fixture(autouse=True)
def at_a_desk(monkeypatch: pytest.MonkeyPatch) -> None:
    """In CI pytest writes longer summaries, on GitHub this plugin tells GitHub, and a narrow screen cuts."""
    github = ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY", "GITHUB_WORKSPACE")
    for name in ("CI", "BUILD_NUMBER", *github):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "80")


class Suites:
    """Own scenarios in ``suites`` below a pytester folder; they run at 16 tok/s with a TTFT of 125 ms."""

    def __init__(self, pytester: pytest.Pytester) -> None:
        self.pytester = pytester
        self.folder = pytester.mkdir("own")
        pytester.makeconftest(CONFTEST)
        pytester.makeini("[pytest]\ndsr1_suites = own\naddopts = -p no:cacheprovider\n")

    def write(self, name: str, *, target: float = 16.0, extra: str = "") -> Path:
        path = self.folder / f"{name}.yaml"
        path.write_text(SCENARIO.format(name=name, target=target) + extra, encoding="utf-8")
        return path

    def run(self, *arguments: str) -> pytest.RunResult:
        with warnings.catch_warnings():
            warnings.simplefilter("default")  # this project's own runs make errors of warnings
            return self.pytester.runpytest_inprocess(*arguments)

    def run_apart(self, *arguments: str) -> pytest.RunResult:
        """In a process of its own."""
        return self.pytester.runpytest_subprocess(*arguments)

    @property
    def engine_runs(self) -> list[str]:
        path = self.pytester.path / "engine-runs.txt"
        return path.read_text(encoding="utf-8").split() if path.exists() else []


@pytest.fixture
def suites(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Suites:
    """Two profiles, ``alpha`` and ``beta``."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(pytester.path / "cache"))
    monkeypatch.setenv("DSR1_STATE_DIR", str(pytester.path / "state"))
    monkeypatch.delenv("SCRIPTED_FAIL", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    own = Suites(pytester)
    own.write("alpha")
    own.write("beta")
    return own
