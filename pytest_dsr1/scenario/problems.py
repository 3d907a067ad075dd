"""Mistakes in a scenario and their positions: all are collected and reported in one message."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pytest_dsr1.errors import UserError
from pytest_dsr1.text import shown_path


@dataclass(frozen=True, slots=True)
class Mark:
    """A position in a file or on the command line.

    Attributes:
        source: the file as a person would name it, or a whole option (``--dsr1-set load.concurrency=1``).
        line: from 1; 0 for the source as a whole.
        column: from 1; 0 for the source as a whole.
    """

    source: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.source}:{self.line}:{self.column}" if self.line else self.source

    @property
    def file_line(self) -> str:
        """``file:line``, or the source alone if it has no lines."""
        return f"{self.source}:{self.line}" if self.line else self.source


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake: its position, its dotted key (empty for the file as a whole), and what to do about it."""

    mark: Mark
    key: str
    message: str

    def __str__(self) -> str:
        return f"{self.mark}: {self.key}: {self.message}" if self.key else f"{self.mark}: {self.message}"


class MistakeError(Exception):
    """One mistake after which the search for others cannot go on; never raised outside this package."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


def all_in_one(path: Path, problems: Sequence[Problem], what: str = "scenario") -> UserError:
    """Return one error with every problem of a scenario, by position, the scenario's own file first."""
    own = shown_path(path)

    def position(problem: Problem) -> tuple[bool, bool, str, int, int]:
        mark = problem.mark
        return (mark.source != own, not mark.line, mark.source, mark.line, mark.column)

    lines = list(dict.fromkeys(str(problem) for problem in sorted(problems, key=position)))
    count = "1 mistake" if len(lines) == 1 else f"{len(lines)} mistakes"
    return UserError("\n".join([f"{own}: {count} in this {what}", *(f"  {line}" for line in lines)]))
