"""The answers of one measurement: by test, scored, and as a recorded run keeps them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from pytest_dsr1.gate.accuracy.same_answers import Text
from pytest_dsr1.gate.recordings import RecordedAnswers
from pytest_dsr1.machine.values import FactValue
from pytest_dsr1.measurement.measurement import Measurement
from pytest_dsr1.records import AskedQuestion
from pytest_dsr1.scenario.schema.accuracy import SAME_ANSWERS, SameAnswers, Task
from pytest_dsr1.scenario.schema.scenario import Scenario
from pytest_dsr1.text import VARIABLE
from pytest_dsr1.verdict.accuracy import (
    MOST_UNANSWERED,
    AccuracyVerdict,
    Marks,
    Wrong,
    accuracy_subject,
    unanswered,
)
from pytest_dsr1.verdict.verdict import Status
from pytest_dsr1.workload.scoring import answer_in, is_right


def asked_in(measurement: Measurement, name: str) -> tuple[AskedQuestion, ...]:
    """Return the questions of one test, in order."""
    return tuple(each for each in measurement.asked if each.test == name)


def task_of(scenario: Scenario, name: str) -> Task | None:
    """Return the task of a test; None for ``same_answers``, and if the scenario has no such task."""
    tasks = scenario.accuracy.tasks if scenario.accuracy else ()
    return next((task for task in tasks if task.test_name == name and name != SAME_ANSWERS), None)


def as_asked(ran: Scenario, today: Scenario) -> Scenario:
    """Return the scenario of a saved run, with the shares that its tasks require today.

    Everything else of its answers is as it was when they were given.
    """
    if ran.accuracy is None:
        return ran
    required = {name: task_of(today, name) for name in ran.accuracy.test_names}
    tasks = [
        task
        if (now := required[task.test_name]) is None
        else task.model_copy(update={"at_least": now.at_least})
        for task in ran.accuracy.tasks
    ]
    return ran.model_copy(update={"accuracy": ran.accuracy.model_copy(update={"tasks": tasks})})


def asked_otherwise(ran: Scenario, today: Scenario, name: str) -> list[str]:
    """Return what a test asks otherwise today than in a saved run, such as ``limit: 40 when it ran, 5 now``.

    A path with a variable is not compared: it was expanded in the saved run.
    """
    then, now = _settings(ran, name), _settings(today, name)
    return [
        f"{key}: {_set(then[key])} when it ran, {_set(value)} now"
        for key, value in now.items()
        if key in then and then[key] != value and not VARIABLE.search(str(value))
    ]


def _settings(scenario: Scenario, name: str) -> dict[str, Any]:
    """Return what decides the questions of a test; empty if the scenario has no such test."""
    part: SameAnswers | Task | None = task_of(scenario, name)
    if name == SAME_ANSWERS and scenario.accuracy is not None:
        part = scenario.accuracy.same_answers
    return {} if part is None else part.model_dump(exclude={"name", "at_least"})


def _set(value: object) -> str:
    return "not set" if value is None else str(value)


def marks(asked: Sequence[AskedQuestion]) -> Marks:
    """Return the marks of answers; without an expected answer none is wrong."""
    errors = [f"{each.answer.id}: {why}" for each in asked if (why := _why_none(each)) is not None]
    wrong = (_wrong(each) for each in asked if _why_none(each) is None)
    return Marks(
        asked=len(asked),
        wrong=tuple(each for each in wrong if each is not None),
        unanswered=len(errors),
        first_error=errors[0] if errors else "",
        cut=sum(each.answer.cut for each in asked if _why_none(each) is None),
    )


def _why_none(asked: AskedQuestion) -> str | None:
    """Return why there is no answer; None if there is one."""
    answer = asked.answer
    if answer.error is not None:
        return answer.error
    if answer.text is None and (asked.expected is not None or answer.tokens is None):
        return "the engine returned no text"
    return None


def _wrong(asked: AskedQuestion) -> Wrong | None:
    """Return a wrong answer; None if it is right. One that was cut off is wrong, whatever it says."""
    expected, text, cut = asked.expected, asked.answer.text, asked.answer.cut
    if expected is None or text is None or (not cut and is_right(text, expected)):
        return None
    found = "cut off" if cut else answer_in(text, expected)
    return Wrong(asked.answer.id, asked.prompt or "", expected, found)


def texts(asked: Sequence[AskedQuestion]) -> tuple[Text, ...]:
    """Return answers of one kind: token ids if all have them, else text."""
    answers = [each.answer for each in asked]
    ids = tuple(each.tokens for each in answers if each.tokens is not None)
    return ids if len(ids) == len(answers) else tuple(each.text or "" for each in answers)


def basis(measurement: Measurement, name: str) -> dict[str, FactValue]:
    """Return what was asked in a test, and which model answered: these must be equal to compare answers."""
    scenario, facts = measurement.scenario, measurement.fingerprint.facts
    asked = asked_in(measurement, name)
    found: dict[str, FactValue] = {
        "model.content": facts.get("model.content"),
        "chat_template": scenario.engine.uses_chat_template,
        "questions": len(asked),
    }
    if name == SAME_ANSWERS:
        same = scenario.accuracy.same_answers if scenario.accuracy else None
        return {
            **found,
            "dataset.content": facts.get("dataset.content"),
            "output_tokens": same.output_tokens if same else None,
        }
    task, content = task_of(scenario, name), json.dumps([[each.prompt, each.expected] for each in asked])
    return {
        **found,
        "questions.content": sha256(content.encode()).hexdigest(),
        "max_output_tokens": task.max_output_tokens if task else None,
    }


def problem(measurement: Measurement, name: str) -> AccuracyVerdict | None:
    """Return INVALID if the answers of a test cannot be judged, else None."""
    asked = asked_in(measurement, name)
    if not asked:
        return AccuracyVerdict(
            Status.INVALID,
            accuracy_subject(name),
            f"{name}: this result has no answers, because its scenario did not ask for them when it ran; run "
            "it again",
        )
    return unanswered(name, marks(asked), 0 if name == SAME_ANSWERS else MOST_UNANSWERED)


def recorded(measurement: Measurement) -> dict[str, RecordedAnswers]:
    """Return the answers of a run as its recording keeps them; tests without enough answers are left out."""
    found = {}
    for name in dict.fromkeys(each.test for each in measurement.asked):
        if problem(measurement, name) is None:
            asked = asked_in(measurement, name)
            if name == SAME_ANSWERS:
                found[name] = RecordedAnswers(basis(measurement, name), texts(asked))
            else:
                given = marks(asked)
                found[name] = RecordedAnswers(
                    basis(measurement, name), right=given.right, answered=given.answered
                )
    return found
