"""Plugins of the running pytest that extend pytest-dsr1; a conftest.py is such a plugin."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from importlib import import_module

import pytest

from pytest_dsr1.errors import UserError
from pytest_dsr1.text import harmless


def accept(config: pytest.Config) -> None:
    """Let pytest accept our hooks. Until now it has not checked them: it would print a traceback.

    Raises:
        UsageError: a hook does not exist, or has an argument.
    """
    manager = config.pluginmanager
    if any(hook.startswith("pytest_dsr1_") for hook in vars(manager.hook)):
        from pytest_dsr1 import extensions

        with _in_a_sentence():
            extensions.refuse_faulty_hooks(manager)
    manager.add_hookspecs(import_module("pytest_dsr1.hookspecs"))


def register(config: pytest.Config) -> None:
    """Register every plugin that has one of our hooks, until this run of pytest ends.

    Raises:
        UsageError: one of them is broken, or two declare the same name.
    """
    from pytest_dsr1 import extensions

    with _in_a_sentence():
        for name, plugin in config.pluginmanager.list_name_plugin():
            # Without a plugin: by -p no:NAME.
            if plugin is not None and extensions.register(plugin, name):
                config.add_cleanup(partial(extensions.unregister, plugin))
        extensions.refuse_broken()


@contextmanager
def _in_a_sentence() -> Generator[None]:
    try:
        yield
    except UserError as error:
        raise pytest.UsageError(harmless(str(error))) from None
