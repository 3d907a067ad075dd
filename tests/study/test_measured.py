"""Whether two scenarios measure the same, and which keys differ."""

from __future__ import annotations

from dataclasses import replace

from pytest_dsr1.study.measured import MEASURED, differences, is_of, same
from tests.helpers import values

OLD = values.scenario(load={"concurrency": 2, "num_requests": 8})
NEW = values.scenario(load={"concurrency": 4, "num_requests": 8})


def test_only_what_is_measured_counts() -> None:
    assert same(OLD, OLD.model_copy(update={"targets": [], "name": "other"}))
    assert not same(OLD, NEW)
    assert same(OLD, NEW, MEASURED - {"load"})


def test_the_keys_that_differ_with_both_values() -> None:
    assert differences(OLD, NEW, ("load", "engine")) == {"load.concurrency": (2, 4)}
    assert differences(OLD, NEW, ("engine",)) == {}
    timed = values.scenario(load={"concurrency": 2, "num_requests": 8, "duration_s": 9.0})
    assert differences(OLD, timed, ("load",)) == {"load.duration_s": (None, 9.0)}
    assert differences(timed, OLD, ("load",)) == {"load.duration_s": (9.0, None)}


def test_a_saved_run_is_of_the_scenario_that_made_it() -> None:
    saved = replace(values.measurement(), scenario=OLD)
    assert is_of(saved, OLD.model_copy(update={"targets": []}))
    assert not is_of(saved, NEW)
    assert is_of(saved, NEW, {"engine"})
