"""Clues of the engine's start: one that is unlike the starts after it."""

from __future__ import annotations

from collections.abc import Iterable

from pytest_dsr1.diagnosis.clues import Clue, clue
from pytest_dsr1.measurement.measurement import Measurement


@clue("compile-cache")
def compile_cache(measurement: Measurement) -> str | None:
    """A start that compiled code, which later starts find ready."""
    if not measurement.caches_filled:
        return None
    return (
        f"this start put compiled code in {', '.join(measurement.caches_filled)}, so it is not like the "
        "starts after it: run again"
    )


def pytest_dsr1_clues() -> Iterable[Clue]:
    """List the clues of the start."""
    return (compile_cache,)
