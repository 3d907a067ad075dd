"""The loop of a study: one run after another, until they answer its question.

A :class:`Study` is a decision: it looks at the runs so far and names the next one, or the answer. A gate is
one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from textwrap import indent
from typing import Generic, Protocol, TypeVar

from pytest_dsr1.errors import Dsr1Error, InvalidRunError
from pytest_dsr1.measurement.measurement import Measurement

LIMIT = 3
"""The loop gives up after this many runs in a row that do not count (INVALID, or warm-up)."""

P = TypeVar("P")
"""What a run differs in from the other runs of its study."""
A = TypeVar("A")
"""The answer of a study."""

WhyNot = Callable[[Measurement], str]
"""Returns why a run does not count; an empty text if it does."""


class InconclusiveError(Dsr1Error):
    """The largest number of runs does not answer the question (verdict INCONCLUSIVE)."""


@dataclass(frozen=True, slots=True)
class Next(Generic[P]):
    """The next run of a study.

    Attributes:
        point: what to run.
        why: why one more run is needed, for the user; empty before the first.
    """

    point: P
    why: str = ""


@dataclass(frozen=True, slots=True)
class Answer(Generic[A]):
    """The answer of a study; no more runs are needed."""

    value: A


class Study(Protocol[P, A]):
    """Runs that answer one question."""

    @property
    def again(self) -> str:
        """The command that asks the question again."""

    def step(self) -> Next[P] | Answer[A]:
        """Return the next run, or the answer; raise an error to end the study without one."""

    def leave_out(self, point: P, measurement: Measurement | None, why: str) -> str:
        """Note a run that does not count; return a sentence about it. A failed run has no measurement."""

    def count(self, point: P, measurement: Measurement) -> None:
        """Take in a run that counts; raise an error to end the study."""


def next_that_counts(
    take: Callable[[], Measurement],
    why_not: WhyNot,
    note: Callable[[Measurement | None, str], None],
    again: str,
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


def answer(
    study: Study[P, A],
    take: Callable[[P], Measurement],
    why_not: WhyNot,
    show: Callable[[str], None],
    save: Callable[[], None],
) -> A:
    """Run until the runs answer the question, and return the answer.

    Args:
        study: takes in every run.
        take: makes a run of a point; raises what the run raises.
        why_not: returns why a run does not count.
        show: shows a sentence to the user at once.
        save: saves the present state of the study.

    Raises:
        InvalidRunError: too many runs in a row do not count.
        Dsr1Error: the study raised it.
    """
    while isinstance(step := study.step(), Next):
        if step.why:
            show(step.why)
        point = step.point

        def note(measurement: Measurement | None, why: str, point: P = point) -> None:
            sentence = study.leave_out(point, measurement, why)
            save()
            show(sentence)

        study.count(point, next_that_counts(partial(take, point), why_not, note, study.again))
        save()
    return step.value
