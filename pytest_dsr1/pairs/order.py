"""The order of the two sides: in turn, seeded, and balanced."""

from __future__ import annotations

import hashlib
from datetime import datetime
from enum import Enum


class Side(str, Enum):
    """A side of the comparison: the old or the new software."""

    OLD = "old"
    NEW = "new"

    @property
    def other(self) -> Side:
        """The other side."""
        return Side.NEW if self is Side.OLD else Side.OLD


def sides(seed: int, pair: int) -> tuple[Side, Side]:
    """Return which side starts first in a pair, and which second.

    Every second pair, from the first on, draws its order; the pair after it has the opposite order. So four
    starts are ABBA or BAAB, where a linear drift has the same sum on both sides, and after an even number of
    pairs each side was first equally often. The same seed draws the same orders everywhere: a digest is the
    same for each version of Python and numpy.

    Args:
        seed: of the order.
        pair: its number, from 0.
    """
    block = hashlib.sha256(f"{seed} {pair // 2}".encode()).digest()
    first = Side.NEW if (block[0] + pair) % 2 else Side.OLD
    return first, first.other


def seed_of(began: datetime) -> int:
    """Return the seed of a comparison that began then, with the old side first.

    The first run of the old side may be the one that other tests judge, which is before all others. The order
    of the pair after it follows from the first; those after them are drawn.
    """
    seed = int(began.strftime("%Y%m%d%H%M%S%f"))
    while sides(seed, 0)[0] is not Side.OLD:
        seed += 1
    return seed
