"""The words of a verdict, and what each means for pytest's exit status."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum


class Word(str, Enum):
    """One word per target or gate; PASS and FAIL are test outcomes, the others are errors."""

    PASS = "PASS"  # noqa: S105 - a verdict
    FAIL = "FAIL"
    INVALID = "INVALID"
    NOT_COMPARABLE = "NOT COMPARABLE"
    NO_REFERENCE = "NO REFERENCE"
    INCONCLUSIVE = "INCONCLUSIVE"


EXIT_STATUS: dict[Word, int] = {
    Word.FAIL: 1,
    Word.INVALID: 10,
    Word.NOT_COMPARABLE: 11,
    Word.NO_REFERENCE: 11,
    Word.INCONCLUSIVE: 12,
}
"""In order of precedence: a missed target outranks a run that proves nothing."""


def exit_status(words: Iterable[Word]) -> int | None:
    """The exit status that these verdicts ask for; None where pytest's own stands."""
    found = set(words)
    return next((status for word, status in EXIT_STATUS.items() if word in found), None)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one target of one measurement was judged to be.

    Attributes:
        word: the verdict.
        subject: the test's name, such as ``target[total_output_throughput]``.
        metric: the metric's name.
        measured: in the metric's unit; None where it was not measured.
        target: the wanted value, and ``bound`` the worst value that passes.
        margin_percent: how far ``measured`` is on the good side of ``target``; negative is worse.
        message: one sentence for a person.
        doubt: how near the figure is to its bound, where that is within the noise; part of the message.
    """

    word: Word
    subject: str
    metric: str
    measured: float | None
    target: float
    bound: float
    margin_percent: float | None
    message: str
    doubt: str = ""
