"""Why is my number low? What a measurement itself shows of the known reasons, ours and those of plugins."""

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
        page: where a person reads more about it; empty where there is nothing.
    """

    key: str
    sentence: str
    page: str = ""


def diagnose(measurement: Measurement) -> tuple[FoundClue, ...]:
    """Return what the measurement shows of the reasons why its figures may be low; empty where it shows none.

    They are in the order from what spoils the whole comparison to what costs some percent, then those of
    plugins. A plugin's clue that fails says so in the place of its sentence.

    Raises:
        UserError: a plugin cannot list its clues.
    """
    found = []
    for plugin, clue in extensions.values("pytest_dsr1_clues", Clue):
        try:
            sentence = clue.find(measurement)
        except Exception as error:  # noqa: BLE001 - whatever a plugin raises
            sentence = extensions.failure(plugin, f"its clue {clue.key}", error)
        if sentence is not None:
            found.append(FoundClue(clue.key, sentence, clue.page))
    return tuple(found)
