"""One rule between the values of a scenario."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

Findings = Iterator[tuple[str, str]]
"""Each a dotted key and what is wrong with its value."""


@dataclass(frozen=True, slots=True)
class Relation:
    """One rule.

    Attributes:
        keys: the dotted keys it reads; it says nothing where one of them is a mistake itself.
        impossible: whether breaking it is a mistake (else a warning).
        rule: the rule as a sentence.
        check: finds what breaks it in a scenario.
    """

    keys: tuple[str, ...]
    impossible: bool
    rule: str
    check: Callable[[Any], Findings]
