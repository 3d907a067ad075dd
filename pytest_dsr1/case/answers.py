"""The faults of a case, and the answers to: is it real, where is it, what to do?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pytest_dsr1.case.case import Case
from pytest_dsr1.gate import comparability
from pytest_dsr1.metrics.catalogue import metric_named
from pytest_dsr1.verdict.accuracy import AccuracyVerdict
from pytest_dsr1.verdict.verdict import EXIT_STATUS, WORST_FIRST, Status, Verdict, subject_of


@dataclass(frozen=True, slots=True)
class Fault:
    """One missed target, failed gate, or reason for an invalid run.

    Attributes:
        status: the verdict.
        subject: the test's name, such as ``target[average_ttft]``, or ``scenario`` for the run as a whole.
        label: the metric's label, ``gate``, ``pairs`` or ``accuracy``; empty for the run as a whole.
        message: the full message.
        where: ``file:line`` in the scenario.
        answers: what wrong answers or pairs mean and what to do; empty for a fault of a run's performance.
    """

    status: Status
    subject: str
    label: str
    message: str
    where: str
    answers: str = ""


def faults(case: Case) -> tuple[Fault, ...]:
    """Return the faults of a case; empty if everything judged passed."""
    judgment, found = case.judgment, []
    lines, gate, refused = judgment.lines, judgment.gate, judgment.refused
    if judgment.problem:
        found.append(Fault(Status.INVALID, "scenario", "", judgment.problem, lines["scenario"]))
    found += [
        Fault(each.status, each.subject, metric_named(each.metric).label, each.message, lines[each.subject])
        for each in judgment.verdicts
        if each.status is not Status.PASS
    ]
    found += [
        Fault(each.status, each.subject, "accuracy", each.message, lines[each.subject], about_answers(each))
        for each in judgment.bad_answers
    ]
    found += [
        Fault(status, test, "", message, lines.get(test, lines["scenario"]))
        for test, (status, message) in judgment.unjudged.items()
        if status is not None
    ]
    if judgment.pair is not None and judgment.pair.status is not Status.PASS:
        pair = judgment.pair
        answers = about_pairs(pair.status)
        found.append(Fault(pair.status, pair.subject, "pairs", pair.message, lines[pair.subject], answers))
    test, what = ("pair", "pairs") if judgment.in_pairs else ("regression", "gate")
    subject = subject_of(test, case.scenario.gated_metric)
    if gate is not None and gate.verdict is not None:
        if gate.verdict.status is not Status.PASS:
            found.append(Fault(gate.verdict.status, subject, "gate", gate.verdict.message, lines[subject]))
    elif refused is not None and refused[1] != judgment.problem:
        answers = about_pairs(refused[0]) if judgment.in_pairs else ""
        found.append(Fault(refused[0], subject, what, refused[1], lines[subject], answers))
    elif refused is None and gate is not None and gate.status and gate.error:
        found.append(Fault(gate.status, subject, "gate", gate.error, lines[subject]))
    return tuple(found)


def worst_first(case: Case) -> int:
    """Return the sort key of a case: those that need a person come first, PASS last."""
    order: list[Status | None] = [*EXIT_STATUS, None, *WORST_FIRST[len(EXIT_STATUS) :]]
    return order.index(case.judgment.status)


_UNKNOWN = {
    Status.INVALID: "Unknown. The run is invalid, so it says nothing about performance.",
    Status.NOT_COMPARABLE: "Unknown. The run differs from the references in a fact that must be equal.",
    Status.NO_REFERENCE: "Unknown. There are no references to compare with.",
    Status.INCONCLUSIVE: "Undecided. The noise is too large to show or rule out a loss.",
}
_NEXT = {
    Status.INVALID: "Do what the message says, then run it again. Nothing was judged.",
    Status.NOT_COMPARABLE: "Restore what differs, or record and accept new references "
    "(`pytest-dsr1 docs gate#references`).",
    Status.NO_REFERENCE: "Record and accept references. The message has the commands.",
    Status.INCONCLUSIVE: "Use a larger gate.delta_percent, more references, or a quieter machine "
    "(`pytest-dsr1 docs gate`).",
}
_ANSWERS = {
    Status.INVALID: "Unknown: answers are missing. Do what the message says, then run it again.",
    Status.NO_REFERENCE: "Unknown: there are no answers to compare with. Record and accept references. The "
    "message has the commands.",
}
_WRONG = (
    "No: if the share were as high as required, fewer than 1 of 100 runs would have as few right answers. "
)
_OTHER = (
    "They differ from the references': fewer than 1 of 100 starts do as much, if starts vary as those of the "
    "references did. "
)
_LOOK_AT_ANSWERS = (
    "Read `answers.jsonl`, then look at what changes numbers: kernels, quantization, the KV cache's format, "
    "the chat template."
)
_ALWAYS = (
    "The change under test is not the cause: the gate ruled out a loss of {delta:g}% compared with the "
    "references, so the reference runs miss this target too. Compare machine, settings and target "
    "(`pytest-dsr1 docs why-low`)."
)
_SEARCHED = "Yes: the target is outside the interval of the search, which is wrong in at most 5% of searches."
_AGAIN = "Run it again. If this happens often, let a gate decide (`pytest-dsr1 docs gate`)."


def is_it_real(case: Case, status: Status) -> str:
    """Answer whether a verdict other than PASS says something about performance, and how surely."""
    if status is not Status.FAIL:
        return _UNKNOWN[status]
    gate = case.judgment.gate
    if gate is not None and gate.status is Status.FAIL:
        runs = sum(run.evidence is not None for run in gate.runs)
        runs_compared = f"{runs} engine starts against {gate.references.runs} accepted references"
        warned = "; ".join(warning.removeprefix(f"{gate.profile}: ") for warning in gate.warnings)
        warned = f" The gate warned: {warned}." if warned else ""
        sure = "If there is no real loss, a gate fails in fewer than 1 of 100 cases."
        return f"Yes: {runs_compared}. {sure}{warned}"
    missed = _missed(case)
    clear = next((verdict for verdict in missed if not verdict.doubt), None)
    if clear is None:
        return f"Perhaps not: {missed[0].doubt}."
    if clear.subject.startswith("search["):
        return _SEARCHED
    noise = case.noise_of(clear)
    how_much = f" ({noise.percent:.2g}%, {noise.source})" if noise else ""
    return (
        f"Yes: the run is valid, and {metric_named(clear.metric).label} misses its bound by more than twice "
        f"the standard deviation between engine starts{how_much}."
    )


def about_answers(verdict: AccuracyVerdict) -> str:
    """Answer whether the answers are right, and what to do, after a verdict on them other than PASS."""
    if verdict.status is not Status.FAIL:
        return _ANSWERS[verdict.status]
    return (_OTHER if verdict.compares else _WRONG) + _LOOK_AT_ANSWERS


_PAIRS = {
    Status.FAIL: "Yes: if both sides were equal, fewer than 1 of 100 comparisons would call the new one "
    "slower. Look at what it changes; `pytest-dsr1 bisect` finds the commit "
    "(`pytest-dsr1 docs gate#bisect`).",
    Status.INCONCLUSIVE: "Undecided. Use a larger gate.delta_percent or a quieter machine "
    "(`pytest-dsr1 docs gate`).",
}


def about_pairs(status: Status) -> str:
    """Answer whether the new side is slower, and what to do, after pairs with a status other than PASS."""
    return _PAIRS.get(status, "Unknown. Do what the message says, then compare again.")


def is_it_slower(found: Iterable[Fault]) -> str:
    """Return the answer of pairs among the faults of a case; empty if nothing is wrong with pairs."""
    return next((fault.answers for fault in found if fault.label == "pairs"), "")


def where_is_it(locations: Iterable[str], lines: Iterable[str]) -> str:
    """Return the locations in the run, then the lines of the scenario (``file:line``), as one text."""
    return "; ".join([*locations, ", ".join(dict.fromkeys(lines))])


def what_is_the_cause(case: Case) -> str:
    """Return the cause of a bad result, as a sentence; empty without a measured run."""
    return _sentence(case.cause.sentence) if case.cause else ""


def what_changed(case: Case) -> str:
    """Return what differs from when the scenario was good, as a sentence; empty if it is good now."""
    since = case.background.since
    return _sentence(since.sentence) if since else ""


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def what_to_do(case: Case, status: Status) -> str:
    """Return the next step after a verdict other than PASS: that of the cause, where one is named."""
    named = case.cause if case.cause and case.cause.kind != "unknown" else None
    if status is not Status.FAIL:
        return _sentence(named.next_step) if named and status is Status.INVALID else _NEXT[status]
    gate = case.judgment.gate
    if gate is not None and gate.status is Status.PASS:
        return _ALWAYS.format(delta=gate.delta_percent)
    lost = gate is not None and gate.status is Status.FAIL
    if not lost and all(verdict.doubt for verdict in _missed(case)):
        return _AGAIN
    if named:
        return _sentence(named.next_step)
    if gate is not None and lost:
        return _what_changed(case, gate.changed)
    references, measurement = case.background.references, case.run.measurement
    if references is None or measurement is None:
        return f"{_look(case)}."
    facts = measurement.fingerprint.facts
    changed = comparability.changed(references.facts, facts, references.under_test)
    if not case.unlike:
        return _what_changed(case, changed)
    also = f" Also changed: {comparability.in_brief(changed)}." if changed else ""
    return f"The references are not comparable with this run: {case.unlike}.{also} {_look(case)}."


def _what_changed(case: Case, changed: Sequence[str]) -> str:
    if changed:
        return f"Look at what changed since the references: {comparability.in_brief(changed)}. {_look(case)}."
    return (
        "All recorded software versions and options are the same as in the references; what is not recorded "
        f"may differ, such as edited code or a warm room. {_look(case)}."
    )


def _look(case: Case) -> str:
    if case.incomplete:
        return "Look at the warnings of this report and at the log of the run"
    if case.run.clues:
        return "Look at the clues that the run shows (`pytest-dsr1 docs why-low`)"
    if case.cause:
        return _sentence(case.cause.next_step).removesuffix(".")
    return "Look at the log of the run"


def _missed(case: Case) -> list[Verdict]:
    return [verdict for verdict in case.judgment.verdicts if verdict.status is Status.FAIL]
