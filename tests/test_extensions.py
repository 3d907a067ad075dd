"""Plugins: found, called, and named when they are broken."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator
from functools import cache
from types import ModuleType

import pytest

from pytest_dsr1 import extensions, hookspecs
from pytest_dsr1.errors import UserError
from pytest_dsr1.extensions import HOOKS
from pytest_dsr1.metrics import catalogue
from tests.helpers.paths import ROOT
from tests.helpers.plugins import forget


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A manager without our own plugins and without those of other tests."""
    own = {name: hook._replace(ours=(), kind="builtins:int", name="real") for name, hook in HOOKS.items()}
    monkeypatch.setattr(extensions, "HOOKS", own)
    monkeypatch.setattr(extensions, "_CHANGED", [])
    monkeypatch.setattr(extensions, "refuse_wrong_fields", lambda *_: None)  # numbers have none
    forget()
    yield
    forget()


def module(name: str, **hooks: Callable[..., object]) -> ModuleType:
    made = ModuleType(name)
    vars(made).update(hooks)
    return made


class Entry:
    def __init__(self, name: str, load: Callable[[], object]) -> None:
        self.name, self.load = name, load


def installed(monkeypatch: pytest.MonkeyPatch, *entries: Entry) -> None:
    monkeypatch.setattr(
        extensions, "entry_points", lambda group: entries if group == extensions.GROUP else ()
    )


def test_entry_points_and_registered_plugins_list_values(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, Entry("theirs", lambda: module("theirs", pytest_dsr1_metrics=lambda: [1, 2])))
    extensions.register(module("conftest", pytest_dsr1_metrics=lambda: [3]), "conftest.py")
    assert list(extensions.declared("pytest_dsr1_metrics", int).values()) == [
        ("theirs", 1),
        ("theirs", 2),
        ("conftest.py", 3),
    ]
    assert extensions.declared("pytest_dsr1_engines", int) == {}


def test_a_plugin_is_registered_once() -> None:
    plugin = module("conftest", pytest_dsr1_metrics=lambda: [3])
    extensions.register(plugin, "conftest.py")
    extensions.register(plugin, "conftest.py")
    assert len(extensions.declared("pytest_dsr1_metrics", int)) == 1


def test_a_plugin_of_pytest_without_our_hooks_is_passed_over() -> None:
    extensions.register(module("other", pytest_addoption=lambda parser: None), "other")
    assert not extensions._manager().get_plugin("other")


def failing() -> object:
    raise RuntimeError("no license\nserver")


def half_way() -> Iterator[int]:
    yield 1
    raise RuntimeError("no license\nserver")


def leaving() -> object:
    sys.exit("no license")


class Shy:
    def __repr__(self) -> str:
        raise ValueError("not ready")


class Leaving:
    def __repr__(self) -> str:
        sys.exit(3)


