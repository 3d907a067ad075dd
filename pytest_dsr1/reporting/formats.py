"""The report formats of ``--dsr1-report``, chosen by the suffix of the file's name.

Our own formats and those of plugins are declared in the same way, with the hook ``pytest_dsr1_reports``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pytest_dsr1 import extensions
from pytest_dsr1.storage.files import temporary_of

if TYPE_CHECKING:
    from pytest_dsr1.case.case import Case
    from pytest_dsr1.gate.history import History


CODE_QUALITY = ".codequality.json"
"""The suffix of GitLab's Code Quality report, which had ``.json`` before 2026-12."""
_FORMERLY = re.compile(r"code.?quality", re.IGNORECASE)
"""Names of files that a pipeline gives GitLab, such as ``gl-code-quality-report.json``."""


@dataclass(frozen=True, slots=True)
class Report:
    """The content of a report.

    Attributes:
        cases: the scenarios of the run, in the order they ran.
        not_run: the selected scenarios without any result.
        status: pytest's exit status.
        root: pytest's rootdir.
        history: earlier runs.
        now: when the report is made.
    """

    cases: tuple[Case, ...]
    not_run: tuple[str, ...]
    status: int
    root: Path
    history: History
    now: datetime

    @property
    def worst_first(self) -> list[Case]:
        """The cases, sorted: those that need a person come first."""
        from pytest_dsr1.case.answers import worst_first

        return sorted(self.cases, key=worst_first)


def _nothing() -> None:
    return None


@dataclass(frozen=True, slots=True)
class ReportFormat:
    """A format of reports.

    Attributes:
        suffix: the end of the file's name, such as ``.csv`` or ``.points.csv``; the longest one counts.
        what: the kind of file, as in a sentence after "for": ``a table``.
        write: writes the file, if possible with :func:`~pytest_dsr1.storage.files.write_atomically`. It may
            raise any exception: a failure is reported and changes no verdict.
        missing: returns what must be installed first, as a message; None if nothing. Called before a run.
    """

    suffix: str
    what: str
    write: Callable[[Path, Report], None]
    missing: Callable[[], str | None] = _nothing

    def __post_init__(self) -> None:
        """Refuse a suffix that no file name can have.

        Raises:
            ValueError: the suffix is not a dot and a name.
        """
        if "".join(Path(f"report{self.suffix}").suffixes) != self.suffix:
            raise ValueError(f"suffix of a report format: expected one such as '.csv', found {self.suffix!r}")


def known() -> Mapping[str, ReportFormat]:
    """Return the formats by suffix.

    Raises:
        UserError: a plugin is broken, or two plugins declare the same suffix.
    """
    found = extensions.declared("pytest_dsr1_reports", ReportFormat)
    return {suffix: _named(plugin, each) for suffix, (plugin, each) in found.items()}


def _named(plugin: str, each: ReportFormat) -> ReportFormat:
    """Return the format, with functions that name the plugin when they fail."""

    def write(path: Path, report: Report) -> None:
        before = _written(path)
        with extensions.named(plugin, f"write() for {each.suffix} reports"):
            each.write(path, report)
        if _written(path) in {None, before}:
            raise extensions.broken(plugin, f"write() for {each.suffix} reports wrote no file")

    def missing() -> str | None:
        what = f"missing() for {each.suffix} reports"
        with extensions.named(plugin, what):
            lacking: object = each.missing()
        if lacking is None or isinstance(lacking, str):
            return lacking
        raise extensions.broken(plugin, f"{what} returned {extensions.shown(lacking)}, expected text or None")

    return replace(each, write=write, missing=missing)


def _written(path: Path) -> tuple[int, int] | None:
    """Return what differs after each write of a file; None if there is no file."""
    if not path.is_file():
        return None
    state = path.stat()
    return state.st_ino, state.st_mtime_ns


def _suffix_of(path: Path, formats: Mapping[str, ReportFormat]) -> str | None:
    """Return the longest suffix of a file's name that a format has; None without any."""
    suffixes = path.suffixes
    ends = ("".join(suffixes[start:]) for start in range(len(suffixes)))
    return next((end for end in ends if end in formats), None)


def requested(config: pytest.Config) -> dict[Path, ReportFormat]:
    """Return the files of ``--dsr1-report``, after checking that each can be written.

    Raises:
        UsageError: a file cannot be written, is given twice, or has an unknown format.
        UserError: a plugin is broken.
    """
    found: dict[Path, ReportFormat] = {}
    formats = known() if config.getoption("--dsr1-report") else {}
    for given in config.getoption("--dsr1-report"):
        path = config.invocation_params.dir / given
        suffix = _suffix_of(path, formats)
        if suffix is None:
            names = ", ".join(f"{each.suffix} for {each.what}" for each in formats.values())
            raise pytest.UsageError(f"--dsr1-report={given}: expected a file name with the suffix {names}")
        whole = Path(os.path.realpath(path))
        if whole in found:
            raise pytest.UsageError(f"--dsr1-report={given}: is given twice; give each file once")
        if os.path.isdir(path):  # noqa: PTH112 - a name that is too long is reported below
            raise pytest.UsageError(f"--dsr1-report={given}: is a folder; expected a file name")
        try:
            probe = temporary_of(whole)  # as long as the name that the report is written under
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise pytest.UsageError(
                f"--dsr1-report={given}: cannot be written: {error.strerror}; expected a file in a writable "
                "folder"
            ) from None
        if suffix == ".json" and _FORMERLY.search(path.name):
            raise pytest.UsageError(
                f"--dsr1-report={given}: .json is for the results; GitLab's Code Quality report has the "
                f"suffix {CODE_QUALITY}: give --dsr1-report=dsr1{CODE_QUALITY}, and the same name in "
                "artifacts:reports:codequality"
            )
        if lacking := formats[suffix].missing():
            raise pytest.UsageError(f"--dsr1-report={given}: {lacking}")
        found[whole] = formats[suffix]
    return found
