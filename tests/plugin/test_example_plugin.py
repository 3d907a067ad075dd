"""A plugin of another team, installed as a package: what a newcomer adds, each in one short file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.paths import ROOT

pytestmark = pytest.mark.needs("hatchling")

PLUGIN = ROOT / "tests" / "example_plugin"
LONGEST = 80
"""Lines of a file that adds one thing."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages with the plugin installed by pip, with its entry points."""
    target = tmp_path_factory.mktemp("site")
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check", "--quiet"]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", str(target), str(PLUGIN)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return target


@pytest.fixture
def installed(site: Path, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site), str(ROOT)]))
    monkeypatch.delenv("DSR1_EXAMPLE_ROOM", raising=False)
    (pytester.path / "echo.yaml").write_bytes((PLUGIN / "echo.yaml").read_bytes())
    return pytester


def test_an_engine_a_metric_and_a_clue_run_a_scenario(installed: pytest.Pytester) -> None:
    result = installed.runpytest_subprocess("echo.yaml")
    assert result.ret == 1
    result.assert_outcomes(passed=2, failed=1)
    result.stdout.fnmatch_lines(
        [
            "echo  (CPU, engine echo)",
            "  PASS    tokens per request *12 tokens*",
            "  FAIL    average request latency *ms*",
            "*an echo takes * ms, expected less than 10 ms: lower engine.delay_s*",
        ]
    )
    assert "the page of dsr1-example" in " ".join(result.outlines)


def test_a_check_makes_the_run_invalid(installed: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DSR1_EXAMPLE_ROOM", "closed")
    result = installed.runpytest_subprocess("echo.yaml")
    assert result.ret == 10
    result.stdout.fnmatch_lines(["*  machine room: expected open, found closed: set DSR1_EXAMPLE_ROOM=open"])


def test_fields_of_the_engine_are_scenario_fields(installed: pytest.Pytester) -> None:
    result = installed.runpytest_subprocess("echo.yaml", "--dsr1-set", "engine.delay_s=0")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(["*engine.delay_s: expected a number above 0, found the number 0"])
    result = installed.runpytest_subprocess("echo.yaml", "--dsr1-set", "engine.delay_s=0.001")
    assert result.ret == 0
    result = installed.runpytest_subprocess("echo.yaml", "--dsr1-set", "load.concurrency=5")
    result.stdout.fnmatch_lines(["*engine.slots_per_echo: less than load.concurrency (5)*"])


def test_the_command_sees_the_plugin_too(installed: pytest.Pytester) -> None:
    installed.runpytest_subprocess("echo.yaml")
    (folder,) = (installed.path / ".dsr1" / "echo").iterdir()
    program = "import sys; from pytest_dsr1.cli.main import main; sys.exit(main(sys.argv[1:]))"
    result = installed.run(sys.executable, "-c", program, "compare", str(folder), str(folder))
    assert result.ret == 0
    result.stdout.fnmatch_lines(["tokens per request*"])


def test_each_thing_is_one_short_file() -> None:
    lines = {path.name: len(path.read_text().splitlines()) for path in (PLUGIN / "dsr1_example").glob("*.py")}
    assert set(lines) == {"__init__.py", "engine.py", "metric.py", "check.py", "clue.py"}
    assert max(lines.values()) <= LONGEST
