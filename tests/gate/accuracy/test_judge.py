"""Verdicts on answers, and what a recorded run keeps of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from pytest_dsr1.gate.accuracy import reference_answers
from pytest_dsr1.gate.accuracy.answers import as_asked, asked_otherwise, recorded
from pytest_dsr1.gate.accuracy.judge import about, judge, only_recorded
from pytest_dsr1.gate.recordings import RecordedAnswers
from pytest_dsr1.gate.reference_file import write
from pytest_dsr1.machine.values import Fingerprint
from pytest_dsr1.measurement.measurement import Measurement
from pytest_dsr1.records import Answer, AskedQuestion
from pytest_dsr1.scenario.schema.accuracy import PRESETS
from pytest_dsr1.scenario.schema.scenario import Scenario
from pytest_dsr1.verdict.accuracy import AccuracyVerdict, Wrong, upper_bound
from pytest_dsr1.verdict.verdict import Status
from tests.helpers.reference_store import FACTS, NOW, references
from tests.helpers.values import measurement, scenario

NAME = "same_answers"
PROMPTS = 8
MORE = (
    "record more with `pytest --dsr1-profile=small --dsr1-reference=record` (and the same --dsr1-set, if "
    "any), then `pytest-dsr1 references accept small --reason TEXT`"
)


def ids(*changed: int, at: int = 2) -> list[tuple[int, ...]]:
    """Return an answer of four tokens to each prompt; some differ from a token on."""
    return [
        tuple(100 * prompt + token + (50 if prompt in changed and token >= at else 0) for token in range(4))
        for prompt in range(PROMPTS)
    ]


def same(answers: Sequence[tuple[int, ...] | str], **changes: Any) -> Measurement:
    asked = [
        AskedQuestion(
            None,
            None,
            Answer(f"{NAME}/{number}", text=answer)
            if isinstance(answer, str)
            else Answer(f"{NAME}/{number}", tokens=answer),
        )
        for number, answer in enumerate(answers)
    ]
    accuracy = {"same_answers": {"prompts": PROMPTS, "output_tokens": 4}}
    return of(asked, accuracy, **changes)


def of(asked: Iterable[AskedQuestion], accuracy: dict[str, Any], **changes: Any) -> Measurement:
    return measurement(
        scenario=scenario(accuracy=accuracy, model={"name": "m", "path": "m"}),
        asked=tuple(asked),
        fingerprint=Fingerprint({**FACTS, "dataset.content": "cd" * 32}),
        **changes,
    )


def task(right: int, wrong: int, without: int = 0, at_least: float | str | None = None) -> Measurement:
    given = [Answer("", text="so 7")] * right + [Answer("", text="so 8")] * wrong
    given += [Answer("", error="timeout")] * without
    asked = [
        AskedQuestion(f"3 + 4? ({n})", "7", Answer(f"sums/{n}", text=each.text, error=each.error))
        for n, each in enumerate(given)
    ]
    return of(asked, {"tasks": [{"name": "sums", "path": "sums.jsonl", "at_least": at_least}]})


def accepted(store: Path, *runs: Measurement) -> Path:
    """Accept measurements as references, after fifteen runs without answers."""
    kept = references(15 + len(runs))
    write(store, kept)
    by_test: dict[str, dict[str, RecordedAnswers]] = {}
    for run, each in zip(kept.runs[15:], runs, strict=True):
        for name, answers in recorded(each).items():
            by_test.setdefault(name, {})[run.recording] = answers
    reference_answers.write(store, "small", by_test)
    return reference_answers.path_of(store, "small")


def judged(
    name: str, run: Measurement, store: Path, now: datetime = NOW, *, gated: bool = False
) -> AccuracyVerdict:
    return judge(name, run, reference_answers.Accepted(store, "small", now), gated=gated)


def test_equal_answers_pass(tmp_path: Path) -> None:
    accepted(tmp_path, *[same(ids())] * 3)
    assert judged(NAME, same(ids()), tmp_path) == AccuracyVerdict(
        Status.PASS,
        "accuracy[same_answers]",
        "same_answers: 100% of the answers to 8 prompts equal those of 3 accepted references; 100% of theirs "
        "equal each other: no more different than starts are (mean agreement 1.000 here, 1.000 "
        "among them, at "
        "least 1.000 expected of one more run; t 0.00 over the prompts, limit -2.36)",
        measured=1.0,
        at_least=1.0,
    )


def test_the_files_of_references_are_read_once_for_all_tests(tmp_path: Path) -> None:
    accepted(tmp_path, *[same(ids())] * 3)
    files = reference_answers.Accepted(tmp_path, "small", NOW)
    first = judge(NAME, same(ids()), files)
    for path in tmp_path.iterdir():
        path.unlink()
    assert judge(NAME, same(ids()), files) == first
    assert "0 of 18 accepted references have answers" in (
        judge("sums", task(200, 0), files, gated=True).message
    )


def test_a_saved_run_is_judged_as_it_was_asked() -> None:
    """Only the share that a task requires is today's."""
    engine = {"type": "openai", "url": "http://127.0.0.1:9"}
    small = {"same_answers": {"prompts": 4}, "tasks": [{"limit": 40, "at_least": 0.9}, {"name": "gone"}]}
    large = {"same_answers": {"prompts": 8}, "tasks": [{"limit": 5, "at_least": 0.5}, {"name": "new"}]}
    ran = scenario(engine=engine, accuracy=small)
    found = as_asked(ran, scenario(engine={**engine, "endpoint": "chat"}, accuracy=large))
    assert found == scenario(
        engine=engine,
        accuracy={**small, "tasks": [{"limit": 40, "at_least": 0.5}, {"name": "gone"}]},
    )
    without = scenario(engine=engine)
    assert as_asked(without, ran) == without


