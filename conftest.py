"""Loads pytester, and no more: tests of the plugin run it on suites of their own."""

pytest_plugins = ["pytester"]
