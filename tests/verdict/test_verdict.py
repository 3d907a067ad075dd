"""Exit statuses and their precedence."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from pytest_dsr1.verdict.verdict import Status, Verdict, exit_status, saved_key, subject_of, worst


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


@pytest.mark.parametrize(
    ("changes", "figures"),
    [
        ({}, "10.8 < 71.25 tok/s/user"),
        ({"status": Status.PASS}, ""),
        ({"measured": None}, ""),
        ({"measured": 72.0}, ""),
        ({"metric": "average_ttft", "measured": 120.0}, "120 > 71.25 ms"),
    ],
)
def test_a_miss_in_short(changes: dict[str, Any], figures: str) -> None:
    made = Verdict(
        status=Status.FAIL,
        subject="target[per_user_output_throughput]",
        metric="per_user_output_throughput",
        measured=10.8,
        target=75.0,
        bound=71.25,
        margin_percent=-85.6,
        message="it is slow",
    )
    assert replace(made, **changes).figures == figures
