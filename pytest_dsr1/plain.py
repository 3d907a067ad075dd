"""Text from outside, such as a saved file's, made safe to show."""

from __future__ import annotations

import re
import sys

_CUT = "..."
_LINE_LIMIT = 2_000
_COMMAND = re.compile(r"(?<!\S)::(?=[A-Za-z-]+(?: |::))|##(?=\[)")
"""How a line begins that GitHub's runner obeys, whatever it is indented by; of its older form, anywhere."""


def plain(text: str, limit: int = 300) -> str:
    r"""The text on one line, at most ``limit`` characters long, with nothing in it that a terminal obeys.

    What is not printable (control characters, also of C1; line breaks; characters that turn the direction of
    writing or take no room; halves of surrogate pairs) is shown as an escape such as ``\x1b`` or ``\u202e``.

    Args:
        text: any text.
        limit: at least 3; longer text ends in three dots.
    """
    # An escape is longer than what it stands for, so more than this is never needed.
    shown = "".join(c if c.isprintable() else _escape(ord(c)) for c in text[: limit + 1])
    return shown if len(shown) <= limit else shown[: limit - len(_CUT)] + _CUT


def harmless(text: str) -> str:
    """The text with its line breaks, with nothing in it that a terminal or the log of a CI server obeys.

    Wherever a line is broken later, none begins as a command of GitHub's runner does (``::`` and ``##[``,
    actions/runner ActionCommand.cs).
    """
    lines = (_COMMAND.sub(lambda found: " ".join(found[0]), line.expandtabs(4)) for line in text.splitlines())
    return "\n".join(plain(line, _LINE_LIMIT) for line in lines)


def say(text: object, *, error: bool = False) -> None:
    """Print the text, made :func:`harmless`: what this package prints for people goes through here.

    Args:
        text: or an exception, whose message is meant.
        error: on stderr.
    """
    print(harmless(str(text)), file=sys.stderr if error else sys.stdout)


def _escape(code: int) -> str:
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
