"""The status of a scenario, of its performance, and of its answers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pytest_dsr1.case.answers import about_answers, faults
from pytest_dsr1.case.case import case_of
from pytest_dsr1.case.judgment import judgment_of
from pytest_dsr1.errors import InvalidRunError
from pytest_dsr1.scenario.loading import LoadedScenario
from pytest_dsr1.scenario.writer import dump
from pytest_dsr1.session.state import ScenarioOutcome
from pytest_dsr1.verdict.accuracy import AccuracyVerdict
from pytest_dsr1.verdict.verdict import Status
from tests.helpers.reference_store import NOW
from tests.helpers.scenario_files import load_text
from tests.helpers.values import answers, case, measurement, scenario, verdict

LOOK = (
    "Read `answers.jsonl`, then look at what changes numbers: kernels, quantization, the KV cache's format, "
    "the chat template."
)
ACCURACY = """accuracy:
  same_answers: {prompts: 4}
  tasks:
    - at_least: 0.95
targets:"""


@pytest.fixture
def loaded(tmp_path: Path) -> LoadedScenario:
    served = scenario(model={"name": "m"}, engine={"type": "openai", "url": "http://127.0.0.1:8000"})
    return load_text(tmp_path, dump(served).replace("targets:", ACCURACY))


def outcome(loaded: LoadedScenario, *given: AccuracyVerdict, target: float = 8.0) -> ScenarioOutcome:
    done = ScenarioOutcome(loaded, "own/small.yaml", measurement=measurement())
    done.verdicts, done.accuracy = [verdict(target)], list(given)
    return done


@pytest.mark.parametrize(
    ("given", "target", "status", "performance"),
    [
        ([Status.PASS], 8.0, Status.PASS, Status.PASS),
        ([Status.FAIL], 8.0, Status.FAIL, Status.PASS),
        ([Status.PASS, Status.FAIL], 10.0, Status.FAIL, Status.FAIL),
        ([Status.INVALID], 8.0, Status.INVALID, Status.PASS),
        ([Status.NO_REFERENCE], 8.0, Status.NO_REFERENCE, Status.PASS),
        ([Status.NO_REFERENCE], 10.0, Status.FAIL, Status.FAIL),
        ([Status.MEASURED], 8.0, Status.PASS, Status.PASS),
    ],
)
def test_answers_count_for_the_scenario_and_not_for_its_performance(
    loaded: LoadedScenario, given: list[Status], target: float, status: Status, performance: Status
) -> None:
    found = judgment_of(outcome(loaded, *map(answers, given), target=target))
    assert (found.status, found.performance) == (status, performance)


@pytest.mark.parametrize(
    ("test", "why", "target", "status", "performance"),
    [
        ("accuracy[questions]", Status.INCONCLUSIVE, 8.0, Status.INCONCLUSIVE, Status.PASS),
        ("accuracy[questions]", Status.INVALID, 10.0, Status.FAIL, Status.FAIL),
        ("accuracy[questions]", None, 8.0, Status.PASS, Status.PASS),
        ("target[average_ttft]", Status.INCONCLUSIVE, 8.0, Status.INCONCLUSIVE, Status.INCONCLUSIVE),
    ],
)
def test_a_test_of_answers_that_was_not_judged_does_not_count_for_the_performance(
    loaded: LoadedScenario,
    test: str,
    why: Status | None,
    target: float,
    status: Status,
    performance: Status,
) -> None:
    one = outcome(loaded, target=target)
    one.unjudged[test] = why, "skipped"
    found = judgment_of(one)
    assert (found.status, found.performance) == (status, performance)


def test_an_invalid_run_has_no_answers_to_judge(loaded: LoadedScenario) -> None:
    failed = outcome(loaded)
    failed.error = InvalidRunError("GPU 5 is hot")
    assert judgment_of(failed).performance is Status.INVALID


def test_each_test_of_answers_has_its_line(loaded: LoadedScenario) -> None:
    lines = judgment_of(outcome(loaded)).lines
    text = loaded.path.read_text("utf-8").splitlines()
    numbers = {name: int(where.rpartition(":")[2]) for name, where in lines.items() if "accuracy" in name}
    assert {name: text[number - 1].strip() for name, number in numbers.items()} == {
        "accuracy[same_answers]": "same_answers: {prompts: 4}",
        "accuracy[questions]": "- at_least: 0.95",
    }


@pytest.mark.parametrize("status", [Status.FAIL, Status.INVALID, Status.NO_REFERENCE])
def test_wrong_answers_alone_have_no_cause_clues_or_changes(
    loaded: LoadedScenario, tmp_path: Path, status: Status
) -> None:
    one = case_of(outcome(loaded, answers(status)), tmp_path, NOW, with_clues=False)
    assert one.judgment.status is status
    assert (one.cause, one.run.clues, one.run.locations, one.background.since) == (None, (), (), None)
    assert one.headline == head(answers(status))


def test_a_missed_target_keeps_its_cause(loaded: LoadedScenario, tmp_path: Path) -> None:
    without = case_of(outcome(loaded, target=10.0), tmp_path, NOW)
    one = case_of(outcome(loaded, answers(), target=10.0), tmp_path, NOW)
    assert one.cause == without.cause is not None
    missed, _, rest = without.headline.partition("; ")
    assert one.headline == f"{missed}; 1 more missed; {rest}"


def head(given: AccuracyVerdict) -> str:
    return given.message.splitlines()[0]


def test_what_was_met_is_counted_with_the_answers(loaded: LoadedScenario, tmp_path: Path) -> None:
    one = case_of(outcome(loaded, answers(Status.PASS)), tmp_path, NOW)
    assert one.headline.endswith("; 1 more met")


def test_wrong_answers_are_a_fault_of_their_own() -> None:
    one = case(status=Status.FAIL, accuracy=(answers(), answers(Status.PASS, "same_answers")))
    (fault,) = faults(one)
    assert (fault.status, fault.subject, fault.label, fault.where) == (
        Status.FAIL,
        "accuracy[questions]",
        "accuracy",
        "own/small.yaml:18",
    )
    assert fault.message == answers().message
    assert fault.answers == about_answers(answers())


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (
            answers(),
            "No: if the share were as high as required, fewer than 1 of 100 runs would have as few "
            "right answers. " + LOOK,
        ),
        (
            answers(name="same_answers"),
            "They differ from the references': fewer than 1 of 100 starts do as much, if starts vary "
            "as those of "
            "the references did. " + LOOK,
        ),
        (
            answers(Status.INVALID),
            "Unknown: answers are missing. Do what the message says, then run it again.",
        ),
        (
            answers(Status.NO_REFERENCE),
            "Unknown: there are no answers to compare with. Record and accept references. The "
            "message has the "
            "commands.",
        ),
    ],
)
def test_what_is_said_about_answers(given: AccuracyVerdict, expected: str) -> None:
    assert about_answers(given) == expected


def test_the_status_of_a_judgment_without_answers_is_that_of_its_performance() -> None:
    judgment: Any = case(status=Status.INCONCLUSIVE).judgment
    assert judgment.performance is Status.INCONCLUSIVE
    assert replace(judgment, accuracy=(answers(),)).performance is Status.PASS
