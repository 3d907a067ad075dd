"""What commands take from pytest's configuration: the folders of scenarios, and that of references."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path

import pytest

from pytest_dsr1.errors import UserError
from pytest_dsr1.session import options
from pytest_dsr1.text import shown_path


class _Reader:
    """A plugin that keeps pytest's configuration, and ends before anything is collected."""

    def __init__(self) -> None:
        self.config: pytest.Config | None = None

    @pytest.hookimpl(tryfirst=True)
    def pytest_cmdline_main(self, config: pytest.Config) -> int:
        self.config = config
        return 0


def config_of(words: Sequence[str]) -> pytest.Config | None:
    """Return the configuration that pytest would have when started in the current folder with these words.

    None if pytest cannot read it; it has printed why.
    """
    reader = _Reader()
    with redirect_stdout(sys.stderr):  # a conftest.py may print, and our output may be data
        pytest.main(["-s", *words], plugins=[reader])
    return reader.config


def _config(option: str) -> pytest.Config:
    """Return the configuration without any words.

    Raises:
        UserError: pytest cannot read it, so the ini option is unknown; pytest has printed why.
    """
    found = config_of(())
    if found is None:
        raise UserError(
            f"pytest cannot read its configuration here, so the ini option {option} is unknown: correct "
            "what pytest reports above"
        )
    return found


def folders(given: Sequence[str]) -> list[str]:
    """Return the given folders, then those that pytest would search when started in the current folder.

    Raises:
        UserError: pytest cannot read its configuration; it has printed why.
    """
    found: list[Path] = _config("dsr1_suites").getini("dsr1_suites")
    return [*given, *map(str, found)]


def store() -> Path:
    """Return the folder of references that pytest would use when started in the current folder.

    Raises:
        UserError: as :func:`folders`; or the ini option names more than one folder.
    """
    config = _config("dsr1_store")
    try:
        found = options.store(config)
    except pytest.UsageError as error:
        raise UserError(str(error)) from None
    return Path(shown_path(found))
