"""Plugins: found, called, and named when they are broken."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import ModuleType

import pytest

from pytest_dsr1 import extensions
from pytest_dsr1.errors import UserError


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A manager without our own plugins and without those of other tests."""
    monkeypatch.setattr(extensions, "OURS", {})
    monkeypatch.setattr(extensions, "_CHANGED", [])
    extensions._manager.cache_clear()
    yield
    extensions._manager.cache_clear()


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
    assert list(extensions.values("pytest_dsr1_metrics", int)) == [
        ("theirs", 1),
        ("theirs", 2),
        ("conftest.py", 3),
    ]
    assert list(extensions.values("pytest_dsr1_engines", int)) == []


def test_a_plugin_is_registered_once() -> None:
    plugin = module("conftest", pytest_dsr1_metrics=lambda: [3])
    extensions.register(plugin, "conftest.py")
    extensions.register(plugin, "conftest.py")
    assert len(list(extensions.values("pytest_dsr1_metrics", int))) == 1


def test_a_plugin_of_pytest_without_our_hooks_is_passed_over() -> None:
    extensions.register(module("other", pytest_addoption=lambda parser: None), "other")
    assert not extensions._manager().get_plugin("other")


def failing() -> object:
    raise RuntimeError("no license\nserver")


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
            "pytest_dsr1_metrics failed: TypeError(\"'NoneType' object is not iterable\")",
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
        list(extensions.values(hook, int))

    with pytest.raises(UserError) as caught:
        use()
    assert str(caught.value) == f"the pytest-dsr1 plugin acme-dsr1 is broken: {message}"


def test_a_hook_with_an_unknown_argument_names_the_plugin() -> None:
    with pytest.raises(
        UserError, match=r"^the pytest-dsr1 plugin acme-dsr1 is broken: Plugin 'acme-dsr1' .*moon"
    ):
        extensions.register(module("m", pytest_dsr1_metrics=lambda moon: [moon]), "acme-dsr1")


def test_an_installed_plugin_that_cannot_be_imported_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> object:
        raise ModuleNotFoundError("No module named 'acme'")

    installed(monkeypatch, Entry("acme-dsr1", missing))
    with pytest.raises(UserError) as caught:
        list(extensions.values("pytest_dsr1_metrics", int))
    assert str(caught.value) == (
        "the pytest-dsr1 plugin acme-dsr1 is broken: it cannot be loaded: "
        "ModuleNotFoundError(\"No module named 'acme'\")"
    )


def test_our_own_function_passes_on_what_is_said_of_a_plugin() -> None:
    error = extensions.broken("theirs", "slots of its engine failed")
    ours = "pytest_dsr1.diagnosis.load"
    assert extensions.failure(ours, "its clue load", error) == str(error)
