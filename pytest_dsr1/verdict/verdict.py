"""The verdict on a target or a gate, and pytest's exit status for it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any, ClassVar

from pytest_dsr1.metrics.catalogue import metric_named
from pytest_dsr1.text import number


class Status(str, Enum):
    """The status of a target or gate. PASS, MEASURED and FAIL are outcomes of a test, others are errors."""

    PASS = "PASS"  # noqa: S105 - a verdict
    MEASURED = "MEASURED"  # a valid run of a scenario without targets
    FAIL = "FAIL"
    INVALID = "INVALID"
    NOT_COMPARABLE = "NOT COMPARABLE"
    NO_REFERENCE = "NO REFERENCE"
    INCONCLUSIVE = "INCONCLUSIVE"


EXIT_STATUS: dict[Status, int] = {
    Status.FAIL: 1,
    Status.INVALID: 10,
    Status.NOT_COMPARABLE: 11,
    Status.NO_REFERENCE: 11,
    Status.INCONCLUSIVE: 12,
}
"""In order of precedence: a missed target comes before a run that does not count."""
GOOD = frozenset({Status.PASS, Status.MEASURED})
"""The statuses with which nothing is wrong."""
NOTHING_TO_JUDGE = "measured, nothing to judge"
"""What is said of a valid run of a scenario without targets."""
WORST_FIRST = (*EXIT_STATUS, Status.PASS, Status.MEASURED)
"""The order of the statuses: of several, the first is that of the scenario."""


def exit_status(statuses: Iterable[Status]) -> int | None:
    """Return the exit status for these verdicts; None if pytest's own applies."""
    found = set(statuses)
    return next((exits for status, exits in EXIT_STATUS.items() if status in found), None)


def worst(statuses: Iterable[Status]) -> Status | None:
    """Return the status that comes first in :data:`WORST_FIRST`; None without any."""
    known = set(statuses)
    return next((each for each in WORST_FIRST if each in known), None)


def subject_of(test: str, metric: str | None) -> str:
    """Return the subject of a test as in its id: ``target[average_ttft]``, or ``regression`` alone."""
    return test if metric is None else f"{test}[{metric}]"


def saved_key(field: str) -> str:
    """Return a field's key in saved files, where ``status`` has been ``word`` from the start."""
    return "word" if field == "status" else field


@dataclass(frozen=True, slots=True)
class Verdict:
    """The verdict on one target of one measurement.

    Attributes:
        status: the verdict.
        subject: the test's name, such as ``target[total_output_throughput]``.
        metric: the metric's name.
        measured: in the metric's unit; None if it was not measured.
        target: the expected value.
        bound: the worst value that passes.
        margin_percent: how much better ``measured`` is than ``target``; negative is worse.
        message: one sentence for a person.
        doubt: a sentence if the value is closer to its bound than the noise; also in the message.
        place: where on a sweep's curve it was read, such as ``50 tok/s/user``; empty without a curve.
    """

    __pydantic_config__: ClassVar[Any] = {"alias_generator": saved_key}

    status: Status
    subject: str
    metric: str
    measured: float | None
    target: float
    bound: float
    margin_percent: float | None
    message: str
    doubt: str = ""
    place: str = ""

    @property
    def figures(self) -> str:
        """A miss in short, such as ``10.8 < 71.25 tok/s/user``; empty if the figures are not the reason."""
        metric = metric_named(self.metric)
        if self.measured is None or self.status is not Status.FAIL:
            return ""
        sign = "<" if metric.better == "higher" else ">"
        missed = self.measured < self.bound if sign == "<" else self.measured > self.bound
        return f"{number(self.measured)} {sign} {number(self.bound)} {metric.unit}" if missed else ""

    @property
    def label(self) -> str:
        """The metric's label, and where on a sweep's curve it was read."""
        return f"{metric_named(self.metric).label}{f' at {self.place}' if self.place else ''}"
