"""The folders of scenarios that a command searches: those of ``--suites``, and pytest's ``dsr1_suites``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import redirect_stdout

import pytest

from pytest_dsr1.errors import UserError


class _Reader:
    """A plugin that reads the option from pytest's configuration, and ends before anything is collected."""

    def __init__(self) -> None:
        self.found: list[str] | None = None

    @pytest.hookimpl(tryfirst=True)
    def pytest_cmdline_main(self, config: pytest.Config) -> int:
        self.found = [str(folder) for folder in config.getini("dsr1_suites")]
        return 0


def folders(given: Sequence[str]) -> list[str]:
    """Return the given folders, then those that pytest would search when started in the current folder.

    Raises:
        UserError: pytest cannot read its configuration; it has printed why.
    """
    reader = _Reader()
    with redirect_stdout(sys.stderr):  # a conftest.py may print, and our output may be data
        pytest.main(["-s"], plugins=[reader])
    if reader.found is None:
        raise UserError(
            "pytest cannot read its configuration here, so the ini option dsr1_suites is unknown: correct "
            "what pytest reports above"
        )
    return [*given, *reader.found]
