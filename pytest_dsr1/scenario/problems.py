"""What is wrong with a scenario, and where: every mistake is collected, then all are told in one message."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_dsr1.errors import UserError


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in a file or on the command line.

    Attributes:
        source: the file as a person would name it, or a whole option (``--dsr1-set load.concurrency=1``).
        line: from 1; 0 where the source as a whole is meant.
        column: from 1; 0 likewise.
    """

    source: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.source}:{self.line}:{self.column}" if self.line else self.source

    @property
    def file_line(self) -> str:
        """``file:line``, or the source alone where it has no lines."""
        return f"{self.source}:{self.line}" if self.line else self.source


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake: where, in which dotted key (empty for the file as a whole), and what to do about it."""

    mark: Mark
    key: str
    message: str

    def __str__(self) -> str:
        return f"{self.mark}: {self.key}: {self.message}" if self.key else f"{self.mark}: {self.message}"


class MistakeError(Exception):
    """Carries the one problem that makes it impossible to look for more; never leaves this room."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


def shown(path: Path) -> str:
    """The path as a person would type it: relative to the working directory where it lies below that."""
    try:
        return str(path.absolute().relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(path)


def nearest(word: str, candidates: Iterable[str]) -> str | None:
    """The candidate that was probably meant, whatever its case and dashes."""
    plain = {_plain(candidate): candidate for candidate in candidates}
    close = difflib.get_close_matches(_plain(word), plain, n=1, cutoff=0.6)
    close = close or [name for name in plain if len(word) > 3 and _plain(word) in name]
    return plain[close[0]] if close else None


def _plain(word: str) -> str:
    return word.lower().replace("-", "_")


def all_in_one(path: Path, problems: Sequence[Problem]) -> UserError:
    """One error that tells every problem of a scenario: in order of place, the scenario's own file first."""
    own = shown(path)

    def place(problem: Problem) -> tuple[bool, bool, str, int, int]:
        mark = problem.mark
        return (mark.source != own, not mark.line, mark.source, mark.line, mark.column)

    lines = list(dict.fromkeys(str(problem) for problem in sorted(problems, key=place)))
    count = "1 mistake" if len(lines) == 1 else f"{len(lines)} mistakes"
    return UserError("\n".join([f"{own}: {count} in this scenario", *(f"  {line}" for line in lines)]))
