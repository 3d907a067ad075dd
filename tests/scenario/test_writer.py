"""What is written is read back as the same scenario."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_dsr1.scenario.loading import load, load_all
from pytest_dsr1.scenario.profiles import discover
from pytest_dsr1.scenario.schema.scenario import Scenario
from pytest_dsr1.scenario.writer import dump
from tests.helpers.scenario_files import GOOD, load_text


@pytest.mark.parametrize("path", discover([]).select("*"), ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_shipped_scenario_comes_back(tmp_path: Path, path: Path) -> None:
    for loaded in load_all(path):
        saved = tmp_path / "saved.yaml"
        saved.write_text(dump(loaded.scenario), encoding="utf-8")
        # Only a result's file says which point of a sweep it is.
        again = load(saved, saved=loaded.scenario.point is not None)
        assert again.scenario == loaded.scenario


def test_nothing_is_written_for_a_key_without_value_but_in_a_free_mapping(tmp_path: Path) -> None:
    scenario = Scenario.model_validate(
        {
            "name": "x",
            "description": "",
            "hardware": {},
            "model": {"name": "x", "random_weights": {"config": {"q_lora_rank": None, "a": [1.5, "1e5"]}}},
            "dataset": {"input_tokens": {"mean": 5, "stdev": 1e-07}, "output_tokens": 5},
            "load": {"concurrency": 1, "num_requests": 1},
            "engine": {"type": "transformers"},
            "targets": [{"metric": "total_latency", "value": 1e16}],
        }
    )
    text = dump(scenario)
    assert text.count("null") == 1
    assert load_text(tmp_path, text).scenario == scenario


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    note=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0$"))
    | st.from_regex(r"[-+]?[0-9.eE_:]+", fullmatch=True),
    value=st.floats(min_value=1e-300, max_value=1e300),
    mean=st.integers(1, 10**25),
)
def test_any_text_and_number_comes_back(tmp_path: Path, note: str, value: float, mean: int) -> None:
    good = load_text(tmp_path, GOOD).scenario
    target = good.targets[0].model_copy(update={"note": note, "value": value})
    dataset = good.dataset.model_copy(update={"output_tokens": mean})
    scenario = good.model_copy(update={"targets": [target], "dataset": dataset})
    assert load_text(tmp_path, dump(scenario)).scenario == scenario
