"""The search for mutants: what is counted, and that its list is about the code as it is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from tests.helpers.paths import ROOT
from tests.mutation import search
from tests.mutation.search import Fault, Found, Harmless, fault_of, found, modules_of

LISTED = search.read()
LESS, LESS_OR_EQUAL = "    if a < b:", "    if a <= b:"


def line(outcome: str | None, becomes: str = LESS_OR_EQUAL, *, worker: str = "normal") -> str:
    """Return a line of ``cosmic-ray dump``; without an outcome the fault was not tried."""
    diff = f"--- mutation diff ---\n--- a/m.py\n+++ b/m.py\n@@ -7 +7 @@\n-{LESS}\n+{becomes}\n     pass"
    result = {"worker_outcome": worker, "test_outcome": outcome, "diff": diff}
    return json.dumps([{"mutations": [{"start_pos": [7, 4]}]}, result if outcome else None])


def test_survivors_are_counted_and_named() -> None:
    dump = [
        line("killed"),
        line("survived"),
        line("incompetent"),
        line(None),
        line("killed", worker="skipped"),
    ]
    result = found(dump, Harmless(frozenset()))
    assert result == Found(2, [(7, Fault("if a < b:", "if a <= b:"))], [])
    assert result.tried == 3


def test_what_changes_nothing_does_not_count() -> None:
    fault = Fault("if a < b:", "if a <= b:")
    dump = [line("survived"), line("killed"), line("killed", "    if a >= b:")]
    assert found(dump, Harmless(frozenset({fault}))) == Found(1, [], [])
    assert found(dump, Harmless(frozenset(), ("<=",))) == Found(1, [], [])


def test_a_fault_that_cannot_be_made_is_reported_and_does_not_count(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    error = {"worker_outcome": "exception", "test_outcome": "incompetent", "diff": None}
    output = "Traceback:\n  a line\nAttributeError: no value\n"
    dump = [line("killed"), json.dumps([{"mutations": []}, {**error, "output": output}])]
    result = found(dump, Harmless(frozenset()))
    assert result == Found(1, [], ["AttributeError: no value"])
    monkeypatch.setattr(search, "searched", lambda *_: [("a.py", result)])
    assert search.main([]) == 0
    assert "a.py: 1 of 1 noticed\n  Cosmic Ray could not make a fault: AttributeError: no value\n" in (
        capsys.readouterr().out
    )


def test_a_fault_over_several_lines() -> None:
    assert fault_of("--- a\n+++ b\n@@ -1,2 +1 @@\n-x = (\n-  1)\n+x = 2\n") == Fault("x = ( 1)", "x = 2")


@pytest.mark.parametrize("place", LISTED["modules"])
def test_what_is_listed_is_there(place: str) -> None:
    """A line that was changed since has other faults, which must be looked at again."""
    listed: Mapping[str, Any] = LISTED["modules"][place]
    texts = [(ROOT / path).read_text(encoding="utf-8") for path in modules_of(place)]
    assert texts
    assert [test for test in listed["tests"] if not (ROOT / test).exists()] == []
    lines = {line.strip() for text in texts for line in text.splitlines()}
    entries = listed.get("equivalent", ())
    assert [entry["was"] for entry in entries if entry["was"] not in lines] == []
    assert all(entry["why"] and entry["was"] not in entry["becomes"] for entry in entries)


@pytest.mark.parametrize("room", ["gate", "metrics", "steady", "verdict"])
def test_no_module_that_decides_is_forgotten(room: str) -> None:
    listed = {path for place in LISTED["modules"] for path in modules_of(place)}
    assert {*modules_of(f"pytest_dsr1/{room}")} <= listed


def test_too_many_survivors_end_with_status_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = "pytest_dsr1/gate/noise.py", "pytest_dsr1/gate/plan.py"
    survivor = (7, Fault("if a < b:", "if a <= b:"))
    results = {one: Found(96, [survivor] * 4), other: Found(100, [])}
    monkeypatch.setattr(search, "searched", lambda chosen, _: ((path, results[path]) for path in chosen))
    assert search.main([one]) == 1
    assert capsys.readouterr().out.splitlines() == [
        f"{one}: 96 of 100 noticed",
        *[f"  {one}:7", "    - if a < b:", "    + if a <= b:"] * 4,
        "96 of 100 faults noticed, 96.0%; at least 97% are required",
    ]
    assert search.main([one, other]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == (
        "196 of 200 faults noticed, 98.0%; at least 97% are required"
    )
    assert search.main(["pytest_dsr1/nothing.py"]) == 1


def test_a_module_whose_tests_fail_by_themselves_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(search, "searched", lambda chosen, _: [(path, None) for path in chosen])
    assert search.main(["pytest_dsr1/gate/noise.py"]) == 1
    assert capsys.readouterr().out.splitlines()[0] == (
        "pytest_dsr1/gate/noise.py: a test fails without any fault; mend it first"
    )
