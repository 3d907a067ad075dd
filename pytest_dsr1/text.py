"""Text for people: untrusted text made safe to print, numbers, times, paths, columns, the nearest word."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

_CUT = "..."
_LINE_LIMIT = 2_000
_COMMAND = r"(?<!\S)::(?=[A-Za-z-]+(?: |::))|##(?=\[)"
"""The start of a command of GitHub's runner: ``::`` after any indentation; its older form, anywhere."""


def plain(text: str, limit: int = 300) -> str:
    r"""Return the text on one line of at most ``limit`` characters, without terminal control sequences.

    Unprintable characters become escapes such as ``\x1b`` or ``\u202e``: control characters, also of C1; line
    breaks; characters that change the writing direction or have no width; halves of surrogate pairs.

    Args:
        text: any text.
        limit: at least 3; longer text ends in three dots.
    """
    # An escape is longer than its character, so more text than this is never needed.
    shown = "".join(c if c.isprintable() else _escape(ord(c)) for c in text[: limit + 1])
    return shown if len(shown) <= limit else shown[: limit - len(_CUT)] + _CUT


def harmless(text: str) -> str:
    """Return the text with its line breaks, without commands to a terminal or the log of a CI server.

    No line begins like a command of GitHub's runner (``::`` and ``##[``, actions/runner ActionCommand.cs),
    even if lines are wrapped later.
    """
    lines = (
        re.sub(_COMMAND, lambda found: " ".join(found[0]), line.expandtabs(4)) for line in text.splitlines()
    )
    return "\n".join(plain(line, _LINE_LIMIT) for line in lines)


def say(text: object, *, error: bool = False) -> None:
    """Print the text, made :func:`harmless`; everything this package prints for people goes through here.

    Args:
        text: a text, or an exception with a message.
        error: print on stderr.
    """
    print(harmless(str(text)), file=sys.stderr if error else sys.stdout)


def number(value: float) -> str:
    """Format a value for people: four significant digits or whole thousands, never an exponent."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}" if abs(value) >= 0.001 or not value else f"{value:.6f}"


def clock(seconds: float) -> str:
    """Return a duration as mm:ss, or h:mm:ss from one hour; fractions of a second are cut off."""
    whole = max(int(seconds), 0)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes:02}:{rest:02}"


def shown_path(path: Path) -> str:
    """Return the path as a user would type it: relative if it is below the working directory."""
    try:
        return str(path.absolute().relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(path)


def nearest(word: str, candidates: Iterable[str]) -> str | None:
    """Return the candidate that was probably meant; case and dashes do not matter."""
    import difflib  # takes a millisecond, and every pytest run imports this module

    known = {_folded(candidate): candidate for candidate in candidates}
    close = difflib.get_close_matches(_folded(word), known, n=1, cutoff=0.6)
    close = close or [name for name in known if len(word) > 3 and _folded(word) in name]
    return known[close[0]] if close else None


def did_you_mean(word: str, candidates: Iterable[str]) -> str:
    """Return a remark to put after an unknown word; empty if no candidate is near."""
    near = nearest(word, candidates)
    return f" (did you mean {near}?)" if near else ""


def _folded(word: str) -> str:
    return word.lower().replace("-", "_")


def columns(rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """Yield a line per row; each column is as wide as its widest cell, two spaces apart."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _escape(code: int) -> str:
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
