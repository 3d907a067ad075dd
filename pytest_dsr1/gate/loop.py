"""The loop of runs: one run after another, until they answer a question.

A :class:`Question` defines what the runs are for, and judges them; a gate is one.
"""

from __future__ import annotations

from collections.abc import Callable
from textwrap import indent
from typing import Protocol

from pytest_dsr1.errors import InvalidRunError
from pytest_dsr1.measurement.measurement import Measurement
from pytest_dsr1.verdict.verdict import Verdict

LIMIT = 3
"""The loop gives up after this many runs in a row that do not count (INVALID, or warm-up)."""

Take = Callable[[], Measurement]
"""Makes one run and returns it; raises what the run raises."""

WhyNot = Callable[[Measurement], str]
"""Returns why a run does not count; an empty text if it does."""


class Question(Protocol):
    """A question that runs answer."""

    @property
    def name(self) -> str:
        """The name of its subject, for messages."""

    @property
    def again(self) -> str:
        """The command that asks the question again."""

    def leave_out(self, measurement: Measurement | None, why: str) -> str:
        """Note a run that does not count; return a sentence about it. A failed run has no measurement."""

    def count(self, measurement: Measurement) -> None:
        """Take in a run that counts; raise an error to end the loop."""

    def decided(self) -> Verdict | None:
        """Return the answer, or None if one more run is needed; raise an error to end the loop."""

    def sentence(self) -> str:
        """Return one sentence about the runs so far."""


def next_that_counts(
    take: Take, why_not: WhyNot, note: Callable[[Measurement | None, str], None], again: str
) -> Measurement:
    """Run until a run counts, and return it.

    Args:
        take: makes a run.
        why_not: returns why a run does not count.
        note: is called with each run that does not count, and the reason.
        again: the command to run after the cause is removed.

    Raises:
        InvalidRunError: too many runs in a row do not count; the message gives the reason for each.
    """
    unused: list[str] = []
    while len(unused) < LIMIT:
        measurement: Measurement | None = None
        try:
            measurement = take()
        except InvalidRunError as error:
            why = str(error)
        else:
            why = why_not(measurement)
        if measurement is not None and not why:
            return measurement
        unused.append(why)
        note(measurement, why)
    listed = "\n".join(f"  {count}. {indent(why, ' ' * 5).lstrip()}" for count, why in enumerate(unused, 1))
    raise InvalidRunError(
        f"{LIMIT} engine starts in a row do not count:\n{listed}\nremove the cause, then run `{again}`"
    )


def decide(
    question: Question, take: Take, why_not: WhyNot, show: Callable[[str], None], save: Callable[[], None]
) -> Verdict:
    """Run until the answer is certain.

    Args:
        question: takes in every run; has none yet.
        take: makes a run.
        why_not: returns why a run does not count.
        show: shows a sentence to the user at once.
        save: saves the present state of the question.

    Raises:
        InvalidRunError: too many runs in a row do not count.
        Dsr1Error: the question raised it.
    """

    def note(measurement: Measurement | None, why: str) -> None:
        sentence = question.leave_out(measurement, why)
        save()
        show(sentence)

    while True:
        question.count(next_that_counts(take, why_not, note, question.again))
        save()
        if verdict := question.decided():
            return verdict
        show(f"{question.name}: {question.sentence()}: one more run")
