"""Text from outside in Markdown: escaped, so that GitHub and GitLab show it unchanged."""

from __future__ import annotations

import re

from pytest_dsr1.text import plain

LINE_LIMIT = 500
_LINES = 60
_MARKUP = re.compile(
    r"[^\w ,.;/()+=%?'\"\-:]"  # anything but letters, digits, and characters without a meaning within a line
    r"|_(?![^\W_])|(?<![^\W_])_"  # an underscore that is not within a word
    r"|^[\W_]|^\d(?=\d*[.)](?: |$))"  # the start of a list, a heading or a block
)
_LINKED = re.compile(
    r"[@#!~%$&^](?=[\w\"'{])"  # mentions, and references to issues, merge requests, labels, milestones
    r"|:(?=//)|www(?=\.)",  # addresses
    re.IGNORECASE,
)
_BREAK = "\u200b"
"""Zero-width space: invisible, and it splits a name or address in two."""


def escaped(text: str, limit: int = 300) -> str:
    """Return the text on one line, for a table, a heading or a sentence.

    Every Markdown renderer reads a character reference as the character, never as markup. Mentions and
    addresses, which renderers also find in rendered text, are split by an invisible space.
    """
    apart = _LINKED.sub(lambda found: found.group() + _BREAK, plain(text, limit))
    return _MARKUP.sub(lambda found: f"&#{ord(found.group())};", apart)


def prose(text: str, limit: int = 600) -> str:
    """Return sentences on one line: what they have between backticks as code, to be copied, the rest escaped.

    A command must not have the invisible spaces of :func:`escaped`: no shell understands them. Code with a
    bar is escaped like the rest, because it would end the cell of a table.
    """
    shown = plain(text, limit)
    found = [*re.finditer(r"`([^`|]+)`", shown)]
    ends = [0, *(each.end() for each in found)]
    starts = [*(each.start() for each in found), len(shown)]
    # Only the first piece begins the line, where more characters have a meaning.
    texts = [
        escaped(f"x{shown[end:start]}", limit + 1)[1:] if end else escaped(shown[end:start], limit)
        for end, start in zip(ends, starts, strict=True)
    ]
    spans = [*(code(each[1]) for each in found), ""]
    return "".join(text + span for text, span in zip(texts, spans, strict=True))


def code(text: str) -> str:
    """Return the text on one line as a code span, to be copied; not for tables."""
    shown = plain(text, LINE_LIMIT)
    fence = "`" * (_longest_run(shown) + 1)
    edge = " " if shown[:1] in {"`", " ", ""} or shown[-1:] in {"`", " "} else ""
    return f"{fence}{edge}{shown}{edge}{fence}"


def block(text: str) -> str:
    """Return the text as a block of code with its line breaks; the middle of a long one is omitted."""
    lines = [plain(line, LINE_LIMIT) for line in text.splitlines()]
    if len(lines) > _LINES:
        half = _LINES // 2
        omission = f"... {len(lines) - 2 * half} more lines, see the results folder ..."
        lines = [*lines[:half], omission, *lines[-half:]]
    fence = "`" * max([3, *(_longest_run(line) + 1 for line in lines)])
    return "\n".join([fence, *lines, fence])


def _longest_run(text: str) -> int:
    return max(map(len, re.findall("`+", text)), default=0)
