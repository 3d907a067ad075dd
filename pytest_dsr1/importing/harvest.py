"""What an import finds in files: cases, refusals, mistakes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pytest_dsr1.scenario.problems import Mark, Problem

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Case:
    """One run that becomes a scenario file.

    Attributes:
        name: of the scenario, and of its file.
        mark: the position of the run in its file.
        tree: the scenario, in the order in which it is written.
    """

    name: str
    mark: Mark
    tree: dict[str, Any]

    @property
    def points(self) -> int:
        """How many points its sweep has; 0 without one."""
        return len(self.tree.get("sweep", ()))


@dataclass(frozen=True, slots=True)
class Refusal:
    """Something that was read, but cannot become a scenario.

    Attributes:
        mark: its position.
        what: its name in the file; empty for the file as a whole.
        reason: why not, a clause.
    """

    mark: Mark
    what: str
    reason: str

    def __str__(self) -> str:
        return ": ".join(filter(None, (self.mark.file_line, self.what, f"not imported: {self.reason}")))


class RefusedError(Exception):
    """A run cannot become a scenario; the text is the reason. Never raised outside this package."""


@dataclass(slots=True)
class Harvest:
    """Everything that was found; the readers add to it.

    Attributes:
        cases: what becomes a scenario file each.
        refusals: what was read and cannot.
        problems: mistakes, after which nothing is written.
    """

    cases: list[Case] = field(default_factory=list)
    refusals: list[Refusal] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def take(self, mark: Mark, what: str, runs: Sequence[tuple[str, Callable[[], Iterable[T]]]]) -> list[T]:
        """Return what the runs give, and add one refusal per reason for those that cannot be imported.

        Args:
            mark: the position of what has the runs.
            what: its name in the file.
            runs: the name of each, and what returns its cases or raises :class:`RefusedError`.
        """
        taken: list[T] = []
        refused: dict[str, list[str]] = {}
        for name, read in runs:
            try:
                taken += read()
            except RefusedError as error:
                refused.setdefault(str(error), []).append(name)
        for reason, names in refused.items():
            whole = len(names) == len(runs)
            self.refusals.append(Refusal(mark, what if whole else f"{what}, {', '.join(names)}", reason))
        return taken

    def refuse_others(self, mark: Mark, one: str, many: str, names: list[str]) -> None:
        """Add one refusal for everything in a file that is not DeepSeek-R1, if there is anything.

        Args:
            mark: the position of the file.
            one: what one of them is, a noun.
            many: its plural.
            names: their models.
        """
        if names:
            models = ", ".join(sorted(set(names)))
            count = f"1 {one}" if len(names) == 1 else f"{len(names)} {many}"
            self.refusals.append(Refusal(Mark(mark.source), count, f"other models ({models})"))
