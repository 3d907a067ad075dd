"""Plugins that add metrics, for the time of a test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType

from pytest_dsr1 import extensions
from tests.helpers.plugins import forget


@contextmanager
def plugin(name: str, **hooks: Callable[..., object]) -> Iterator[None]:
    """Register a plugin with these hooks, in addition to our own plugins and the installed ones."""
    module = ModuleType(name)
    vars(module).update(hooks)
    forget()
    extensions.register(module, name)
    try:
        yield
    finally:
        forget()
