"""The registry of rules between the values of a scenario."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from pytest_dsr1.scenario.schema.engine import EngineSettings
from pytest_dsr1.scenario.schema.rule import Answer, Findings, Relation
from pytest_dsr1.scenario.schema.scenario import Scenario

_Settings = TypeVar("_Settings", bound=EngineSettings)


_Check = Callable[[Scenario], Findings]
_EngineCheck = Callable[[_Settings, Scenario], Findings]


def _relation(
    keys: tuple[str, ...],
    documented: Callable[..., Findings],
    check: _Check,
    *,
    impossible: bool,
    answers: tuple[Answer, ...] = (),
) -> Relation:
    return Relation(keys, impossible, " ".join((documented.__doc__ or "").split()), check, answers)


class Rules:
    """The rules of one module, for all engines.

    Attributes:
        relations: the rules, in the order of the reference page.
    """

    def __init__(self) -> None:
        self.relations: list[Relation] = []

    def must(self, *keys: str, answers: tuple[Answer, ...] = ()) -> Callable[[_Check], _Check]:
        """Declare a rule; breaking it is a mistake."""
        return self._declared(keys, answers, impossible=True)

    def should(self, *keys: str, answers: tuple[Answer, ...] = ()) -> Callable[[_Check], _Check]:
        """Declare a rule; breaking it is a warning."""
        return self._declared(keys, answers, impossible=False)

    def _declared(
        self, keys: tuple[str, ...], answers: tuple[Answer, ...], *, impossible: bool
    ) -> Callable[[_Check], _Check]:
        def register(check: _Check) -> _Check:
            self.relations.append(_relation(keys, check, check, impossible=impossible, answers=answers))
            return check

        return register


class EngineRules(Generic[_Settings]):
    """The rules of one engine: each gets the engine's settings and the whole scenario.

    Attributes:
        relations: the rules, in order.
    """

    def __init__(self) -> None:
        self.relations: list[Relation] = []

    def must(self, *keys: str) -> Callable[[_EngineCheck[_Settings]], _EngineCheck[_Settings]]:
        """Declare a rule; breaking it is a mistake."""
        return self._declared(keys, impossible=True)

    def should(self, *keys: str) -> Callable[[_EngineCheck[_Settings]], _EngineCheck[_Settings]]:
        """Declare a rule; breaking it is a warning."""
        return self._declared(keys, impossible=False)

    def _declared(
        self, keys: tuple[str, ...], *, impossible: bool
    ) -> Callable[[_EngineCheck[_Settings]], _EngineCheck[_Settings]]:
        def register(check: _EngineCheck[_Settings]) -> _EngineCheck[_Settings]:
            def with_engine(scenario: Scenario) -> Findings:
                engine: Any = scenario.engine
                return check(engine, scenario)

            self.relations.append(_relation(keys, check, with_engine, impossible=impossible))
            return check

        return register
