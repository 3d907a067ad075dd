"""One rule between the values of a scenario."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

Findings = Iterator[tuple[str, str]]
"""Pairs of a dotted key and a sentence about the fault of its value."""


@dataclass(frozen=True, slots=True)
class Relation:
    """One rule.

    Attributes:
        keys: the dotted keys it reads; the rule is skipped if one of them is a mistake itself.
        impossible: whether breaking it is a mistake; otherwise it is a warning.
        rule: the rule as a sentence.
        check: yields the key and a sentence for each breach in a scenario.
    """

    keys: tuple[str, ...]
    impossible: bool
    rule: str
    check: Callable[[Any], Findings]
