"""Is it real, where is it, what do I do: the answers, from what is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from pytest_dsr1.case.answers import is_it_real, what_is_the_cause, what_to_do, where_is_it
from pytest_dsr1.case.case import case_of
from pytest_dsr1.case.cause.cause import Cause
from pytest_dsr1.diagnosis.diagnosis import FoundClue
from pytest_dsr1.gate.comparability import short
from pytest_dsr1.verdict.verdict import Status
from tests.helpers.saved_runs import BEGAN, Made, judged, references, save, steady
from tests.helpers.values import case, gate, missed

FAILED = gate(Status.FAIL)
NO_CLUE = "Look at the log of the run"
CLUE = "Look at the clues that the run shows (`pytest-dsr1 docs why-low`)"


def test_the_warnings_of_a_gate_are_part_of_how_sure_it_is() -> None:
    warned = replace(FAILED, warnings=("small: all references are from one day",))
    assert is_it_real(case(status=Status.FAIL, gate=FAILED), Status.FAIL).endswith(
        "in fewer than 1 of 100 cases."
    )
    assert is_it_real(case(status=Status.FAIL, gate=warned), Status.FAIL).endswith(
        "in fewer than 1 of 100 cases. The gate warned: all references are from one day."
    )


def test_the_place_in_the_run_comes_before_the_one_in_the_scenario() -> None:
    lines = ["own/small.yaml:16", "own/small.yaml:16", "own/small.yaml:20"]
    assert where_is_it(missed().run.locations, lines) == "own/small.yaml:16, own/small.yaml:20"
    hot = missed(locations=("GPU 5 from 01:55 to 03:10 (heat)",))
    assert where_is_it(hot.run.locations, lines[:1]) == "GPU 5 from 01:55 to 03:10 (heat); own/small.yaml:16"


def test_what_is_known_of_the_reasons_is_part_of_the_answer() -> None:
    assert what_to_do(missed(clues=()), Status.FAIL) == f"{NO_CLUE}."
    clue = FoundClue("power-cap", "GPU 0 is at its power cap")
    assert what_to_do(missed(clues=(clue,)), Status.FAIL) == f"{CLUE}."


def test_what_changed_since_the_references() -> None:
    lost = case(status=Status.FAIL, gate=FAILED, clues=())
    assert what_to_do(lost, Status.FAIL) == (
        f"Look at what changed since the references: driver: 1 -> 2. {NO_CLUE}."
    )
    unchanged = case(status=Status.FAIL, gate=replace(FAILED, changed=()), clues=())
    assert what_to_do(unchanged, Status.FAIL) == (
        "All recorded software versions and options are the same as in the references; what is not recorded "
        "may differ, such as edited code or a warm room. "
        f"{NO_CLUE}."
    )


def test_the_next_step_of_the_cause_is_what_to_do() -> None:
    """Whatever changed: if a cause is named, only its next step leads on."""
    slow = Cause("machine", ("memory bandwidth -6.0% against the references",), "mend the machine")
    for bad in (missed(cause=slow), case(status=Status.FAIL, gate=FAILED, cause=slow)):
        assert what_to_do(bad, Status.FAIL) == "Mend the machine."
        assert what_is_the_cause(bad) == "The machine: memory bandwidth -6.0% against the references."
    assert what_to_do(case(cause=slow), Status.INVALID) == "Mend the machine."
    assert what_to_do(case(cause=slow), Status.INCONCLUSIVE).startswith("Use a larger")
    assert what_to_do(missed(gate=gate(Status.PASS), cause=slow), Status.FAIL).startswith("The change under")
    unknown = Cause("unknown", ("the machine was not probed",), "compare the machine with a good run")
    assert what_to_do(missed(cause=unknown), Status.FAIL) == "Compare the machine with a good run."
    lost = case(status=Status.FAIL, gate=FAILED, cause=unknown)
    assert what_to_do(lost, Status.FAIL) == (
        "Look at what changed since the references: driver: 1 -> 2. Compare the machine with a good run."
    )
    assert what_to_do(case(cause=unknown), Status.INVALID).startswith("Do what the message says")


def test_references_that_are_not_comparable_are_named_with_why(tmp_path: Path) -> None:
    good, store = Made(waves=6, concurrency=16), tmp_path / "store"
    before = save(tmp_path / "results", good)
    references(store, before.scenario, before.fingerprint, [steady(before)] * 3)
    for facts, why in (
        (
            (("gpu.vboost", "4"), ("driver", "580.95")),
            "gpu.vboost: none in the references, 4 here. Also changed: driver: 575.57.08 -> 580.95",
        ),
        ((("gpu.uuids", "other"),), f"none of them was recorded on node {short('cpu')}"),
    ):
        made = replace(good, speed=0.5, day=2, facts=facts)
        run = save(tmp_path / "results", made)
        lost = case_of(judged(run, made, store), store, BEGAN)
        told = what_to_do(lost, Status.FAIL)
        assert told.startswith(f"The references are not comparable with this run: {why}. ")
        assert lost.background.noise["total_output_throughput"].presumed is (facts[0][0] != "gpu.uuids")


def test_a_target_that_the_references_miss_as_well() -> None:
    both = missed(gate=gate(Status.PASS))
    assert what_to_do(both, Status.FAIL).startswith(
        "The change under test is not the cause: the gate ruled out a loss of 2% compared with the "
        "references, so the reference runs miss this target too. Compare"
    )
