"""Imports for tests: the harvest of a file, and what the engine writes for an imported scenario."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pytest_dsr1.engines.openai.server.command import launch_command
from pytest_dsr1.engines.openai.settings import OpenAi
from pytest_dsr1.engines.trtllm_options.dialects import DIALECTS
from pytest_dsr1.importing.harvest import Harvest
from pytest_dsr1.importing.reading import harvest
from pytest_dsr1.importing.served import Origin
from pytest_dsr1.importing.writing import write_all
from pytest_dsr1.scenario.loading import LoadedScenario, load_all
from pytest_dsr1.scenario.schema.scenario import Scenario
from tests.helpers.paths import ROOT

DATA = ROOT / "tests" / "data"
PERF_SANITY = DATA / "perf_sanity" / "aggregated"
NEWEST = f'engine.dialect="{DIALECTS[-1].name}"'
OPTIONS_OF_COMMAND = {
    "--tp_size": "tensor_parallel_size",
    "--pp_size": "pipeline_parallel_size",
    "--ep_size": "moe_expert_parallel_size",
    "--max_batch_size": "max_batch_size",
    "--max_num_tokens": "max_num_tokens",
    "--max_seq_len": "max_seq_len",
}
"""Options of trtllm-serve's command (TensorRT-LLM, commands/serve.py) by their names in the options file."""


EXCLUDED = {
    *("mode", "concurrency", "name", "model_name", "disagg_run_type", "gpus", "gpus_per_node"),
    *("match_mode", "client_configs", "backend", "extra_llm_api_config_path", "server_env_var"),
    "expected_communication_strategy",
}
"""exclude_keys of ServerConfig (TensorRT-LLM 14a434b9, tests/integration/defs/perf/test_perf_sanity.py): what
perf-sanity does not write into the options file."""


def harvested(path: Path, commit: str | None = None) -> Harvest:
    """Return what an import of a file or folder finds."""
    return harvest(path, lambda file: Origin(file.name, commit))


def harvested_text(folder: Path, text: str, name: str = "own_b200.yaml") -> Harvest:
    """Save the text as a file and return what an import finds in it."""
    (folder / name).write_text(text, encoding="utf-8")
    return harvested(folder / name)


def imported(path: Path, folder: Path) -> dict[str, LoadedScenario]:
    """Return the scenarios that an import of a file writes, by name, with the newest dialect.

    Those of a sweep are its points.
    """
    found = harvested(path)
    assert found.problems == []
    files = write_all(found.cases, folder, force=False)
    loaded = [each for file in files for each in load_all(file, overrides=[NEWEST])]
    return {each.scenario.name: each for each in loaded}


def written_options(loaded: LoadedScenario) -> dict[str, Any]:
    """Return what the server is told, as one options file: its file, and the options of its command."""
    return _told(loaded.scenario)


def written_options_of_roles(loaded: LoadedScenario) -> dict[str, dict[str, Any]]:
    """Return what each server of a disaggregated scenario is told, by its role."""
    roles = OpenAi.of(loaded.scenario).roles
    return {role: _told(loaded.scenario.model_copy(update={"engine": one})) for role, one in roles.items()}


def _told(scenario: Scenario) -> dict[str, Any]:
    command = launch_command(scenario, 8000)
    pairs = zip(command.argv, command.argv[1:], strict=False)
    told = {OPTIONS_OF_COMMAND[word]: int(value) for word, value in pairs if word in OPTIONS_OF_COMMAND}
    assert not told.keys() & command.options.keys()
    return told | dict(command.options)