def test_what_is_asked_otherwise_than_in_a_saved_run() -> None:
    def of_task(**settings: Any) -> Scenario:
        accuracy = {"same_answers": settings.pop("same", {}), "tasks": [{"name": "sums", **settings}]}
        return scenario(engine={"type": "openai", "url": "http://127.0.0.1:9"}, accuracy=accuracy)

    ran = of_task(path="/data/sums.jsonl")
    changed = of_task(path="other.jsonl", limit=5, max_output_tokens=64, at_least=0.5)
    assert asked_otherwise(ran, changed, "sums") == [
        "path: /data/sums.jsonl when it ran, other.jsonl now",
        "limit: not set when it ran, 5 now",
        "max_output_tokens: 16384 when it ran, 64 now",
    ]
    assert asked_otherwise(ran, of_task(path="${DATA}/sums.jsonl", at_least=0.5), "sums") == []
    assert asked_otherwise(ran, changed, NAME) == []
    assert asked_otherwise(ran, of_task(same={"prompts": 4, "output_tokens": 8}), NAME) == [
        "prompts: 32 when it ran, 4 now",
        "output_tokens: 64 when it ran, 8 now",
    ]
    assert asked_otherwise(ran, ran, "new") == []
    assert asked_otherwise(scenario(), changed, "sums") == []


def test_other_answers_fail_and_are_shown_next_to_the_references(tmp_path: Path) -> None:
    accepted(tmp_path, *[same(ids())] * 3)
    verdict = judged(NAME, same(ids(*range(PROMPTS - 1))), tmp_path)
    assert (verdict.status, verdict.measured, verdict.at_least) == (Status.FAIL, 0.5625, 1.0)
    assert verdict.message == (
        "same_answers: 12.5% of the answers to 8 prompts equal those of 3 accepted references, the others on "
        "average up to token 2.0; 100% of theirs equal each other: these answers differ by more "
        "than starts do "
        "(mean agreement 0.562 here, 1.000 among them, at least 1.000 expected of one more run; t -7.00 over "
        "the prompts, limit -2.36)"
    )
    assert len(verdict.wrong) == 7
    assert verdict.wrong[1] == Wrong(f"{NAME}/1", "", "from token 2 on: 102 103", "from token 2 on: 152 153")


def test_answers_may_be_text(tmp_path: Path) -> None:
    accepted(tmp_path, *[same(["abcd"] * PROMPTS)] * 3)
    verdict = judged(NAME, same(["abxx"] * PROMPTS), tmp_path)
    assert verdict.status is Status.FAIL
    assert "the others on average up to character 2.0; " in verdict.message
    assert "t -inf over the prompts" in verdict.message
    assert verdict.wrong[0] == Wrong(f"{NAME}/0", "", "from character 2 on: cd", "from character 2 on: xx")


def test_references_that_differ_among_themselves_are_no_reason_to_fail(tmp_path: Path) -> None:
    accepted(tmp_path, same(ids(0, 1)), same(ids(2, 3)), same(ids(4)), same(ids()))
    verdict = judged(NAME, same(ids(5, 6)), tmp_path)
    assert verdict.status is Status.PASS
    assert "equal those of 4 accepted references" in verdict.message
    assert "68.75% of theirs equal each other" in verdict.message


