"""Plugins that add metrics, for the time of a test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType

from pytest_dsr1 import extensions
from pytest_dsr1.metrics import catalogue
from pytest_dsr1.scenario.schema import json_schema


@contextmanager
def plugin(name: str, **hooks: Callable[..., object]) -> Iterator[None]:
    """Register a plugin with these hooks, in addition to our own plugins and the installed ones."""
    module = ModuleType(name)
    vars(module).update(hooks)
    _forget()
    extensions.register(module, name)
    try:
        yield
    finally:
        _forget()


def _forget() -> None:
    extensions._manager.cache_clear()
    catalogue._found.cache_clear()
    json_schema.scenario_schema.cache_clear()
