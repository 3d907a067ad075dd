"""The diagnosis: reasons for a low figure that a measurement itself shows, by our clues and plugins'."""

from __future__ import annotations

from dataclasses import dataclass

from pytest_dsr1 import extensions
from pytest_dsr1.diagnosis.clues import Clue
from pytest_dsr1.measurement.measurement import Measurement


@dataclass(frozen=True, slots=True)
class FoundClue:
    """One reason why a figure may be low.

    Attributes:
        key: the clue's name.
        sentence: what was seen, with its numbers, and what to do next.
        page: where to read more; empty if there is no page.
        gpu_state: what it says about GPUs that are otherwise healthy, for a headline; may be empty.
        cost_percent: the most that it can have cost; None if that is unknown.
    """

    key: str
    sentence: str
    page: str = ""
    gpu_state: str = ""
    cost_percent: float | None = None


def diagnose(measurement: Measurement) -> tuple[FoundClue, ...]:
    """Return the reasons, found in the measurement, why its figures may be low.

    Ours are first: those that spoil the whole comparison, then those that cost a few percent. Those of
    plugins follow. A clue that fails gives a sentence that says so: the run is over and must be reported.
    """
    return tuple(
        FoundClue(clue.key, sentence, clue.page, clue.gpu_state, _cost_percent(clue, measurement))
        for plugin, clue in extensions.declared("pytest_dsr1_clues", Clue).values()
        if (sentence := _find(plugin, clue, measurement)) is not None
    )


def _cost_percent(clue: Clue, measurement: Measurement) -> float | None:
    """Return the most that what a clue found can have cost; None if a plugin cannot say it."""
    try:
        return clue.cost_percent(measurement)
    except extensions.FAULTS:
        return None


def _find(plugin: str, clue: Clue, measurement: Measurement) -> str | None:
    """Return what a clue finds, or what is wrong with a plugin's clue."""
    try:
        sentence: object = clue.find(measurement)
    except extensions.FAULTS as error:
        return extensions.failure(plugin, f"its clue {clue.key}", error)
    if sentence is None or isinstance(sentence, str):
        return sentence
    return str(
        extensions.broken(
            plugin, f"its clue {clue.key} returned {extensions.shown(sentence)}, expected text or None"
        )
    )