@pytest.mark.parametrize("count", [0, 2])
def test_too_few_references_with_answers(tmp_path: Path, count: int) -> None:
    path = accepted(tmp_path, *[same(ids())] * count)
    assert judged(NAME, same(ids()), tmp_path) == AccuracyVerdict(
        Status.NO_REFERENCE,
        "accuracy[same_answers]",
        f"same_answers: {path}: {count} of {15 + count} accepted references have answers, at least 3 are "
        f"required; {MORE}",
    )


def test_no_references(tmp_path: Path) -> None:
    verdict = judged(NAME, same(ids()), tmp_path)
    assert (verdict.status, verdict.message) == (
        Status.NO_REFERENCE,
        f"same_answers: {tmp_path / 'small.yaml'}: there is no such file, because no references "
        "of small have "
        f"been accepted; 0 recorded runs are waiting to be accepted; {MORE}",
    )


def test_an_edited_file_of_answers_is_refused(tmp_path: Path) -> None:
    path = accepted(tmp_path, *[same(ids())] * 3)
    path.write_text(path.read_text("utf-8").replace("203", "204"), "utf-8")
    verdict = judged(NAME, same(ids()), tmp_path)
    assert verdict.status is Status.NO_REFERENCE
    assert verdict.message.startswith(
        f"same_answers: {path}: does not match its checksum: it was edited by hand"
    )


def test_answers_of_runs_that_are_not_accepted_do_not_count(tmp_path: Path) -> None:
    accepted(tmp_path, *[same(ids())] * 3)
    write(tmp_path, references(17))
    assert "2 of 17 accepted references have answers" in judged(NAME, same(ids()), tmp_path).message


def test_answers_to_other_prompts_or_of_another_model_are_not_compared(tmp_path: Path) -> None:
    path = accepted(tmp_path, *[same(ids())] * 3)
    facts = {**FACTS, "dataset.content": "ef" * 32, "model.content": "01" * 32}
    verdict = judged(NAME, replace(same(ids()[:4]), fingerprint=Fingerprint(facts)), tmp_path)
    assert (verdict.status, verdict.message) == (
        Status.NO_REFERENCE,
        f"same_answers: {path}: the references answered other questions, or another model did: "
        "dataset.content: cdcdcdcdcdcd... in the references, efefefefefef... here; model.content: "
        "abababababab... in the references, 010101010101... here; questions: 8 in the references, 4 here; "
        f"{MORE}",
    )


def test_token_ids_are_not_compared_with_text_of_some_references(tmp_path: Path) -> None:
    accepted(tmp_path, same(ids()), same(ids()), same(["abcd"] * PROMPTS), same(ids()))
    assert "another model did: answers: characters and tokens in the references, tokens here; " in (
        judged(NAME, same(ids()), tmp_path).message
    )


def test_of_a_long_answer_the_beginning_of_the_difference_is_shown(tmp_path: Path) -> None:
    accepted(tmp_path, *[same([tuple(range(20))] * PROMPTS)] * 3)
    verdict = judged(NAME, same([(0, *range(2, 21))] * PROMPTS), tmp_path)
    assert verdict.wrong[0].found == "from token 1 on: 2 3 4 5 6 7 8 9"
    accepted(tmp_path, *[same(["a" * 60] * PROMPTS)] * 3)
    assert judged(NAME, same(["b" * 60] * PROMPTS), tmp_path).wrong[0].found == (
        f"from character 0 on: {'b' * 40}"
    )


def test_references_of_which_no_two_are_equal(tmp_path: Path) -> None:
    other = [[(*answer[:-1], 900 + run) for answer in ids()] for run in range(4)]
    accepted(tmp_path, *map(same, other[:3]))
    verdict = judged(NAME, same(other[3]), tmp_path)
    assert verdict.status is Status.PASS
    assert "; 0% of theirs equal each other: no more different" in verdict.message


def test_text_is_not_compared_with_token_ids(tmp_path: Path) -> None:
    path = accepted(tmp_path, *[same(ids())] * 3)
    assert judged(NAME, same(["abcd"] * PROMPTS), tmp_path).message == (
        f"same_answers: {path}: the references answered other questions, or another model did: "
        "answers: tokens "
        f"in the references, characters here; {MORE}"
    )


def test_one_prompt_without_an_answer_is_invalid(tmp_path: Path) -> None:
    run = same(ids())
    asked = (AskedQuestion(None, None, Answer(f"{NAME}/0", error="HTTP 500")), *run.asked[1:])
    assert judged(NAME, of(asked, {"same_answers": {"prompts": 8}}), tmp_path) == AccuracyVerdict(
        Status.INVALID,
        "accuracy[same_answers]",
        "same_answers: 1 of 8 questions have no answer (all must have one), the first: "
        "same_answers/0: HTTP 500",
    )


