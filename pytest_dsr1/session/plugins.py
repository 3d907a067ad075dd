"""Plugins of the running pytest that extend pytest-dsr1; a conftest.py is such a plugin."""

from __future__ import annotations

from functools import partial

import pytest

from pytest_dsr1.errors import UserError
from pytest_dsr1.text import harmless


def register(config: pytest.Config) -> None:
    """Register every plugin that has one of our hooks, until this run of pytest ends.

    Raises:
        UsageError: one of them is broken.
    """
    from pytest_dsr1 import extensions

    for name, plugin in config.pluginmanager.list_name_plugin():
        if plugin is None:  # by -p no:NAME
            continue
        try:
            if extensions.register(plugin, name):
                config.add_cleanup(partial(extensions.unregister, plugin))
        except UserError as error:
            raise pytest.UsageError(harmless(str(error))) from None
