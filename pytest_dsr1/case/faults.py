"""What keeps a case from being a PASS: each thing with its word, message, and line in the scenario."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_dsr1.case.case import Case
from pytest_dsr1.metrics.catalogue import METRICS
from pytest_dsr1.verdict.verdict import EXIT_STATUS, Word


@dataclass(frozen=True, slots=True)
class Fault:
    """One missed target, failed gate, or reason why nothing could be judged.

    Attributes:
        word: the verdict.
        subject: the test's name, such as ``target[average_ttft]``, or ``scenario`` for the run as a whole.
        label: what is judged, for a person; empty for the run as a whole.
        message: in full.
        where: ``file:line`` in the scenario.
    """

    word: Word
    subject: str
    label: str
    message: str
    where: str


def faults(case: Case) -> tuple[Fault, ...]:
    """All of a case; empty where everything that was judged passed."""
    found = []
    if case.problem:
        found.append(Fault(Word.INVALID, "scenario", "", case.problem, case.where["scenario"]))
    found += [
        Fault(each.word, each.subject, METRICS[each.metric].label, each.message, case.where[each.subject])
        for each in case.verdicts
        if each.word is not Word.PASS
    ]
    subject, label = f"regression[{case.scenario.gated_metric}]", "gate"
    if case.gate is not None and case.gate.verdict is not None:
        if case.gate.verdict.word is not Word.PASS:
            message = case.gate.verdict.message
            found.append(Fault(case.gate.verdict.word, subject, label, message, case.where[subject]))
    elif case.refused is not None and case.refused[1] != case.problem:
        found.append(Fault(case.refused[0], subject, label, case.refused[1], case.where[subject]))
    elif case.refused is None and case.gate is not None and case.gate.word and case.gate.error:
        found.append(Fault(case.gate.word, subject, label, case.gate.error, case.where[subject]))
    return tuple(found)


def worst_first(case: Case) -> int:
    """The key that sorts cases: what needs a person before what does not, PASS last."""
    order: list[Word | None] = [*EXIT_STATUS, None, Word.PASS]
    return order.index(case.word)