def test_a_result_without_answers_is_invalid(tmp_path: Path) -> None:
    verdict = judged(NAME, of((), {"same_answers": {}}), tmp_path)
    assert (verdict.status, verdict.message) == (
        Status.INVALID,
        "same_answers: this result has no answers, because its scenario did not ask for them "
        "when it ran; run "
        "it again",
    )


def test_a_task_is_judged_by_its_share(tmp_path: Path) -> None:
    verdict = judged("sums", task(150, 50, at_least=0.95), tmp_path)
    assert (verdict.status, verdict.measured, verdict.at_least) == (Status.FAIL, 0.75, 0.95)
    assert verdict.message == (
        "sums: 150 of 200 answers are right, 75%: with 99% confidence at most 81.81% are, which is below the "
        "95% required (at_least)"
    )
    assert verdict.wrong[0] == Wrong("sums/150", "3 + 4? (150)", "7", "8")
    assert len(verdict.wrong) == 10


def test_an_answer_that_was_cut_off_is_wrong_and_counted(tmp_path: Path) -> None:
    given = [Answer(f"sums/{n}", text="so 7", cut=n < 12) for n in range(40)]
    given[39] = Answer("sums/39", text="<think>so 7")
    asked = [AskedQuestion("3 + 4?", "7", each) for each in given]
    run = of(asked, {"tasks": [{"name": "sums", "path": "sums.jsonl", "at_least": 0.95}]})
    verdict = judged("sums", run, tmp_path)
    assert (verdict.status, verdict.measured) == (Status.FAIL, 27 / 40)
    assert verdict.message.startswith(
        "sums: 27 of 40 answers are right, 67.5%, 12 cut off at the limit of tokens: with 99% confidence "
    )
    assert verdict.wrong[0] == Wrong("sums/0", "3 + 4?", "7", "cut off")
    (kept,) = recorded(run).values()
    assert (kept.right, kept.answered) == (27, 40)


def test_each_task_has_its_own_share(tmp_path: Path) -> None:
    run = task(150, 50)
    tasks = [
        {"name": name, "path": "a.jsonl", "at_least": share} for name, share in (("a", 0.1), ("sums", 0.9))
    ]
    assert judged("sums", of(run.asked, {"tasks": tasks}), tmp_path).at_least == 0.9


def test_the_first_error_is_said(tmp_path: Path) -> None:
    errors = [Answer(f"sums/{number}", error=why) for number, why in enumerate(("timeout", "HTTP 500"))]
    run = of([AskedQuestion("1 + 1?", "2", each) for each in errors], {"tasks": [{"name": "sums"}]})
    assert judged("sums", run, tmp_path).message.endswith(", the first: sums/0: timeout")


def test_a_preset_is_named_with_its_source(tmp_path: Path) -> None:
    verdict = judged("sums", task(200, 0, at_least="trtllm-gsm8k-fp8"), tmp_path)
    assert verdict.status is Status.PASS
    source = PRESETS["trtllm-gsm8k-fp8"].source
    assert f"95.38% required (trtllm-gsm8k-fp8: {source})" in verdict.message


def test_a_task_without_a_share_is_compared_with_the_references(tmp_path: Path) -> None:
    accepted(tmp_path, task(190, 10), task(194, 6))
    verdict = judged("sums", task(150, 50), tmp_path)
    assert (verdict.status, verdict.bound) == (Status.FAIL, upper_bound(150, 200))
    assert "below the 89% required (384 of 400 answers in 2 accepted references, and this run's)" in (
        verdict.message
    )
    assert judged("sums", task(188, 12), tmp_path).status is Status.PASS
    accepted(tmp_path, task(190, 10))
    source = "(190 of 200 answers in 1 accepted reference, and this run's)"
    assert source in judged("sums", task(188, 12), tmp_path).message


def test_a_task_without_a_share_and_without_references_is_measured(tmp_path: Path) -> None:
    accepted(tmp_path)
    assert judged("sums", task(190, 9, without=1), tmp_path) == AccuracyVerdict(
        Status.MEASURED,
        "accuracy[sums]",
        "sums: 190 of 199 answers are right, 95.48%, 1 without an answer; nothing to judge: at_least is not "
        "set, and no accepted reference has answers to these questions",
        measured=190 / 199,
        wrong=tuple(Wrong(f"sums/{n}", f"3 + 4? ({n})", "7", "8") for n in range(190, 199)),
    )
    assert len(judged("sums", task(100, 100), tmp_path).wrong) == 10


