"""Commands that pages and example pipelines name, given to the real option parsers."""

from __future__ import annotations

import pytest

from pytest_dsr1.cli import main
from pytest_dsr1.reporting import formats
from pytest_dsr1.scenario.loading import load_all
from pytest_dsr1.scenario.profiles import discover
from pytest_dsr1.session import options


def assert_understood(pytester: pytest.Pytester, program: str, arguments: list[str], own: set[str]) -> None:
    """Parse a command line: its options exist, its profiles are shipped, and its settings fit them.

    Args:
        pytester: parses the options of pytest.
        program: ``pytest`` or ``pytest-dsr1``.
        arguments: what follows it.
        own: profiles that the page makes up.
    """
    if program == "pytest-dsr1":
        parsed, of_pytest = main._parser().parse_known_args(arguments)
        assert parsed.run
        assert not of_pytest or hasattr(parsed, "of_pytest"), of_pytest
        pytester.parseconfig(*of_pytest)
        return
    config = pytester.parseconfig(*arguments)
    options.mode(config)
    formats.requested(config)
    profiles = config.getoption("--dsr1-profile")
    if not profiles or set(profiles) & own:
        return
    for path in discover(()).select(",".join(profiles)):
        load_all(path, overrides=config.getoption("--dsr1-set"), swept=config.getoption("--dsr1-sweep"))
