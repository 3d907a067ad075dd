"""The declaration of clues: patterns in a measurement that explain why a figure is low."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pytest_dsr1.measurement.measurement import Measurement

Find = Callable[[Measurement], str | None]
"""Returns a sentence with what was seen, its numbers and what to do next; None if nothing was seen."""

Cost = Callable[[Measurement], float | None]
"""Returns the most that a pattern can have cost, as a percentage of the figure; None if that is unknown."""

PAGE = "pytest-dsr1 docs why-low"


def _unknown(_: Measurement) -> None:
    return None


@dataclass(frozen=True, slots=True)
class Clue:
    """One known reason; made by :func:`clue`.

    Attributes:
        key: its name, in lower case with dashes.
        pattern: what the clue looks for, as a sentence.
        page: where to read more; empty if there is no page.
        find: looks for the pattern.
        gpu_state: what the pattern says about GPUs that are otherwise healthy, for a headline; may be empty.
        cost_percent: returns the most that it can have cost; None if that is unknown.
    """

    key: str
    pattern: str
    page: str
    find: Find
    gpu_state: str = ""
    cost_percent: Cost = _unknown


def clue(
    key: str, *, page: str | None = None, gpu_state: str = "", cost_percent: Cost = _unknown
) -> Callable[[Find], Clue]:
    """Declare a function as a clue; its docstring is the pattern. A plugin lists it in ``pytest_dsr1_clues``.

    It reads only saved values, so it also works on a replay. It returns a sentence only if its pattern is
    really there: a healthy run of a published scenario gives no clue.

    Args:
        key: its name, in lower case with dashes.
        page: where to read more; by default the section ``key`` of our own page.
        gpu_state: what the pattern says about GPUs that are otherwise healthy, such as "at their power cap".
        cost_percent: returns the most that it can have cost, so that it is not taken for the cause of more.
    """

    def declare(find: Find) -> Clue:
        where = f"{PAGE}#{key}" if page is None else page
        return Clue(key, " ".join((find.__doc__ or "").split()), where, find, gpu_state, cost_percent)

    return declare
