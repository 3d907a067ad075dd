"""How rules between the values of a scenario are declared and listed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pytest_dsr1.scenario.schema.scenario import Scenario

Findings = Iterator[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Relation:
    """One rule.

    Attributes:
        keys: the dotted keys it reads; it says nothing where one of them is a mistake itself.
        impossible: whether breaking it is a mistake (else a warning).
        rule: the rule as a sentence.
        check: finds what breaks it.
    """

    keys: tuple[str, ...]
    impossible: bool
    rule: str
    check: Callable[[Scenario], Findings]


RELATIONS: list[Relation] = []
"""Every rule, in the order in which the reference page lists them."""

_Check = Callable[[Scenario], Findings]


def _relation(*keys: str, impossible: bool) -> Callable[[_Check], _Check]:
    def register(check: _Check) -> _Check:
        RELATIONS.append(Relation(keys, impossible, " ".join((check.__doc__ or "").split()), check))
        return check

    return register


def must(*keys: str) -> Callable[[_Check], _Check]:
    """A rule whose breaking is a mistake."""
    return _relation(*keys, impossible=True)


def should(*keys: str) -> Callable[[_Check], _Check]:
    """A rule whose breaking is a warning."""
    return _relation(*keys, impossible=False)
