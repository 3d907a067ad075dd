"""Which sides can be compared, and what a start of one is."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_dsr1.pairs.compared import as_new_side, as_start, why_not
from pytest_dsr1.scenario.schema.scenario import Scenario
from tests.helpers import values


def changed(scenario: Scenario, part: str, **more: Any) -> Scenario:
    return scenario.model_copy(update={part: getattr(scenario, part).model_copy(update=more)})


OLD = values.scenario()


@pytest.mark.parametrize(
    ("part", "more", "key"),
    [
        ("hardware", {"gpu": "NVIDIA H200"}, "hardware.gpu (not given and NVIDIA H200)"),
        ("hardware", {"count": 3}, "hardware.count ("),
        ("hardware", {"min_memory_gib": 80.0}, "hardware.min_memory_gib (not given and 80.0)"),
        ("hardware", {"gpu_hour_price": 2.0}, "hardware.gpu_hour_price (not given and 2.0)"),
        ("gpu_setup", {"vboost": 1}, "gpu_setup.vboost (not given and 1)"),
        ("load", {"concurrency": 7}, "load.concurrency ("),
        ("dataset", {"output_tokens": 99}, "dataset.output_tokens ("),
        ("model", {"name": "other/Model"}, "model.name ("),
    ],
)
def test_sides_that_do_other_work(part: str, more: dict[str, Any], key: str) -> None:
    why = why_not(OLD, changed(OLD, part, **more))
    assert why.startswith(f"the old and the new side differ in {key}")
    assert why.count(";") == 1, "one key"


@pytest.mark.parametrize(
    ("part", "more"),
    [
        ("hardware", {"min_driver": "580"}),
        ("model", {"path": "/models/other"}),
        ("model", {"quantization": "NVFP4"}),
        ("engine", {"threads": 7}),
    ],
)
def test_sides_that_can_be_compared(part: str, more: dict[str, Any]) -> None:
    assert why_not(OLD, changed(OLD, part, **more)) == ""


def test_sides_that_are_the_same() -> None:
    judged_otherwise = OLD.model_copy(update={"targets": [], "description": "other"})
    for new in (OLD, judged_otherwise):
        assert why_not(OLD, new).startswith("the old and the new side are the same: ")


def test_the_new_side_is_judged_as_the_old_one() -> None:
    other = changed(OLD, "gate", metric="average_ttft", delta_percent=9.0)
    new = as_new_side(OLD, other)
    assert new.gated_metric == OLD.gated_metric == "total_output_throughput"
    assert new.gate.delta_percent == OLD.gate.delta_percent
    assert other.gated_metric == "average_ttft"


def test_a_start_answers_no_questions() -> None:
    asked = values.scenario(accuracy={"same_answers": {}})
    assert asked.accuracy is not None
    assert as_start(asked) == asked.model_copy(update={"accuracy": None})
