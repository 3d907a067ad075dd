"""A folder of scenarios with an engine that answers at once, and pytest runs in it."""

from __future__ import annotations

import importlib
import re
import warnings
from importlib.util import find_spec
from pathlib import Path

import pytest

# Pytester forgets the modules that a run in this process imported, and these cannot be imported twice, or are
# slower then.
for _once in ("jinja2", "numpy", "scipy.special", "vl_convert", "yaml", "tests.standins.scripted_engine"):
    if find_spec(_once):
        importlib.import_module(_once)

SMALL = """\
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
"""
"""A scenario without targets."""
SCENARIO = (
    SMALL
    + """\
targets:
  - metric: total_output_throughput
    value: {target}
  - metric: average_ttft
    value: 200
"""
)


CONFTEST = """\
import pytest
from tests.standins.scripted_engine import ScriptedEngine

@pytest.fixture(scope="session")
def dsr1_engine(dsr1_scenario):
    return ScriptedEngine()
"""


class Suites:
    """Scenarios in ``suites`` below a pytester folder; they run at 16 tok/s with a TTFT of 125 ms."""

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
        """Run pytest in its own process."""
        return self.pytester.runpytest_subprocess(*arguments)

    @property
    def engine_runs(self) -> list[str]:
        path = self.pytester.path / "engine-runs.txt"
        return path.read_text(encoding="utf-8").split() if path.exists() else []


def overview(result: pytest.RunResult) -> list[str]:
    """Return the lines of the PERFORMANCE OVERVIEW, without that of tests above and below."""
    lines = [line.rstrip() for line in result.outlines]
    first = next(number for number, line in enumerate(lines) if "PERFORMANCE OVERVIEW" in line)
    last = next(
        number for number, line in enumerate(lines) if number > first and line.startswith(("=", "dsr1: "))
    )
    return lines[first + 1 : last]


def without_places(lines: list[str]) -> list[str]:
    """Return lines without folders of results and lines of files, which a replay names otherwise."""
    text = " ".join(" ".join(lines).split())
    text = re.sub(r"\S*\.yaml\S*", "FILE", text)
    return re.split(r" (?=results |note |FAIL )", re.sub(r"\S*(\.dsr1|moved)\S*", "FOLDER", text))


def articles(page: str) -> list[str]:
    """Return the parts of a page about scenarios, one per line."""
    main = page.partition("<article")[2].rpartition("</article>")[0]
    return without_places(main.splitlines())
