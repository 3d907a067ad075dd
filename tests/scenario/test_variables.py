"""``${VARIABLE}``: kept on loading, expanded for a run, and missed by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_dsr1.errors import UserError
from pytest_dsr1.scenario.schema import json_schema
from pytest_dsr1.scenario.variables import resolve, unset_variables
from tests.helpers.scenario_files import GOOD, changed, load_text


def test_variables_are_kept_on_loading_and_expanded_for_a_run(tmp_path: Path) -> None:
    scenario = load_text(tmp_path, GOOD).scenario
    assert scenario.model.path == "${DSR1_MODELS}/DeepSeek-R1"
    resolved = resolve(scenario, {"DSR1_MODELS": "/data"})
    assert resolved.model.path == "/data/DeepSeek-R1"
    assert resolved.model_copy(update={"model": scenario.model}) == scenario


def test_a_value_is_not_expanded_twice(tmp_path: Path) -> None:
    scenario = load_text(tmp_path, GOOD).scenario
    assert resolve(scenario, {"DSR1_MODELS": "${HOME}"}).model.path == "${HOME}/DeepSeek-R1"


def test_every_unset_variable_is_named_with_what_to_do(tmp_path: Path) -> None:
    text = changed(
        ("${DSR1_MODELS}/DeepSeek-R1", "${ROOT}/${DSR1_MODELS}"),
        ("dataset:\n", "dataset:\n  path: ${DSR1_DATASET}\n"),
    )
    scenario = load_text(tmp_path, text).scenario
    assert unset_variables(scenario, {"ROOT": "/"}) == ("DSR1_MODELS", "DSR1_DATASET")
    assert unset_variables(scenario, {"ROOT": "/", "DSR1_MODELS": "m", "DSR1_DATASET": "d"}) == ()
    with pytest.raises(UserError) as caught:
        resolve(scenario, {"ROOT": "", "DSR1_MODELS": "m"})
    assert str(caught.value) == (
        "scenario mine: the variables ROOT, DSR1_DATASET are not set\n"
        "  model.path: ${ROOT}/${DSR1_MODELS} needs ROOT\n"
        "  dataset.path: ${DSR1_DATASET} needs DSR1_DATASET\n"
        "Set with:\n"
        "  export ROOT=/path/to/folder\n"
        "  export DSR1_DATASET=/path/to/dataset.jsonl"
    )
    with pytest.raises(UserError, match=r"^scenario mine: the variable ROOT is not set\n"):
        resolve(scenario, {"DSR1_DATASET": "d", "DSR1_MODELS": "m"})


def test_a_scenario_without_paths_needs_nothing(tmp_path: Path) -> None:
    scenario = load_text(tmp_path, changed(("${DSR1_MODELS}/DeepSeek-R1", "models/R1"))).scenario
    assert resolve(scenario, {}) == scenario


def test_variables_expand_in_paths_and_a_host() -> None:
    assert json_schema.expanded_paths() == (
        ("model", "path"),
        ("dataset", "path"),
        ("load", "arrival", "path"),
        ("engine", "url"),
        ("engine", "ca_file"),
    )
