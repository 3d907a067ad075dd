"""What keeps a case from being a PASS, and the answers: is it real, where is it, what to do?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pytest_dsr1.case.case import Case
from pytest_dsr1.gate import comparability
from pytest_dsr1.metrics.catalogue import METRICS
from pytest_dsr1.verdict.verdict import EXIT_STATUS, Status, Verdict


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

    word: Status
    subject: str
    label: str
    message: str
    where: str


def faults(case: Case) -> tuple[Fault, ...]:
    """Return all of a case; empty where everything that was judged passed."""
    judgement, found = case.judgement, []
    lines, gate, refused = judgement.lines, judgement.gate, judgement.refused
    if judgement.problem:
        found.append(Fault(Status.INVALID, "scenario", "", judgement.problem, lines["scenario"]))
    found += [
        Fault(each.word, each.subject, METRICS[each.metric].label, each.message, lines[each.subject])
        for each in judgement.verdicts
        if each.word is not Status.PASS
    ]
    subject = f"regression[{case.scenario.gated_metric}]"
    if gate is not None and gate.verdict is not None:
        if gate.verdict.word is not Status.PASS:
            found.append(Fault(gate.verdict.word, subject, "gate", gate.verdict.message, lines[subject]))
    elif refused is not None and refused[1] != judgement.problem:
        found.append(Fault(refused[0], subject, "gate", refused[1], lines[subject]))
    elif refused is None and gate is not None and gate.word and gate.error:
        found.append(Fault(gate.word, subject, "gate", gate.error, lines[subject]))
    return tuple(found)


def worst_first(case: Case) -> int:
    """The key that sorts cases: what needs a person before what does not, PASS last."""
    order: list[Status | None] = [*EXIT_STATUS, None, Status.PASS]
    return order.index(case.judgement.word)


_UNKNOWN = {
    Status.INVALID: "Nothing is known: the run proves nothing, good or bad.",
    Status.NOT_COMPARABLE: "Nothing is known: what must be equal to the references differs.",
    Status.NO_REFERENCE: "Nothing is known: there is nothing to compare with.",
    Status.INCONCLUSIVE: "Undecided: the noise hides whether there is a loss.",
}
_NEXT = {
    Status.INVALID: "Do what the message says and run it again: nothing was judged.",
    Status.NOT_COMPARABLE: "Put back what differs, or record and accept new references "
    "(`pytest-dsr1 docs gate#references`).",
    Status.NO_REFERENCE: "Record and accept references; the message has the commands.",
    Status.INCONCLUSIVE: "A larger gate.delta_percent, more references, or a quieter machine "
    "(`pytest-dsr1 docs gate`).",
}
_ALWAYS = (
    "The gate excludes a loss of {delta:g}% against the references, so they miss the target as well: it is "
    "not this change. Compare machine, settings and target (`pytest-dsr1 docs why-low`)."
)
_AGAIN = "Run it again; where that happens often, let a gate decide (`pytest-dsr1 docs gate`)."


def is_it_real(case: Case, word: Status) -> str:
    """Whether a verdict other than PASS says something of the performance, and how surely."""
    if word is not Status.FAIL:
        return _UNKNOWN[word]
    gate = case.judgement.gate
    if gate is not None and gate.word is Status.FAIL:
        runs = sum(run.evidence is not None for run in gate.runs)
        told = f"{runs} engine starts against {gate.references.runs} accepted references"
        warned = "; ".join(warning.removeprefix(f"{gate.profile}: ") for warning in gate.warnings)
        warned = f" It had warned: {warned}." if warned else ""
        return f"Yes: {told}. A gate says so without a loss in less than 1 of 100 cases.{warned}"
    missed = _missed(case)
    clear = next((verdict for verdict in missed if not verdict.doubt), None)
    if clear is None:
        return f"Perhaps not: {missed[0].doubt}."
    noise = case.background.noise[clear.metric]
    return (
        f"Yes: the run is valid, and {METRICS[clear.metric].label} is further from its bound than twice the "
        f"standard deviation between engine starts ({noise.percent:.2g}%, {noise.source})."
    )


def where_is_it(places: Iterable[str], lines: Iterable[str]) -> str:
    """The places in the run, then those in the scenario (``file:line``), each as it is to be shown."""
    return "; ".join([*places, ", ".join(dict.fromkeys(lines))])


def what_to_do(case: Case, word: Status) -> str:
    """The next step after a verdict other than PASS."""
    if word is not Status.FAIL:
        return _NEXT[word]
    gate = case.judgement.gate
    if gate is not None and gate.word is Status.FAIL:
        return _what_changed(case, gate.changed)
    if gate is not None and gate.word is Status.PASS:
        return _ALWAYS.format(delta=gate.delta_percent)
    if all(verdict.doubt for verdict in _missed(case)):
        return _AGAIN
    references, measurement = case.background.references, case.findings.measurement
    if references is None or measurement is None:
        return f"{_look(case)}, then what changed since the last green run: driver, container, options."
    facts = measurement.fingerprint.facts
    changed = comparability.changed(references.facts, facts, references.under_test)
    if not case.unlike:
        return _what_changed(case, changed)
    also = f" Changed as well: {comparability.in_brief(changed)}." if changed else ""
    return f"The references are not comparable with this run: {case.unlike}.{also} {_look(case)}."


def _what_changed(case: Case, changed: Sequence[str]) -> str:
    if changed:
        return f"Look at what changed since the references: {comparability.in_brief(changed)}. {_look(case)}."
    return (
        "Of software and options nothing is known to differ from the references. "
        f"{_look(case)}, then what no fact tells, such as edited code or a warm room."
    )


def _look(case: Case) -> str:
    if case.findings.clues:
        return "See what the run itself shows of the reasons (look at, `pytest-dsr1 docs why-low`)"
    return (
        "The run itself shows none of the reasons in `pytest-dsr1 docs why-low`: see what else ran on the "
        "machine"
    )


def _missed(case: Case) -> list[Verdict]:
    return [verdict for verdict in case.judgement.verdicts if verdict.word is Status.FAIL]
