from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_dsr1.gate.accuracy.same_answers import Decision, agreement, agreements, decide, same_from_start

if TYPE_CHECKING:
    from pytest_dsr1.arrays import Floats


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ((1, 2, 3, 4), (1, 2, 9, 4), 0.5),
        ((1, 2), (1, 2, 3, 4), 0.5),
        ((1, 2), (1, 2), 1.0),
        ((), (), 1.0),
        ((), (1,), 0.0),
        ("abcd", "abxd", 0.5),
        ("", "", 1.0),
    ],
)
def test_agreement_is_the_common_prefix_as_a_share_of_the_longer_answer(
    one: tuple[int, ...] | str, other: tuple[int, ...] | str, expected: float
) -> None:
    assert agreement(one, other) == agreement(other, one) == expected


TOKENS = st.lists(st.integers(0, 2), max_size=6).map(tuple)


@given(TOKENS, TOKENS)
def test_the_common_prefix_is_the_longest(one: tuple[int, ...], other: tuple[int, ...]) -> None:
    same = same_from_start(one, other)
    assert one[:same] == other[:same]
    assert one[same : same + 1] != other[same : same + 1] or one[same:] == other[same:] == ()


def test_each_run_is_compared_with_each_other_on_each_prompt() -> None:
    found = agreements([["ab", "cd"], ["ab", "cx"], ["xb", "cd"]])
    assert found.tolist() == [
        [[1, 1], [1, 0.5], [0, 1]],
        [[1, 0.5], [1, 1], [0, 0.5]],
        [[0, 1], [0, 0.5], [1, 1]],
    ]


def test_equal_answers_do_not_differ() -> None:
    decision = decide(np.ones((4, 4, 8)))
    assert decision == Decision(1.0, 1.0, 1.0, 0.0, decision.t_limit)
    assert abs(decision.t_limit + 2.3646) < 1e-4  # t(0.975, 7) in every table
    assert not decision.differ


def test_answers_that_differ_alike_on_every_prompt_differ() -> None:
    found = np.ones((4, 4, 8))
    found[0, 1:] = found[1:, 0] = 0.25
    decision = decide(found)
    assert decision == Decision(0.25, 1.0, 1.0, -math.inf, decision.t_limit)
    assert decision.differ


def test_one_other_answer_is_not_enough() -> None:
    found = np.ones((4, 4, 8))
    found[0, 1:, 3] = found[1:, 0, 3] = 0.0
    decision = decide(found)
    assert decision.mean == 0.875
    assert decision.t == pytest.approx(-1.0)
    assert not decision.differ


def test_the_limit_over_runs_is_that_of_one_more_run() -> None:
    # Each of the three references agrees with the others by 0.8, 0.8 and 0.6 on average.
    found = np.ones((4, 4, 2))
    for i, j, value in ((1, 2, 1.0), (1, 3, 0.6), (2, 3, 0.6)):
        found[i, j] = found[j, i] = value
    found[0, 1:] = found[1:, 0] = 0.1
    decision = decide(found)
    spread = np.std([0.8, 0.8, 0.6], ddof=1)
    assert decision.among_references == pytest.approx(2.2 / 3)
    # 9.9248 is t(0.995, 2) in every table.
    assert decision.least == pytest.approx(2.2 / 3 - 9.9248 * spread * math.sqrt(4 / 3), abs=1e-5)
    assert decision.t == -math.inf
    assert not decision.differ, "so few, so different references rule nothing out"


def test_the_candidate_is_compared_with_every_reference() -> None:
    found = np.ones((4, 4, 2))
    found[0, 1] = found[1, 0] = 0.4
    assert decide(found).mean == pytest.approx(0.8)


# The truth of the simulations: each prompt has one near tie, somewhere in its answer, that a start decides
# otherwise with a probability of its own. A changed model differs on some prompts, from somewhere on.


def simulated(
    seed: int, *, references: int, prompts: int, ties: float | None, changed: float = 0.0, starts: int = 400
) -> float:
    """Return the share of simulated candidates that FAIL.

    Args:
        seed: of the random numbers.
        references: the number of reference runs.
        prompts: in each run.
        ties: the probability that a start decides a near tie otherwise; None for one per prompt, from
            Beta(0.3, 1.5).
        changed: the probability that a prompt's answer is another one.
        starts: the number of candidates, each with references of its own.
    """
    random = np.random.default_rng(seed)
    return float(
        np.mean([decide(_truth(random, references, prompts, ties, changed)).differ for _ in range(starts)])
    )


def _truth(
    random: np.random.Generator, references: int, prompts: int, ties: float | None, changed: float
) -> Floats:
    place = random.random(prompts)
    likely = random.beta(0.3, 1.5, prompts) if ties is None else np.full(prompts, ties)
    variant = random.random((references + 1, prompts)) < likely
    found: Floats = np.where(variant[:, None] == variant[None], 1.0, place)
    other = random.random(prompts) < changed
    found[0, 1:] = np.where(other, np.minimum(found[0, 1:], random.random(prompts)), found[0, 1:])
    found[1:, 0] = found[0, 1:]
    return found


@pytest.mark.parametrize("ties", [0.0, 0.1, 0.5, None])
@pytest.mark.parametrize(("references", "prompts"), [(3, 32), (10, 32), (15, 64)])
def test_a_start_like_the_references_fails_in_less_than_1_of_100(
    references: int, prompts: int, ties: float | None
) -> None:
    assert simulated(7, references=references, prompts=prompts, ties=ties, starts=1000) <= 0.01


@pytest.mark.parametrize(
    ("references", "prompts", "ties", "changed", "least"),
    [
        (3, 32, 0.0, 1.0, 0.999),
        (3, 32, 0.0, 0.5, 0.95),
        (10, 32, 0.0, 0.3, 0.95),
        (10, 64, 0.0, 0.2, 0.95),
        (10, 32, None, 0.5, 0.95),
        (10, 64, None, 0.3, 0.95),
        (10, 64, 0.5, 0.5, 0.95),
    ],
)
def test_a_changed_model_is_found(
    references: int, prompts: int, ties: float | None, changed: float, least: float
) -> None:
    assert simulated(8, references=references, prompts=prompts, ties=ties, changed=changed) >= least
