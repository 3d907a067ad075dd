"""Exit statuses and their precedence."""

from __future__ import annotations

import pytest

from pytest_dsr1.verdict.verdict import Status, exit_status, saved_key, subject_of, worst


@pytest.mark.parametrize(
    ("words", "status"),
    [
        ([Status.PASS], None),
        ([], None),
        ([Status.PASS, Status.FAIL, Status.INVALID], 1),
        ([Status.INVALID, Status.NO_REFERENCE, Status.INCONCLUSIVE], 10),
        ([Status.INCONCLUSIVE, Status.NOT_COMPARABLE], 11),
        ([Status.NO_REFERENCE], 11),
        ([Status.INCONCLUSIVE, Status.PASS], 12),
    ],
)
def test_the_most_important_word_decides(words: list[Status], status: int | None) -> None:
    assert exit_status(words) == status


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([Status.PASS, Status.FAIL, Status.INVALID], Status.FAIL),
        ([Status.MEASURED, Status.PASS], Status.PASS),
        ([], None),
    ],
)
def test_the_worst_status(words: list[Status], expected: Status | None) -> None:
    assert worst(words) is expected


def test_the_subject_is_the_test_as_in_its_id() -> None:
    assert subject_of("target", "average_ttft") == "target[average_ttft]"
    assert subject_of("regression", None) == "regression"


def test_a_saved_verdict_keeps_the_key_that_it_has_had_from_the_start() -> None:
    assert [saved_key(field) for field in ("status", "subject")] == ["word", "subject"]