@pytest.mark.parametrize(
    ("hook", "plugin", "message"),
    [
        (
            "pytest_dsr1_metrics",
            module("m", pytest_dsr1_metrics=failing),
            "pytest_dsr1_metrics failed: RuntimeError('no license\\nserver')",
        ),
        (
            "pytest_dsr1_metrics",
            module("m", pytest_dsr1_metrics=lambda: ["x"]),
            "pytest_dsr1_metrics returned 'x', expected int",
        ),
        (
            "pytest_dsr1_metrics",
            module("m", pytest_dsr1_metrics=lambda: None),
            "pytest_dsr1_metrics returned None, expected a list of int",
        ),
        (
            "pytest_dsr1_metrics",
            module("m", pytest_dsr1_metrics=lambda: "12"),
            "pytest_dsr1_metrics returned '12', expected a list of int",
        ),
        (
            "pytest_dsr1_metrics",
            module("m", pytest_dsr1_metrics=half_way),
            "pytest_dsr1_metrics failed: RuntimeError('no license\\nserver')",
        ),
        (
            "pytest_dsr1_metrics",
            module("m", pytest_dsr1_metrics=lambda: [Shy()]),
            "pytest_dsr1_metrics returned an object of the class Shy, expected int",
        ),
        (
            "pytest_dsr1_metrics",
            module("m", pytest_dsr1_metrics=lambda: [Leaving()]),
            "pytest_dsr1_metrics returned an object of the class Leaving, expected int",
        ),
        (
            "pytest_dsr1_metrics",
            module("m", pytest_dsr1_metrics=leaving),
            "pytest_dsr1_metrics failed: SystemExit('no license')",
        ),
        (
            "pytest_dsr1_metrics",
            module("m", pytest_dsr1_metrics=lambda moon, sun: [moon, sun]),
            "pytest_dsr1_metrics has the argument moon, sun, expected no argument",
        ),
        (
            "pytest_dsr1_metrics",
            module("m", pytest_dsr1_metric=lambda: [1]),
            "it has the hook pytest_dsr1_metric, which does not exist; hooks are pytest_dsr1_checks, "
            "pytest_dsr1_clues, pytest_dsr1_engines, pytest_dsr1_metrics, pytest_dsr1_reports",
        ),
    ],
)
def test_a_broken_plugin_is_named_in_one_sentence(hook: str, plugin: ModuleType, message: str) -> None:
    def use() -> None:
        extensions.register(plugin, "acme-dsr1")
        extensions.declared(hook, int)

    with pytest.raises(UserError) as caught:
        use()
    assert str(caught.value) == f"the pytest-dsr1 plugin acme-dsr1 is broken: {message}"


def test_a_plugin_that_is_refused_is_forgotten() -> None:
    plugin = module("m", pytest_dsr1_metric=lambda: [1])
    with pytest.raises(UserError):
        extensions.register(plugin, "acme-dsr1")
    assert not extensions._manager().is_registered(plugin)
    assert extensions.register(module("m", pytest_dsr1_metrics=lambda: [1]), "acme-dsr1")


@pytest.mark.parametrize(
    ("first", "second", "owners"),
    [
        ([1], [1], ", by the plugin acme and by the plugin other"),
        ([1, 1], [], " by the plugin acme"),
    ],
)
def test_two_values_of_one_name_name_their_owners(first: list[int], second: list[int], owners: str) -> None:
    extensions.register(module("a", pytest_dsr1_clues=lambda: first), "acme")
    extensions.register(module("b", pytest_dsr1_clues=lambda: second), "other")
    with pytest.raises(UserError) as caught:
        extensions.refuse_broken()
    assert str(caught.value) == f"the clue 1 is declared twice{owners}: rename or remove one of them"


def test_a_hook_is_called_once() -> None:
    calls: list[int] = []

    def metrics() -> list[int]:
        calls.append(1)
        return [1]

    extensions.register(module("m", pytest_dsr1_metrics=metrics), "acme-dsr1")
    for _ in range(2):
        assert list(extensions.declared("pytest_dsr1_metrics", int).values()) == [("acme-dsr1", 1)]
    assert calls == [1]


def test_the_table_has_every_hook_and_every_module_of_ours_that_implements_one() -> None:
    """A module that is missing there would be ignored silently."""
    assert {name for name in vars(hookspecs) if name.startswith("pytest_dsr1_")} == set(HOOKS)
    implemented = {
        (node.name, ".".join(path.relative_to(ROOT).with_suffix("").parts))
        for path in (ROOT / "pytest_dsr1").rglob("*.py")
        if path.name != "hookspecs.py"
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("pytest_dsr1_")
    }
    assert implemented == {(name, module) for name, hook in HOOKS.items() for module in hook.ours}


@cache
def imported_and_called() -> dict[str, tuple[set[tuple[str | None, str]], set[str]]]:
    """Return, by module of ours, what it imports from where, and what it calls by name."""
    found = {}
    for path in (ROOT / "pytest_dsr1").rglob("*.py"):
        nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        imported = {(n.module, a.name) for n in nodes if isinstance(n, ast.ImportFrom) for a in n.names}
        called = {n.func.id for n in nodes if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)}
        found[".".join(path.relative_to(ROOT).with_suffix("").parts)] = (imported, called)
    return found


