r"""The rule for right answers: thoughts, boxes, numbers and lines."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_dsr1.workload.scoring import answer_in, as_number, is_right


@pytest.mark.parametrize(
    ("text", "expected", "found"),
    [
        ("The answer is 18.", "18", "18"),
        ("She pays $18.00.", "18", "18.00"),
        ("He has 12 left, after giving 5 away: **1,018**", "1018", "1018"),
        (r"so $\boxed{\$1{,}018}$ dollars, in step 4", "1018", "1018"),
        (r"\boxed{3} no, \boxed{x = 1\,000 \text{ apples}} of 7", "1000", "1000"),
        (r"\boxed{\boxed{5}} and \boxed{6", "5", "5"),
        ("<think>maybe \\boxed{9} or 9</think>\nIt is 7", "7", "7"),
        ("<think>a</think>3<think>9</think>4", "4", "4"),
        ("minus: -5", "-5", "-5"),
        ("the debt is -$5", "-5", "-5"),
        ("the debt is $\u22125", "-5", "-5"),
        ("- 5 apples", "5", "5"),
        ("10 - 5 = 5, so 10-5", "5", "5"),
        ("25%", "25 %", "25"),
        ("about .5 of it", "0.5", "0.5"),
        ("H2O at 3rd try", "3", "3"),
        ("The capital is\n  Paris  \n\n", "PARIS", "Paris"),
        (r"It is \boxed{ Paris } in the end", "paris", "Paris"),
        ("72\n", " 72 ", "72"),
        (r"\boxed{72 \text{ dollars on day 3}}", "72", "72"),
        (r"\boxed{72 \text{ m}^2}", "72", "72"),
        (r"so $\boxed{72\,\mathrm{cm}^{3}}$", "72", "72"),
        (r"\boxed{\text{72 dollars}}", "72", "72"),
        (r"2^3 = 8", "8", "8"),
    ],
)
def test_right_answers(text: str, expected: str, found: str) -> None:
    assert answer_in(text, expected) == found
    assert is_right(text, expected)


@pytest.mark.parametrize(
    ("text", "expected", "found"),
    [
        ("", "18", ""),
        ("no number", "18", ""),
        ("18 or 19", "18", "19"),
        (r"\boxed{none}, so 18", "18", ""),
        ("18</think>", "18", ""),
        ("<think>maybe 12, no 42", "42", ""),
        ("\n<think>\nmaybe \\boxed{42}", "42", ""),
        ("<think>6</think>7 <think>or 42", "42", ""),
        ("<think>C", "C", ""),
        (r"\boxed{\text{day 3}}", "72", "3"),
        ("5", "-5", "5"),
        ("1,234", "1", "1234"),
        ("Paris is it", "Paris", "Paris is it"),
        ("", "Paris", ""),
        (r"\boxed{} Paris", "Paris", ""),
    ],
)
def test_wrong_answers(text: str, expected: str, found: str) -> None:
    assert answer_in(text, expected) == found
    assert not is_right(text, expected)


@pytest.mark.parametrize(
    "text",
    [
        "(C)",
        "**C**",
        "Answer: C",
        "The final answer is (C).",
        r"\boxed{\text{C}}",
        "so\n\n**Answer: (C)**\n",
        "c.",
        "The correct option is **C**.",
        "Therefore, the correct choice is option C.",
        "The best answer must be (C).",
        "C) 12 meters",
        "(C) 12 meters",
        "**C.** A current of 12 A",
        "The answer is C: 12 meters",
        "Answer: **C) 12 meters**",
        r"\boxed{C) 12 \text{ meters}}",
        r"$\boxed{\text{C}}$",
        "C) f(x) is 2",
    ],
)
def test_what_is_around_a_letter_does_not_matter(text: str) -> None:
    assert is_right(text, "C")
    assert not is_right(text, "D")


@pytest.mark.parametrize(
    "text",
    [
        "C or D",
        "AC",
        "not C",
        "(C) or (D)",
        "C) or D)",
        "C. D. and E. are",
        "The answer is not C",
        "It isn't option C.",
        "The answer is C or D",
        "at 5 C",
        "Vitamin C",
        "C is right, and so is",
        "<think>The answer is C",
    ],
)
def test_a_letter_among_other_words_is_no_answer(text: str) -> None:
    assert not is_right(text, "C")


def test_words_are_compared_as_a_whole() -> None:
    assert not is_right("The capital is Paris", "Paris")
    assert not is_right("C) 12 meters", "D) 12 meters")


def test_only_a_whole_number_is_one() -> None:
    assert as_number(" $1,234.50. ") == Decimal("1234.5")
    assert as_number("-7%") == -7
    assert [as_number(text) for text in ("7 apples", "1/2", "", "x7", "1e5", "7,8")] == [None] * 6


def test_a_model_that_repeats_itself_costs_no_time() -> None:
    assert answer_in(r"\boxed{" * 100_000, "7") == ""
    assert answer_in("1,111" * 100_000, "7") != ""


SAFE = st.text(
    st.characters(exclude_categories=["Cs", "N"], exclude_characters="{}\\-\u2212.,$\u20ac\u00a3\u00a5")
)


@given(st.integers(-(10**20), 10**20), SAFE, SAFE, st.sampled_from(["", "$", "\u20ac"]))
def test_a_number_is_found_however_it_is_written(number: int, before: str, after: str, sign: str) -> None:
    minus = "-" if number < 0 else ""
    for shown in (
        f"{minus}{sign}{abs(number)}",
        f"{minus}{sign}{abs(number):,}",
        f"{minus}{sign}{abs(number)}.00",
    ):
        assert is_right(f"{before} {shown} {after}", str(number))
        assert is_right(f"1 2 {before}\\boxed{{{shown}}}{after} 3", f"{number:,}")
        assert not is_right(f"{before} {shown} {after}", str(number + 1))


@given(st.text(), st.text())
def test_any_text_is_judged(text: str, expected: str) -> None:
    found = answer_in(text, expected)
    if as_number(expected) is not None:
        assert is_right(text, expected) == (bool(found) and as_number(found) == as_number(expected))
    elif found.casefold() == expected.strip().casefold():
        assert is_right(text, expected)


@given(st.text().filter(lambda text: text.strip() and as_number(text) is None and "</think>" not in text))
def test_thoughts_and_case_do_not_matter(answer: str) -> None:
    line = (answer.splitlines() or [""])[0].strip()
    if line and "\\boxed{" not in line and as_number(line) is None:
        assert is_right(f"thoughts about 7</think>first\n{line.upper()}\n", line.upper())
