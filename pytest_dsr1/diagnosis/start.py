"""Clues about the engine's start: one that differs from later starts."""

from __future__ import annotations

from collections.abc import Iterable

from pytest_dsr1.diagnosis.clues import Clue, clue
from pytest_dsr1.measurement.measurement import Measurement


@clue("compile-cache")
def compile_cache(measurement: Measurement) -> str | None:
    """A start that compiled code, which later starts reuse."""
    if not measurement.caches_filled:
        return None
    return (
        f"this start compiled code into {', '.join(measurement.caches_filled)}, so it is not like later "
        "starts: run again"
    )


def pytest_dsr1_clues() -> Iterable[Clue]:
    """List the clues about the start."""
    return (compile_cache,)
