"""``--dsr1-plan`` of hostile scenarios, run by a shell that finds no program but stand-ins."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pytest_dsr1.errors import Dsr1Error
from pytest_dsr1.reporting.terminal.plan import PlanOptions, plan
from pytest_dsr1.scenario.loading import load
from pytest_dsr1.scenario.profiles import discover
from pytest_dsr1.text import harmless
from tests.helpers.scenario_files import GOOD

PAYLOADS = (
    "a\nPWNED\nb",
    "a\rPWNED\r",
    "a\x0bPWNED",
    "a\x0cPWNED",
    "a\x1cPWNED",
    "a\x85PWNED",
    "a\u2028PWNED",
    "a\u2029PWNED\u2029",
    "'\nPWNED\n'",
    '"\nPWNED\n"',
    "$(PWNED)",
    "`PWNED`",
    "${X:-$(PWNED)}",
    "${HOME}\nPWNED",
    ";PWNED;",
    "\\\nPWNED",
    "DSR1_OPTIONS\nPWNED\n",
    "\nDSR1_OPTIONS\nPWNED\n",
    "\x1b]0;PWNED\x07\x1b[2J",
    "\u202ePWNED",
    "::error::PWNED",
    "##[error]PWNED",
    "PWNED\n",
)
KEYS = (
    "description",
    "hardware.gpu",
    "model.name",
    "model.path",
    "model.quantization",
    "dataset.path",
    "engine.command",
    "engine.environment.A",
    "engine.llm_api.moe_config.backend",
    "engine.arguments",
    "engine.url",
    "engine.served_model",
)
ENGINES: dict[str, dict[str, Any]] = {
    "trtllm-bench": yaml.safe_load(GOOD)["engine"],
    "trtllm": {"tp": 8},
    "openai": {"server": "vllm", "tp": 8},
    "transformers": {"device": "cpu"},
}
STAND_INS = ("trtllm-bench", "nvidia-smi", "pytest-dsr1", "pytest", "PWNED", "cat")


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Programs that only write their names; no other program can be found."""
    folder = tmp_path_factory.mktemp("bin")
    for name in STAND_INS:
        (folder / name).write_text(f'#!/bin/sh\necho {name} >> "$CALLS"\n', encoding="utf-8")
        (folder / name).chmod(0o755)
    return folder


def scenarios(engine: str, payload: str) -> Iterator[dict[str, Any]]:
    """A scenario for each key, with the payload there."""
    for key in KEYS:
        made = yaml.safe_load(GOOD)
        made["engine"] = {"type": engine, **ENGINES[engine]}
        if engine == "transformers":
            made["hardware"], made["model"] = {}, {"name": "m", "random_weights": {"seed": 0}}
        *folders, last = key.split(".")
        part = made
        for folder in folders:
            part[folder] = dict(part.get(folder, {}))
            part = part[folder]
        part[last] = [payload] if last in {"command", "arguments"} else payload
        yield made


@pytest.mark.parametrize("engine", ENGINES)
def test_no_value_becomes_a_command(engine: str, programs: Path, tmp_path: Path) -> None:
    planned, catalogue = 0, discover([])
    for payload in PAYLOADS:
        for index, scenario in enumerate(scenarios(engine, payload)):
            path = tmp_path / "s.yaml"
            path.write_text(yaml.safe_dump(scenario), encoding="utf-8")
            try:
                lines = list(plan([load(path, catalogue=catalogue)], PlanOptions("check")))
            except Dsr1Error:
                continue  # such a value is refused
            planned += 1
            run_unharmed(lines, programs, tmp_path / f"{planned}-{index}")
    assert planned >= 2 * len(PAYLOADS)


@pytest.mark.parametrize("payload", [each for each in PAYLOADS if "/" not in each])
def test_no_folder_or_option_becomes_a_command(payload: str, programs: Path, tmp_path: Path) -> None:
    folder = tmp_path / payload
    folder.mkdir()
    path = folder / "s.yaml"
    path.write_text(GOOD, encoding="utf-8")
    loaded = load(path, catalogue=discover([]))
    options = PlanOptions("check", overrides=(f"description={payload}",), suites=(str(folder),))
    run_unharmed(list(plan([loaded], options)), programs, tmp_path / "work")


def run_unharmed(lines: list[str], programs: Path, work: Path) -> None:
    """Run the script where it finds only stand-ins; it must call no other, and be harmless to print."""
    script = "\n".join(lines) + "\n"
    for line in script.splitlines():
        assert line.isprintable(), line
        assert harmless(line[:2_000]) == line[:2_000], line
    work.mkdir()
    environment = {"PATH": str(programs), "CALLS": str(work / "calls"), "DSR1_MODELS": "/my models"}
    command = ["/bin/sh", "-c", script]
    done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True, check=False)
    calls = (work / "calls").read_text(encoding="utf-8") if (work / "calls").exists() else ""
    assert "PWNED" not in calls.split(), script
    assert "yntax" not in done.stderr, script
