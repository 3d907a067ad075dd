"""Accuracy: the share of questions that a run answered rightly, against the least share that is required."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

from pytest_dsr1.scenario.schema.accuracy import SAME_ANSWERS
from pytest_dsr1.verdict.verdict import Status, saved_key, subject_of

CONFIDENCE = 0.99
"""A share is too low only if its one-sided upper bound at this confidence is below what is required."""
MOST_UNANSWERED = 0.01
"""The largest share of a task's questions that may have no answer."""
SHOWN_WRONG = 10
"""The most wrong answers that a verdict keeps; ``answers.jsonl`` has all."""
_TEST = "accuracy"
_HALVINGS = 60
"""Steps of a bisection of [0, 1]: then the interval is as small as a floating-point number allows."""


@dataclass(frozen=True, slots=True)
class Wrong:
    """A wrong answer.

    Attributes:
        id: of the question.
        question: its text; empty if only its token ids are known.
        expected: the right answer.
        found: what was found in the text of the answer.
    """

    id: str
    question: str
    expected: str
    found: str


@dataclass(frozen=True, slots=True)
class AccuracyVerdict:
    """The verdict on one accuracy test of one measurement.

    Attributes:
        status: the verdict; MEASURED if the answers were recorded, and there is nothing to judge.
        subject: the test's name, such as ``accuracy[questions]``.
        message: one sentence for a person.
        measured: the share of right answers, or how far the answers agree with those of the references, from
            0 to 1; None if it is unknown.
        at_least: the share that is required, or the least agreement that passes; None without one.
        bound: the most that the share may be (:data:`CONFIDENCE`); None for ``same_answers``.
        wrong: the first wrong answers of a task, or answers that no reference gave (:data:`SHOWN_WRONG`).
    """

    __pydantic_config__: ClassVar[Any] = {"alias_generator": saved_key}

    status: Status
    subject: str
    message: str
    measured: float | None = None
    at_least: float | None = None
    bound: float | None = None
    wrong: tuple[Wrong, ...] = ()

    @property
    def compares(self) -> bool:
        """Whether its numbers are agreements with the answers of references, not shares of right answers."""
        return self.subject == accuracy_subject(SAME_ANSWERS)

    def shown(self, value: float | None) -> str:
        """Return one of its numbers as text: a share in percent, or an agreement; empty for None."""
        if value is None:
            return ""
        return f"agreement {value:.3f}" if self.compares else percent(value)


def accuracy_subject(name: str) -> str:
    """Return the subject of an accuracy test, as in its id."""
    return subject_of(_TEST, name)


def is_of_answers(subject: str) -> bool:
    """Return whether a test's subject is that of an accuracy test."""
    return subject.startswith(subject_of(_TEST, "").removesuffix("]"))


@dataclass(frozen=True, slots=True)
class Marks:
    """The marks of a task.

    Attributes:
        asked: the number of questions.
        wrong: the wrong answers, in order.
        unanswered: the number of questions without an answer.
        first_error: why the first of these has none; empty if all are answered.
        cut: the number of wrong answers that a limit of tokens ended.
    """

    asked: int
    wrong: tuple[Wrong, ...] = ()
    unanswered: int = 0
    first_error: str = ""
    cut: int = 0

    @property
    def answered(self) -> int:
        """The number of answers."""
        return self.asked - self.unanswered

    @property
    def right(self) -> int:
        """The number of right answers."""
        return self.answered - len(self.wrong)


def at_most(right: int, answered: int, share: float) -> float:
    """Return the probability of at most that many right answers, if each is right with this probability.

    Args:
        right: from 0 to ``answered``.
        answered: the number of answers, at least 1.
        share: above 0 and below 1.
    """
    if right == answered:
        return 1.0
    odds, none = math.log(share) - math.log1p(-share), answered * math.log1p(-share)
    return math.fsum(math.exp(none + k * odds + _log_choose(answered, k)) for k in range(right + 1))


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def upper_bound(right: int, answered: int) -> float:
    """Return the one-sided upper bound of Clopper and Pearson (Biometrika 1934) of a share of right answers.

    It is the share at which so few right answers have the probability 1 - :data:`CONFIDENCE`.

    Args:
        right: from 0 to ``answered``.
        answered: the number of answers, at least 1.
    """
    if right == answered:
        return 1.0
    low, high = right / answered, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if at_most(right, answered, middle) > 1 - CONFIDENCE:
            low = middle
        else:
            high = middle
    return high


def unanswered(name: str, marks: Marks, most: float = MOST_UNANSWERED) -> AccuracyVerdict | None:
    """Return INVALID if too many questions have no answer, else None.

    Args:
        name: of the test.
        marks: of its questions.
        most: the largest share of the questions that may have no answer.
    """
    if not marks.unanswered or (marks.answered and marks.unanswered <= most * marks.asked):
        return None
    allowed = f"at most {most:.0%} may have none" if most else "all must have one"
    return AccuracyVerdict(
        Status.INVALID,
        accuracy_subject(name),
        f"{name}: {marks.unanswered} of {marks.asked} questions have no answer ({allowed}), the first: "
        f"{marks.first_error}",
    )


def pooled(marks: Marks, right: int, answered: int) -> float:
    """Return the share of right answers of a task and of its references together.

    If both are alike, this is the best estimate of their share; the references alone would also err.

    Args:
        marks: of the task; at least one answer.
        right: the right answers of the references.
        answered: the answers of the references.
    """
    return (right + marks.right) / (answered + marks.answered)


def judge_task(name: str, marks: Marks, at_least: float, source: str) -> AccuracyVerdict:
    """Return the verdict on the answers of a task.

    Args:
        name: of the task.
        marks: of its answers.
        at_least: the share that is required, from 0 to 1.
        source: where that comes from, in words.
    """
    invalid = unanswered(name, marks)
    if invalid is not None:
        return invalid
    right, answered = marks.right, marks.answered
    bound = upper_bound(right, answered)
    bad = bound < at_least
    found = f"{name}: {score(marks)}"
    confidence = f"with {CONFIDENCE:.0%} confidence"
    required = f"{percent(at_least)} required ({source})"
    if bad:
        message = f"{found}: {confidence} at most {percent(bound)} are, which is below the {required}"
    else:
        shown = f"this does not show a share below the {required}"
        message = f"{found}; {shown}: {confidence} up to {percent(bound)} are"
    return AccuracyVerdict(
        Status.FAIL if bad else Status.PASS,
        accuracy_subject(name),
        message,
        measured=right / answered,
        at_least=at_least,
        bound=bound,
        wrong=marks.wrong[:SHOWN_WRONG],
    )


def score(marks: Marks) -> str:
    """Return the share of right answers, and what lowers it or their number, in words."""
    right, answered = marks.right, marks.answered
    cut = f", {marks.cut} cut off at the limit of tokens" if marks.cut else ""
    without = f", {marks.unanswered} without an answer" if marks.unanswered else ""
    return f"{right} of {answered} answers are right, {percent(right / answered)}{cut}{without}"


def percent(share: float) -> str:
    """Return a share in percent, with at most two decimals."""
    return f"{share * 100:.2f}".rstrip("0").rstrip(".") + "%"