def test_a_gate_needs_references_for_a_task_without_a_share(tmp_path: Path) -> None:
    path = accepted(tmp_path)
    assert judged("sums", task(190, 10), tmp_path, gated=True) == AccuracyVerdict(
        Status.NO_REFERENCE,
        "accuracy[sums]",
        f"sums: 190 of 200 answers are right, 95%; {path}: 0 of 15 accepted references have answers, at "
        f"least 1 are required; {MORE}",
        measured=0.95,
        wrong=tuple(Wrong(f"sums/{n}", f"3 + 4? ({n})", "7", "8") for n in range(190, 200)),
    )


def test_references_that_cannot_be_trusted_are_said_without_a_gate(tmp_path: Path) -> None:
    path = accepted(tmp_path, task(190, 10))
    path.write_text(path.read_text("utf-8").replace("190", "191"), "utf-8")
    verdict = judged("sums", task(190, 10), tmp_path)
    assert verdict.status is Status.NO_REFERENCE
    assert verdict.message.startswith(
        f"sums: 190 of 200 answers are right, 95%; {path}: does not match its checksum: "
    )


def test_a_task_with_other_questions_is_not_compared(tmp_path: Path) -> None:
    accepted(tmp_path, task(190, 10))
    verdict = judged("sums", task(100, 0), tmp_path, gated=True)
    assert verdict.status is Status.NO_REFERENCE
    assert "questions: 200 in the references, 100 here; questions.content: " in verdict.message
    assert judged("sums", task(100, 0), tmp_path).status is Status.MEASURED


def test_too_many_unanswered_questions_of_a_task_are_invalid(tmp_path: Path) -> None:
    assert judged("sums", task(196, 1, without=3, at_least=0.5), tmp_path).status is Status.INVALID
    assert judged("sums", task(196, 2, without=2, at_least=0.5), tmp_path).status is Status.PASS


def test_a_task_needs_text(tmp_path: Path) -> None:
    asked = [AskedQuestion("3 + 4?", "7", Answer("sums/0", tokens=(7,)))]
    run = of(asked, {"tasks": [{"name": "sums", "path": "sums.jsonl", "at_least": 0.5}]})
    assert judged("sums", run, tmp_path).message == (
        "sums: 1 of 1 questions have no answer (at most 1% may have none), the first: sums/0: the engine "
        "returned no text"
    )


def test_a_recorded_run_keeps_its_answers() -> None:
    assert recorded(same(ids())) == {
        NAME: RecordedAnswers(
            {
                "model.content": "ab" * 32,
                "chat_template": False,
                "questions": 8,
                "dataset.content": "cd" * 32,
                "output_tokens": 4,
            },
            tuple(ids()),
        )
    }
    (marks,) = recorded(task(190, 9, without=1)).values()
    assert (marks.right, marks.answered, marks.answers) == (190, 199, ())
    assert marks.basis["max_output_tokens"] == 16_384


def test_a_test_without_enough_answers_is_not_recorded() -> None:
    assert recorded(task(190, 5, without=5)) == {}


def test_a_run_that_is_recorded_is_not_compared() -> None:
    assert only_recorded(NAME, same(ids())) == AccuracyVerdict(
        Status.MEASURED,
        "accuracy[same_answers]",
        "same_answers: 8 answers; nothing to judge, because the run may become a reference",
    )
    assert only_recorded("sums", task(190, 10)) == AccuracyVerdict(
        Status.MEASURED,
        "accuracy[sums]",
        "sums: 190 of 200 answers are right, 95%; nothing to judge, because the run may become a reference",
        measured=0.95,
    )
    assert only_recorded("sums", task(190, 10, at_least=0.9)) is None
    assert only_recorded("sums", task(1, 0, without=9)) is None


def test_what_is_said_about_the_answers_of_references(tmp_path: Path) -> None:
    accepted(tmp_path, same(ids(0)), same(ids()), same(ids()))
    assert about(references(18), tmp_path) == [
        "same_answers: 3 of 18 runs have answers to 8 prompts, 91.67% of these equal each other"
    ]
    accepted(tmp_path, task(190, 10))
    assert about(references(16), tmp_path) == [
        "sums: 1 of 16 runs have answers, 95% of these right (190 of 200)"
    ]
    assert about(references(15), tmp_path) == []
    accepted(tmp_path, same(ids()))
    assert about(references(16), tmp_path) == ["same_answers: 1 of 16 runs have answers to 8 prompts"]
    kept = references(16).runs[15].recording
    gone = RecordedAnswers({}, right=1, answered=1)
    reference_answers.write(tmp_path, "small", {"a": {"gone": gone}, "b": {kept: gone}})
    assert about(references(16), tmp_path) == ["b: 1 of 16 runs have answers, 100% of these right (1 of 1)"]
