from __future__ import annotations

import subprocess
import sys
from functools import cache

import numpy as np
import pytest
from scipy.stats import beta, binom

from pytest_dsr1.verdict.accuracy import (
    AccuracyVerdict,
    Marks,
    Wrong,
    at_most,
    judge_task,
    pooled,
    unanswered,
    upper_bound,
)
from pytest_dsr1.verdict.verdict import Status

COUNTS = [(0, 1), (0, 200), (1, 200), (100, 200), (150, 200), (199, 200), (1200, 1319), (9000, 12000)]


@cache
def wrong(count: int) -> tuple[Wrong, ...]:
    return tuple(Wrong(f"questions/{i}", "", "1", "2") for i in range(count))


@cache
def bounds_of_200() -> list[float]:
    return [upper_bound(right, 200) for right in range(201)]


@pytest.mark.parametrize(("right", "answered"), COUNTS)
def test_the_bound_is_that_of_clopper_and_pearson(right: int, answered: int) -> None:
    expected = beta.ppf(0.99, right + 1, answered - right)
    assert upper_bound(right, answered) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("right", "answered"), COUNTS)
@pytest.mark.parametrize("share", [0.01, 0.5, 0.9, 0.9999])
def test_the_probability_is_the_sum_of_the_binomial_distribution(
    right: int, answered: int, share: float
) -> None:
    assert at_most(right, answered, share) == pytest.approx(binom.cdf(right, answered, share), abs=1e-9)


def test_all_right_has_the_bound_1() -> None:
    assert upper_bound(200, 200) == at_most(200, 200, 0.5) == 1.0


def test_a_bound_as_high_as_required_passes() -> None:
    assert judge_task("t", Marks(5), 1.0, "x").status is Status.PASS


def test_numbers_are_shares_or_agreements() -> None:
    task, same = (AccuracyVerdict(Status.PASS, f"accuracy[{name}]", "") for name in ("t", "same_answers"))
    assert (task.compares, task.shown(0.955), task.shown(None)) == (False, "95.5%", "")
    assert (same.compares, same.shown(0.955), same.shown(None)) == (True, "agreement 0.955", "")


def test_too_few_right_answers_are_a_fail() -> None:
    verdict = judge_task("questions", Marks(200, wrong(50)), 0.9538, "preset gsm8k-fp8")
    assert verdict == AccuracyVerdict(
        Status.FAIL,
        "accuracy[questions]",
        "questions: 150 of 200 answers are right, 75%: with 99% confidence at most 81.81% are, which is "
        "below the 95.38% required (preset gsm8k-fp8)",
        measured=0.75,
        at_least=0.9538,
        bound=upper_bound(150, 200),
        wrong=wrong(10),
    )


def test_a_share_that_may_be_chance_passes() -> None:
    verdict = judge_task("questions", Marks(200, wrong(14)), 0.9538, "accuracy.tasks.0.at_least")
    assert (verdict.status, verdict.message) == (
        Status.PASS,
        "questions: 186 of 200 answers are right, 93%; this does not show a share below the 95.38% required "
        "(accuracy.tasks.0.at_least): with 99% confidence up to 96.55% are",
    )


def test_the_verdict_changes_where_the_bound_does() -> None:
    statuses = [judge_task("t", Marks(200, wrong(count)), 0.9538, "x").status for count in range(201)]
    first = statuses.index(Status.FAIL)
    assert upper_bound(200 - first, 200) < 0.9538 <= upper_bound(201 - first, 200)
    assert set(statuses[first:]) == {Status.FAIL}


@pytest.mark.parametrize("share", [0.8, 0.95, 0.99, 0.999, 1.0])
@pytest.mark.parametrize("references", [1, 3, 15])
def test_a_run_like_its_references_fails_in_less_than_1_of_100(share: float, references: int) -> None:
    random = np.random.default_rng(3)
    own, theirs = random.binomial(200, share, 5000), random.binomial(200 * references, share, 5000)
    bounds = bounds_of_200()
    required = [
        pooled(Marks(200, wrong(200 - int(right))), int(of_references), 200 * references)
        for right, of_references in zip(own, theirs, strict=True)
    ]
    assert np.mean([bounds[int(right)] < least for right, least in zip(own, required, strict=True)]) < 0.01


def test_the_share_of_a_run_and_its_references_is_that_of_all_answers() -> None:
    assert pooled(Marks(200, wrong(49), 1), 1900, 2000) == 2050 / 2199


def test_an_unanswered_question_is_not_a_wrong_answer() -> None:
    verdict = judge_task("t", Marks(200, wrong(8), 2, "timeout"), 0.95, "x")
    assert verdict.status is Status.PASS
    assert verdict.message.startswith("t: 190 of 198 answers are right, 95.96%, 2 without an answer; ")


def test_answers_that_were_cut_off_are_counted() -> None:
    verdict = judge_task("t", Marks(200, wrong(8), 2, "timeout", cut=3), 0.95, "x")
    assert verdict.message.startswith(
        "t: 190 of 198 answers are right, 95.96%, 3 cut off at the limit of tokens, 2 without an answer; "
    )


@pytest.mark.parametrize(
    ("marks", "most", "message"),
    [
        (
            Marks(200, (), 3, "timeout"),
            0.01,
            "t: 3 of 200 questions have no answer (at most 1% may have none), the first: timeout",
        ),
        (
            Marks(32, (), 1, "HTTP 500"),
            0,
            "t: 1 of 32 questions have no answer (all must have one), the first: HTTP 500",
        ),
        (
            Marks(1, (), 1, "gone"),
            1.0,
            "t: 1 of 1 questions have no answer (at most 100% may have none), the first: gone",
        ),
    ],
)
def test_too_many_unanswered_questions_are_invalid(marks: Marks, most: float, message: str) -> None:
    assert unanswered("t", marks, most) == AccuracyVerdict(Status.INVALID, "accuracy[t]", message)


def test_a_task_with_too_many_unanswered_questions_is_not_judged() -> None:
    assert judge_task("t", Marks(10, (), 1, "gone"), 0.5, "x").status is Status.INVALID


def test_a_task_is_judged_without_scipy() -> None:
    code = (
        "import sys; from pytest_dsr1.verdict.accuracy import Marks, judge_task; "
        "judge_task('t', Marks(9), 0.5, 'x'); print(*(name for name in sys.modules if name == 'scipy'))"
    )
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert found.stdout.strip() == ""
