"""The rules that benchmarks/gating sets beside the gate, against numbers that their own code gave."""

from __future__ import annotations

import numpy as np
import pytest
from pytest_benchmark.utils import parse_compare_fail

from benchmarks.gating.rules import TRTLLM_DAYS, compare_fail, trtllm, trtllm_baseline, welch

STEADY = np.full((1, 3), 100.0)


def fails(history: np.ndarray, candidate: float, limit: float) -> bool:
    return bool(trtllm(history, np.array([candidate]), limit)[0])


def test_trtllm_smooths_three_days_and_takes_their_95th_percentile() -> None:
    assert trtllm_baseline(STEADY) == pytest.approx(100.0)
    assert trtllm_baseline(np.array([100.0, 100.0, 100.0, 200.0])) == pytest.approx(128.33, abs=0.01)
    assert trtllm_baseline(np.array([[100.0], [90.0]])) == pytest.approx([100.0, 90.0])


@pytest.mark.parametrize(
    ("candidate", "post_merge", "pre_merge"),
    [
        (200.0, False, False),
        (95.1, False, False),
        (94.9, True, False),
        (90.1, True, False),
        (88.0, True, True),
    ],
)
def test_trtllm_flags_what_is_below_the_limit(candidate: float, post_merge: bool, pre_merge: bool) -> None:
    assert fails(STEADY, candidate, 0.05) is post_merge
    assert fails(STEADY, candidate, 0.10) is pre_merge


def test_trtllm_forgets_a_step_of_12_percent_after_85_days() -> None:
    """By hand: five days from before it leave a bar of 96 + 0.55 * 4 = 98.2, four 92 + 0.55 * 4 = 94.2."""
    days = np.full((1, 3 * TRTLLM_DAYS), 100.0)
    days[:, -TRTLLM_DAYS:] = 88.0

    def history(since: int) -> np.ndarray:
        return days[:, since : 2 * TRTLLM_DAYS + since]

    assert trtllm_baseline(history(85)[:, -TRTLLM_DAYS:]) == pytest.approx(98.2)
    assert trtllm_baseline(history(86)[:, -TRTLLM_DAYS:]) == pytest.approx(94.2)
    alarms = [fails(history(since), 88.0, 0.10) for since in range(TRTLLM_DAYS)]
    assert alarms == [True] * 86 + [False] * 4


def test_pytest_benchmark_is_asked_itself() -> None:
    check = parse_compare_fail("mean:5%")  # type: ignore[no-untyped-call]
    stored = np.array([1.0, 2.0, 0.1, 0.3])
    current = stored * np.array([0.5, 1.04, 1.06, 1.2])
    own = [bool(check.fails({"mean": c}, {"mean": s})) for c, s in zip(current, stored, strict=True)]
    assert compare_fail(current, stored, 5).tolist() == own == [False, False, True, True]


def test_welch_looks_at_one_side() -> None:
    stored = np.array([100.0, 101.0, 99.0, 100.5, 99.5])
    assert welch(np.stack([stored - 5, stored, stored + 5]), stored[None]).tolist() == [True, False, False]
