"""A family of causes: how its lines read, what to say about them, and what to do next."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Kind = Literal["stated", "cause", "early", "consequence", "aftermath"]
"""How much a line of a family says.

``stated``: a launcher states why it ended the run, so nothing else matters. ``cause``: the first one wins.
``early``: a cause only if the program got no further: many programs try an import and go on without it.
``consequence``: it may follow from another fault, such as a wait that ended; it counts only without a cause.
``aftermath``: what is always said after a failure, and says nothing else.
"""


@dataclass(frozen=True, slots=True)
class Family:
    """One family of causes.

    Attributes:
        name: its name, by which an engine gives a next step of its own.
        pattern: finds it in a line without prefixes.
        what: what happened, a phrase that follows the name of the program.
        step: what to do next; empty if only the engine knows.
        source: where such lines were reported or declared.
        kind: how much it says.
        quotes: whether the message repeats the line.
        final: whether nothing more can come, so that a silent program may be stopped.
        calm: whether a line counts that its writer calls a warning.
        passing: whether a program can survive it, and has if it gets to its next phase; a cause that is not
            so replaces it.
        follows: whether it may follow from an unknown exception before it in the same phase; a certain cause
            of a later phase replaces it.
        ends: whether the launcher or engine that says so then ends the other processes with a signal.
    """

    name: str
    pattern: re.Pattern[str]
    what: str
    step: str
    source: str
    kind: Kind = "cause"
    quotes: bool = True
    final: bool = False
    calm: bool = False
    passing: bool = False
    follows: bool = False
    ends: bool = False


def one_of(*patterns: str) -> re.Pattern[str]:
    """Return a pattern that finds any of these, in upper or lower case."""
    return re.compile("|".join(patterns), re.IGNORECASE)
