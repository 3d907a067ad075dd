"""The verdicts on the answers of one measurement, and what references say about them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pytest_dsr1.errors import Dsr1Error, NoReferenceError, ReferencesError
from pytest_dsr1.gate.accuracy import reference_answers
from pytest_dsr1.gate.accuracy.answers import asked_in, basis, marks, problem, task_of, texts
from pytest_dsr1.gate.accuracy.reference_answers import Accepted, ByRun
from pytest_dsr1.gate.accuracy.same_answers import (
    LEAST_RUNS,
    Decision,
    Text,
    agreements,
    decide,
    same_from_start,
)
from pytest_dsr1.gate.comparability import differences, in_brief
from pytest_dsr1.gate.recordings import RecordedAnswers
from pytest_dsr1.gate.references import References, how_to_get_more
from pytest_dsr1.measurement.measurement import Measurement
from pytest_dsr1.records import AskedQuestion
from pytest_dsr1.scenario.schema.accuracy import PRESETS, SAME_ANSWERS, Task
from pytest_dsr1.verdict.accuracy import (
    SHOWN_WRONG,
    AccuracyVerdict,
    Marks,
    Wrong,
    accuracy_subject,
    judge_task,
    percent,
    pooled,
    score,
)
from pytest_dsr1.verdict.verdict import Status

_EXCERPT = {"tokens": 8, "characters": 40}
"""How much of an answer is shown from its first difference on."""


def judge(name: str, measurement: Measurement, accepted: Accepted, *, gated: bool = False) -> AccuracyVerdict:
    """Return the verdict on one accuracy test of a valid measurement.

    Args:
        name: of the test: ``same_answers``, or a task's.
        measurement: with its answers, and the scenario that asked for them.
        accepted: the profile's references.
        gated: whether a task without a share must have references; else its share is only measured.
    """
    invalid = problem(measurement, name)
    if invalid is not None:
        return invalid
    task = task_of(measurement.scenario, name)
    asked = asked_in(measurement, name)
    if task is not None and task.least_share is not None:
        return judge_task(name, marks(asked), task.least_share, _source(task))
    try:
        known = _comparable(name, measurement, accepted)
    except (NoReferenceError, ReferencesError) as error:
        required = gated or isinstance(error, ReferencesError)
        return _without_references(name, None if task is None else marks(asked), error, required=required)
    if name == SAME_ANSWERS:
        return _judge_same(name, asked, [each.answers for each in known])
    right, answered = sum(each.right for each in known), sum(each.answered for each in known)
    source = f"{right:,} of {answered:,} answers in {_count(known)}, and this run's"
    given = marks(asked)
    return judge_task(name, given, pooled(given, right, answered), source)


def _without_references(name: str, given: Marks | None, why: Dsr1Error, *, required: bool) -> AccuracyVerdict:
    """Return the verdict on answers that only references could judge; ``given`` are the marks of a task."""
    if given is None:
        return AccuracyVerdict(Status.NO_REFERENCE, accuracy_subject(name), f"{name}: {why}")
    nothing = (
        "nothing to judge: at_least is not set, and no accepted reference has answers to these questions"
    )
    return AccuracyVerdict(
        Status.NO_REFERENCE if required else Status.MEASURED,
        accuracy_subject(name),
        f"{name}: {score(given)}; {why if required else nothing}",
        measured=given.right / given.answered,
        wrong=given.wrong[:SHOWN_WRONG],
    )


def only_recorded(name: str, measurement: Measurement) -> AccuracyVerdict | None:
    """Return MEASURED for a test that would compare a run with references, else None.

    A run that may become a reference is not compared with those before it.
    """
    task = task_of(measurement.scenario, name)
    if problem(measurement, name) is not None or (task is not None and task.least_share is not None):
        return None
    given = marks(asked_in(measurement, name))
    found = f"{given.answered} answers" if task is None else score(given)
    return AccuracyVerdict(
        Status.MEASURED,
        accuracy_subject(name),
        f"{name}: {found}; nothing to judge, because the run may become a reference",
        measured=None if task is None else given.right / given.answered,
    )


def about(references: References, store: Path) -> list[str]:
    """Return a sentence for each test whose answers the references have.

    Raises:
        ReferencesError: the file of answers cannot be trusted.
    """
    found = []
    for name, by_run in reference_answers.read(store, references.profile).items():
        known = _of(references, by_run)
        if not known:
            continue
        have = f"{name}: {len(known)} of {len(references.runs)} runs have answers"
        if name == SAME_ANSWERS:
            all_answers = [each.answers for each in known]
            shared = (
                f", {percent(_equal_among(all_answers))} of these equal each other" if len(known) > 1 else ""
            )
            found.append(f"{have} to {len(known[0].answers)} prompts{shared}")
        else:
            right, answered = sum(each.right for each in known), sum(each.answered for each in known)
            found.append(f"{have}, {percent(right / answered)} of these right ({right:,} of {answered:,})")
    return found


def _source(task: Task) -> str:
    if isinstance(task.at_least, str):
        return f"{task.at_least}: {PRESETS[task.at_least].source}"
    return "at_least"


def _comparable(name: str, measurement: Measurement, accepted: Accepted) -> tuple[RecordedAnswers, ...]:
    """Return the answers of the accepted references to the same questions.

    Raises:
        NoReferenceError: there are none, or too few.
        ReferencesError: a file cannot be trusted.
    """
    profile, path, references = measurement.scenario.name, accepted.path, accepted.references
    known = _of(references, accepted.answers.get(name, {}))
    least = LEAST_RUNS if name == SAME_ANSWERS else 1
    if len(known) < least:
        raise NoReferenceError(
            f"{path}: {len(known)} of {len(references.runs)} accepted references have answers, at least "
            f"{least} are required; {how_to_get_more(profile)}"
        )
    unlike = differences(known[0].basis, basis(measurement, name), {"*": False})
    if not unlike and name == SAME_ANSWERS:
        here, there = _unit(texts(asked_in(measurement, name))), {_unit(each.answers) for each in known}
        kinds = " and ".join(sorted(there))
        unlike = [] if there == {here} else [f"answers: {kinds} in the references, {here} here"]
    if unlike:
        raise NoReferenceError(
            f"{path}: the references answered other questions, or another model did: {in_brief(unlike)}; "
            f"{how_to_get_more(profile)}"
        )
    return known


def _of(references: References, by_run: ByRun) -> tuple[RecordedAnswers, ...]:
    """Return the answers of the accepted runs among these."""
    return tuple(by_run[run.recording] for run in references.runs if run.recording in by_run)


def _judge_same(
    name: str, asked: Sequence[AskedQuestion], known: Sequence[Sequence[Text]]
) -> AccuracyVerdict:
    own = texts(asked)
    decision = decide(agreements([own, *known]))
    differ = [_first_difference(each, own) for each in known]
    places = [place for row in differ for place in row if place is not None]
    equal = 1 - len(places) / (len(own) * len(known))
    where = (
        f", the others on average up to {_unit(own)[:-1]} {sum(places) / len(places):.1f}" if places else ""
    )
    among = percent(_equal_among(known))
    found = (
        f"{name}: {percent(equal)} of the answers to {len(own)} prompts equal those of {len(known)} accepted "
        f"references{where}; {among} of theirs equal each other"
    )
    return AccuracyVerdict(
        Status.FAIL if decision.differ else Status.PASS,
        accuracy_subject(name),
        f"{found}: {_reason(decision)}",
        measured=decision.mean,
        at_least=decision.least,
        wrong=_different(asked, own, known) if decision.differ else (),
    )


def _reason(decision: Decision) -> str:
    agree = (
        f"mean agreement {decision.mean:.3f} here, {decision.among_references:.3f} among them, at least "
        f"{decision.least:.3f} expected of one more run; t {decision.t:.2f} over the prompts, limit "
        f"{decision.t_limit:.2f}"
    )
    if decision.differ:
        return f"these answers differ by more than starts do ({agree})"
    return f"no more different than starts are ({agree})"


def _first_difference(one: Sequence[Text], other: Sequence[Text]) -> list[int | None]:
    """Return where answers begin to differ, by prompt; None where they are equal."""
    pairs = zip(one, other, strict=True)
    return [None if left == right else same_from_start(left, right) for left, right in pairs]


def _equal_among(answers: Sequence[Sequence[Text]]) -> float:
    """Return the share of answers that are equal, of all pairs of runs, at least two runs."""
    rows = [_first_difference(one, other) for index, one in enumerate(answers) for other in answers[:index]]
    places = [place for row in rows for place in row]
    return places.count(None) / len(places)


def _different(
    asked: Sequence[AskedQuestion], own: Sequence[Text], known: Sequence[Sequence[Text]]
) -> tuple[Wrong, ...]:
    """Return the answers that no reference gave, each next to the reference's that is most like it."""
    found = []
    for index, (question, mine) in enumerate(zip(asked, own, strict=True)):
        others = [row[index] for row in known]
        if mine not in others:
            nearest = max(others, key=lambda other: same_from_start(mine, other))
            place = same_from_start(mine, nearest)
            found.append(
                Wrong(question.answer.id, question.prompt or "", _from(nearest, place), _from(mine, place))
            )
    return tuple(found[:SHOWN_WRONG])


def _from(text: Text, place: int) -> str:
    """Return what an answer says from a place on."""
    unit = _unit([text])
    excerpt = text[place : place + _EXCERPT[unit]]
    said = excerpt if isinstance(excerpt, str) else " ".join(map(str, excerpt))
    return f"from {unit[:-1]} {place} on: {said}"


def _unit(answers: Sequence[Text]) -> str:
    return "characters" if any(isinstance(each, str) for each in answers) else "tokens"


def _count(known: Sequence[RecordedAnswers]) -> str:
    return f"{len(known)} accepted reference{'s' if len(known) > 1 else ''}"
