"""Text from outside in Markdown: shown as it is, whatever GitHub or GitLab would make of it."""

from __future__ import annotations

import re

from pytest_dsr1.text import plain

LINE_LIMIT = 500
_LINES = 60
_MARKUP = re.compile(
    r"[^\w ,.;/()+=%?'\"\-:]"  # anything but letters, digits, and what means nothing within a line
    r"|_(?![^\W_])|(?<![^\W_])_"  # an underscore means nothing within a word
    r"|^[\W_]|^\d(?=\d*[.)](?: |$))"  # what begins a list, a heading or a block
)
_LINKED = re.compile(
    r"[@#!~%$&^](?=[\w\"'{])"  # mentions, and references to issues, merge requests, labels, milestones
    r"|:(?=//)|www(?=\.)",  # addresses
    re.IGNORECASE,
)
_BREAK = "\u200b"
"""Zero-width space: takes no room, and what is on both sides of it is not one name or address any more."""


def escaped(text: str, limit: int = 300) -> str:
    """The text on one line, for a table, a heading or a sentence.

    Character references mean the character alone to every Markdown renderer, never markup. What renderers
    look for in text that is already rendered (mentions, addresses) is broken up without a trace.
    """
    apart = _LINKED.sub(lambda found: found.group() + _BREAK, plain(text, limit))
    return _MARKUP.sub(lambda found: f"&#{ord(found.group())};", apart)


def code(text: str) -> str:
    """The text on one line as a code span, to be copied; not for tables."""
    shown = plain(text, LINE_LIMIT)
    fence = "`" * (_longest_run(shown) + 1)
    edge = " " if shown[:1] in {"`", " ", ""} or shown[-1:] in {"`", " "} else ""
    return f"{fence}{edge}{shown}{edge}{fence}"


def block(text: str) -> str:
    """The text as a block of code, its line breaks kept; the middle of a long one is left out."""
    lines = [plain(line, LINE_LIMIT) for line in text.splitlines()]
    if len(lines) > _LINES:
        half = _LINES // 2
        left_out = f"... {len(lines) - 2 * half} more lines, see the results folder ..."
        lines = [*lines[:half], left_out, *lines[-half:]]
    fence = "`" * max([3, *(_longest_run(line) + 1 for line in lines)])
    return "\n".join([fence, *lines, fence])


def _longest_run(text: str) -> int:
    return max(map(len, re.findall("`+", text)), default=0)
