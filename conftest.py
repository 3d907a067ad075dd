"""Loads pytester, and no more: tests of the plugin run it on suites of their own."""

import pytest


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Not ``pytest_plugins``: that is refused when shipped scenarios of a clone are run from elsewhere."""
    pluginmanager.import_plugin("pytester")