@pytest.mark.parametrize(
    ("place", "declares", "listed"),
    [
        ("pytest_dsr1.diagnosis.clues", "clue", HOOKS["pytest_dsr1_clues"].ours),
        ("pytest_dsr1.machine.preflight.check", "check", HOOKS["pytest_dsr1_checks"].ours),
        (
            "pytest_dsr1.metrics.registry",
            "Metrics",
            tuple(f"pytest_dsr1.metrics.{subject}" for subject in catalogue._SUBJECTS),
        ),
        ("pytest_dsr1.engines.protocol", "EngineSpec", HOOKS["pytest_dsr1_engines"].ours),
        ("pytest_dsr1.reporting.formats", "ReportFormat", HOOKS["pytest_dsr1_reports"].ours),
    ],
)
def test_every_module_of_ours_that_declares_something_is_listed(
    place: str, declares: str, listed: tuple[str, ...]
) -> None:
    used = imported_and_called()
    declaring = {
        module for module, (names, calls) in used.items() if (place, declares) in names and declares in calls
    }
    assert declaring == set(listed)


def test_an_installed_plugin_that_cannot_be_imported_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> object:
        raise ModuleNotFoundError("No module named 'acme'")

    installed(monkeypatch, Entry("acme-dsr1", missing))
    with pytest.raises(UserError) as caught:
        extensions.declared("pytest_dsr1_metrics", int)
    assert str(caught.value) == (
        "the pytest-dsr1 plugin acme-dsr1 is broken: it cannot be loaded: "
        "ModuleNotFoundError(\"No module named 'acme'\")"
    )


def test_an_installed_plugin_that_exits_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, Entry("acme-dsr1", leaving))
    with pytest.raises(UserError) as caught:
        extensions.declared("pytest_dsr1_metrics", int)
    assert str(caught.value) == (
        "the pytest-dsr1 plugin acme-dsr1 is broken: it cannot be loaded: SystemExit('no license')"
    )


def test_a_function_that_exits_is_named() -> None:
    with pytest.raises(UserError) as caught, extensions.named("acme-dsr1", "run of its engine echo"):
        leaving()
    assert str(caught.value) == (
        "the pytest-dsr1 plugin acme-dsr1 is broken: run of its engine echo failed: SystemExit('no license')"
    )


@pytest.mark.parametrize("through", [KeyboardInterrupt, pytest.skip.Exception, pytest.fail.Exception])
def test_what_a_person_or_pytest_ends_is_not_a_fault(through: type[BaseException]) -> None:
    with pytest.raises(through), extensions.named("acme-dsr1", "run of its engine echo"):
        raise through


SAME = module("acme", pytest_dsr1_metrics=lambda: [1])


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (
            (Entry("acme", lambda: SAME), Entry("acme2", lambda: SAME)),
            "acme2 is broken: it is the same module as the plugin acme: remove one of the two entry points",
        ),
        (
            (Entry("acme", lambda: SAME), Entry("acme", lambda: module("other"))),
            "acme is broken: another plugin has the same name: rename or uninstall one of them",
        ),
    ],
)
def test_two_entry_points_in_conflict(
    monkeypatch: pytest.MonkeyPatch, entries: tuple[Entry, Entry], message: str
) -> None:
    installed(monkeypatch, *entries)
    with pytest.raises(UserError) as caught:
        extensions.declared("pytest_dsr1_metrics", int)
    assert str(caught.value) == f"the pytest-dsr1 plugin {message}"


def test_our_own_function_passes_on_what_is_said_of_a_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    error = extensions.broken("theirs", "slots of its engine failed")
    monkeypatch.setattr(extensions, "HOOKS", HOOKS)
    ours = "pytest_dsr1.diagnosis.load"
    assert extensions.failure(ours, "its clue load", error) == str(error)
