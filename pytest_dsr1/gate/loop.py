"""The loop of runs: one after the other, until what they show is certain.

What is asked of the runs, and what they say, is a :class:`Question`; a gate is one.
"""

from __future__ import annotations

from collections.abc import Callable
from textwrap import indent
from typing import Protocol

from pytest_dsr1.errors import InvalidRunError
from pytest_dsr1.measurement.measurement import Measurement
from pytest_dsr1.verdict.verdict import Verdict

LIMIT = 3
"""Runs in a row that do not count (INVALID, or warm-up) before the loop gives up."""

Take = Callable[[], Measurement]
"""Makes one run; raises what the run raises."""

WhyNot = Callable[[Measurement], str]
"""Returns why a run does not count, or nothing."""


class Question(Protocol):
    """What is asked of the runs."""

    @property
    def name(self) -> str:
        """What it is about, for sentences."""

    @property
    def again(self) -> str:
        """The command that asks again."""

    def leave_out(self, measurement: Measurement | None, why: str) -> str:
        """Note a run that does not count, of which there may be nothing; return what to say of it."""

    def count(self, measurement: Measurement) -> None:
        """Take in a run that counts; raises what ends the loop."""

    def decided(self) -> Verdict | None:
        """Return the answer, or None where one more run is needed; raises what ends the loop."""

    def sentence(self) -> str:
        """Say what the runs show so far."""


def next_that_counts(
    take: Take, why_not: WhyNot, note: Callable[[Measurement | None, str], None], again: str
) -> Measurement:
    """Run until a run counts.

    Args:
        take: makes a run.
        why_not: returns why one does not count.
        note: is called for each run that does not count, with the reason.
        again: the command to type once the cause is removed.

    Raises:
        InvalidRunError: too many in a row do not count; says why each did not.
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
        f"{LIMIT} engine starts in a row do not count:\n{listed}\nremove the cause, then `{again}`"
    )


def decide(
    question: Question, take: Take, why_not: WhyNot, tell: Callable[[str], None], save: Callable[[], None]
) -> Verdict:
    """Run until the answer is certain.

    Args:
        question: before its first run; takes in every run.
        take: makes a run.
        why_not: returns why a run does not count.
        tell: shows a sentence to the person at once.
        save: keeps the question as it is now.

    Raises:
        InvalidRunError: too many runs in a row do not count.
        Dsr1Error: what the question raises.
    """

    def note(measurement: Measurement | None, why: str) -> None:
        sentence = question.leave_out(measurement, why)
        save()
        tell(sentence)

    while True:
        question.count(next_that_counts(take, why_not, note, question.again))
        save()
        if verdict := question.decided():
            return verdict
        tell(f"{question.name}: {question.sentence()}: one more run")
