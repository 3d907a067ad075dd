"""Preflight checks of the host: the paths that the engine is given."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_dsr1.findings import Finding
from pytest_dsr1.machine.preflight import host
from pytest_dsr1.machine.preflight.check import Preflight
from pytest_dsr1.scenario.schema.scenario import Scenario


def found(scenario: Scenario, folder: Path) -> list[Finding]:
    return list(host.files.run(Preflight(scenario, None, {}, folder, 0)))


def test_relative_paths_that_mean_another_folder_are_one_warning(
    machine_scenario: Callable[..., Scenario], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("o.yml", *(f"{number}.yml" for number in range(6))):
        (tmp_path / name).write_text("draft: ./o.yml\n", encoding="utf-8")
    engine = {"type": "openai", "server": "vllm", "environment": {"CFG": "./o.yml"}}
    one = machine_scenario({}, engine={**engine, "arguments": ["--config", "o.yml"]})
    start = f"the engine looks for these relative paths in a folder of its own, but {tmp_path} has them: "
    assert found(one, tmp_path) == [
        Finding(
            "warning",
            "files",
            f"{start}./o.yml in o.yml (draft); ./o.yml in the variable CFG; write absolute paths",
        )
    ]
    many = machine_scenario({}, engine={**engine, "arguments": [f"{number}.yml" for number in range(6)]})
    (warning,) = found(many, tmp_path)
    assert warning.message.endswith("./o.yml in 4.yml (draft) and 2 more; write absolute paths")
    few = machine_scenario({}, engine={**engine, "arguments": [f"{number}.yml" for number in range(4)]})
    (warning,) = found(few, tmp_path)
    assert warning.message.endswith("./o.yml in the variable CFG; write absolute paths")
    assert found(machine_scenario({}), tmp_path) == []
