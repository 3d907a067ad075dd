"""Options in effect that the log of an engine shows."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pytest_dsr1.engines.in_effect import Option

START_BYTES = 1 << 20
"""An engine logs its options while it starts, so only this much of its log is read."""


@dataclass(frozen=True, slots=True)
class Shown:
    """How a log shows one option.

    Attributes:
        name: of the option.
        pattern: its one group is the value.
        value: makes a JSON value of that text.
    """

    name: str
    pattern: re.Pattern[str]
    value: Callable[[str], object]


def shown_in(text: str, options: Iterable[Shown], read_from: str) -> Iterator[Option]:
    """Yield the options that a text shows.

    The last match counts: engines try out a small KV cache before they make the one that stays.
    """
    for option in options:
        if found := option.pattern.findall(text):
            yield Option(option.name, option.value(found[-1]), read_from)


def start_of(log: Path) -> str:
    """Return the start of a log; empty if it cannot be read."""
    try:
        with log.open("rb") as file:
            return file.read(START_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""


def whole(text: str) -> int:
    """Return a whole number, which may have commas."""
    return int(text.replace(",", ""))


def word(text: str) -> str | None:
    """Return a word without its quotes; None for ``None``."""
    return None if text == "None" else text.strip("'\"")


def switch(text: str) -> bool:
    """Return Python's text of a switch as a value."""
    return text == "True"


def inverted(text: str) -> bool:
    """Return the opposite of a switch, for options that switch something off."""
    return text != "True"


def sizes(text: str) -> list[int]:
    """Return a list of numbers."""
    return [int(size) for size in text.split(",") if size.strip()]
