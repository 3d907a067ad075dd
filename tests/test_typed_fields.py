"""Fields of a plugin's dataclasses: their types are checked, and said in words."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, get_args

import pytest

from pytest_dsr1.diagnosis.clues import Clue
from pytest_dsr1.engines.protocol import EngineSpec
from pytest_dsr1.engines.transformers.hooks import pytest_dsr1_engines
from pytest_dsr1.findings import Finding
from pytest_dsr1.machine.preflight.check import Check
from pytest_dsr1.metrics.registry import Counted, Metric, Need
from pytest_dsr1.reporting.formats import ReportFormat
from pytest_dsr1.scenario.rules.registry import EngineRules
from pytest_dsr1.scenario.schema.rule import Relation
from pytest_dsr1.typed_fields import wrong_fields

RULE = Relation(("load",), True, "A rule.", lambda _: iter(()))
(SPEC,) = pytest_dsr1_engines()
METRIC = Metric("odd", "odd", "s", "higher", "x", "here", "rate", lambda _: 1.0)
CHECK = Check("odd", "A rule.", "nothing", lambda _: ())
CLUE = Clue("odd", "A pattern.", "", lambda _: None)
FORMAT = ReportFormat(".csv", "a table", lambda _path, _report: None)


@dataclass(frozen=True)
class Narrow(Finding):
    """A class of a plugin, in a module that does not know the types of ours."""

    extra: int = 0


def changed(value: Any, **fields: Any) -> Any:
    return replace(value, **fields)


RIGHT = [
    *(SPEC, METRIC, CHECK, CLUE, FORMAT, Finding("ok", "a", "b"), Narrow("ok", "a", "b", extra=1)),
    changed(SPEC, rules=[RULE]),
    changed(METRIC, needs={"gpu"}, counts=["requests"], duration_s=lambda _value, _plan: 1.0, neutral=0),
]


@pytest.mark.parametrize("value", RIGHT, ids=lambda value: type(value).__name__)
def test_a_right_value_has_no_wrong_field(value: object) -> None:
    assert list(wrong_fields(value)) == []


NEEDS = f"a set of {' or '.join(map(repr, get_args(Need)))}"
COUNTS = f"a tuple of {' or '.join(map(repr, get_args(Counted)))}"


@pytest.mark.parametrize(
    ("value", "changes", "expected"),
    [
        (SPEC, {"rules": EngineRules[Any]()}, "a tuple of Relation"),
        (SPEC, {"rules": (1,)}, "a tuple of Relation"),
        (SPEC, {"rules": (changed(RULE, keys=(3,)),)}, "a tuple of Relation"),
        (SPEC, {"create": None}, "a function"),
        (SPEC, {"pool": 3}, "a function or None"),
        (SPEC, {"settings": EngineSpec}, "a class of EngineSettings"),
        (METRIC, {"counts": ("cows",)}, COUNTS),
        (METRIC, {"counts": "requests"}, COUNTS),
        (METRIC, {"needs": {"moon"}}, NEEDS),
        (METRIC, {"needs": "gpu"}, NEEDS),
        (METRIC, {"compute": None}, "a function"),
        (METRIC, {"duration_s": 3}, "a function or None"),
        (METRIC, {"neutral": "0"}, "a number or None"),
        (METRIC, {"headline": "yes"}, "True or False"),
        (METRIC, {"unit": 7}, "a text"),
        (CHECK, {"needs": []}, "'nothing' or 'driver' or 'gpus'"),
        (CHECK, {"run": None}, "a function"),
        (CLUE, {"find": "x"}, "a function"),
        (FORMAT, {"write": None}, "a function"),
        (Narrow("ok", "a", "b"), {"extra": "1"}, "int"),
        (Narrow("ok", "a", "b"), {"severity": "bad"}, "'mismatch' or 'warning' or 'ok'"),
    ],
)
def test_a_wrong_field_is_named(value: Any, changes: dict[str, Any], expected: str) -> None:
    ((name, wrong),) = changes.items()
    assert list(wrong_fields(changed(value, **changes))) == [(name, wrong, expected)]
