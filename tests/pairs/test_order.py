"""Which side starts first in each pair."""

from __future__ import annotations

from datetime import datetime, timezone
from itertools import chain

from pytest_dsr1.pairs.order import Side, seed_of, sides


def starts(seed: int, pairs: int) -> str:
    """The order as letters: A is the old side."""
    each = chain.from_iterable(sides(seed, pair) for pair in range(pairs))
    return "".join("A" if side is Side.OLD else "B" for side in each)


def test_four_starts_are_abba_or_baab() -> None:
    for seed in range(20):
        whole = starts(seed, 24)
        assert {whole[i : i + 4] for i in range(0, 48, 4)} == {"ABBA", "BAAB"}


def test_a_linear_drift_falls_out_of_an_even_number_of_pairs() -> None:
    for seed in range(20):
        for pairs in range(2, 25, 2):
            whole = starts(seed, pairs)
            assert whole[::2].count("A") == pairs // 2
            old, new = (sum(i for i, each in enumerate(whole) if each == side) for side in "AB")
            assert old == new


def test_the_order_is_drawn_by_the_seed_and_never_changes() -> None:
    """The SHA-256 of `0 0` begins with 0x93, that of `0 1` with 0x5c: odd bytes begin with the new side."""
    assert starts(0, 4) == "BAABABBA"
    drawn = [starts(seed, 24) for seed in range(50)]
    assert len(set(drawn)) >= 45  # of 4,096
    abba = sum(whole[i : i + 4] == "ABBA" for whole in drawn for i in range(0, 48, 4))
    assert 240 <= abba <= 360  # of 600: five standard deviations around half


def test_the_old_side_is_first_whenever_the_comparison_began() -> None:
    begins = [datetime(2026, 11, 30, 14, 15, 46, each, timezone.utc) for each in range(64)]
    seeds = [seed_of(each) for each in begins]
    assert {sides(seed, 0)[0] for seed in seeds} == {Side.OLD}
    assert seeds == [seed_of(each) for each in begins]
    assert {sides(seed, 2)[0] for seed in seeds} == {*Side}, "later pairs are drawn"
