from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_dsr1.process import line_budget as module
from pytest_dsr1.process.line_budget import LineBudget


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RATE", 10)
    monkeypatch.setattr(module, "BURST", 100)
    monkeypatch.setattr(module, "TAIL", 20)


def test_a_slow_log_is_searched_whole() -> None:
    budget = LineBudget(0.0)
    assert all(budget.take(b"ten bytes\n", float(second)) == b"ten bytes\n" for second in range(100))
    assert (budget.rest(), budget.skipped) == (b"", 0)


def test_of_a_flood_the_start_and_the_end_are_searched() -> None:
    budget = LineBudget(0.0)
    pieces = [f"line {number:04}\n".encode() for number in range(100)]
    searched = b"".join(budget.take(piece, 0.0) for piece in pieces) + budget.rest()
    assert searched.startswith(b"".join(pieces[:11]))
    assert searched.endswith(b"\nline 0099\n")
    assert budget.skipped == 1000 - len(searched) + 1  # the line break before the end


def test_in_a_long_flood_every_part_has_its_turn() -> None:
    budget = LineBudget(0.0)
    searched = [budget.take(f"line {n:04}\n".encode(), n / 10) for n in range(1000)]
    seconds = {n // 100 for n, piece in enumerate(searched) if piece}
    assert seconds == set(range(10))
    assert 0 < budget.skipped < 10_000


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=60), st.floats(0, 5)), max_size=40))
def test_every_byte_is_searched_or_counted(pieces: list[tuple[bytes, float]]) -> None:
    budget, now_s, total, searched, parts = LineBudget(0.0), 0.0, 0, 0, 0
    for data, pause_s in pieces:
        now_s += pause_s
        total += len(data)
        before = budget.skipped
        found = budget.take(data, now_s)
        searched += len(found)
        parts += budget.skipped > before
    searched += len(budget.rest())
    assert total <= searched + budget.skipped <= total + parts + 1
