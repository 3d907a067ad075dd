"""Text from outside, made harmless for a terminal and a page."""

from __future__ import annotations

import re

_HARMFUL = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, what turns the direction of text, line separators, and halves of surrogate pairs."""


def plain(text: str, limit: int = 300) -> str:
    """One line of text: each harmful character becomes visible, and what is too long is shortened."""
    line = _HARMFUL.sub("\N{REPLACEMENT CHARACTER}", text)
    return line if len(line) <= limit else f"{line[: limit - 3]}..."
