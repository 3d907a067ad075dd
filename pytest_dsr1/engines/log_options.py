"""Options in effect that the log of an engine shows."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pytest_dsr1.engines.in_effect import Option

START_BYTES = 1 << 26
"""An engine logs its options while it starts, so only this much of its log is read."""
_LONGEST = 1 << 20
_ARGUMENTS = b"LLM Args"
"""The options follow in the next line."""
_WORDS = (
    *(b"PyTorchConfig(", b"AttentionRuntimeFeatures(", b"max_num_requests=", b"paged KV cache", b"version"),
    *(b"Initializing a V1", b"attention backend", b"AttentionBackendEnum", b"MoE backend", b"EP Rank"),
    *(b"Chunked prefill", b"KV cache size", b"KV cache memory"),
)
"""Words of every line that shows an option. Other lines, such as those of progress bars, are passed over."""


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

    The last match counts: engines try out a small KV cache before they make the one that stays. What is not a
    value, such as a number of two processes that wrote at once, is left out.
    """
    for option in options:
        if found := option.pattern.findall(text):
            with suppress(ValueError, OverflowError):
                yield Option(option.name, option.value(found[-1]), read_from)


def start_of(log: Path) -> str:
    """Return the lines of a log's start that may show options; empty if it cannot be read."""
    kept, seen, follows = [], 0, False
    with suppress(OSError), log.open("rb") as file:
        while seen < START_BYTES and (line := file.readline(_LONGEST)):
            seen += len(line)
            if follows or _ARGUMENTS in line or any(word in line for word in _WORDS):
                kept.append(line)
            follows = _ARGUMENTS in line
    return b"".join(kept).decode("utf-8", "replace")


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
