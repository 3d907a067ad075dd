"""Text for people: untrusted text made safe to print, numbers, times, paths, columns, the nearest word."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
import textwrap
from collections.abc import Container, Iterable, Iterator, Sequence
from itertools import zip_longest
from pathlib import Path

VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
"""A variable that a scenario names, and that a shell expands too."""
_CUT = "..."
_LINE_LIMIT = 2_000
_COMMAND = r"(?<!\S)::(?=[A-Za-z-]+(?: |::))|##(?=\[)"
"""The start of a command of GitHub's runner: ``::`` after any indentation; its older form, anywhere."""
LIKE_A_COMMAND = r"(?<!\S)::(?=[A-Za-z-])|##(?=\[)"
"""The same within a word, whatever follows the word."""


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


def writable(text: str) -> str:
    """Return the text without halves of surrogate pairs, which no file can hold."""
    return text.encode("utf-8", "replace").decode()


def shell_word(text: str) -> str:
    r"""Return the text as one word of a POSIX shell, without a raw control character.

    What a terminal or the log of a CI server obeys is written as octal escapes, from which printf(1) makes
    the characters again: ``"$(printf 'a\033b')"``. Only line breaks at the end stay, in quotes, because the
    shell removes them from ``$(...)``.
    """
    if text.isprintable() and not re.search(LIKE_A_COMMAND, text):
        return shlex.quote(text)
    kept = text.rstrip("\n")
    made = (char if char.isprintable() and char not in "'\\%#:-" else _octal(char) for char in kept)
    return f"\"$(printf '{''.join(made)}'){text[len(kept) :]}\""


def expanding_word(text: str) -> str:
    """Return the text as one :func:`shell_word` in which the shell still expands ``${VARIABLE}``."""
    pieces = VARIABLE.split(text)
    if len(pieces) == 1:
        return shell_word(text)
    parts, names = pieces[::2], [*(f"${{{name}}}" for name in pieces[1::2]), ""]
    if harmless(text) == text:
        safe = [re.sub(r'([\\"$`])', r"\\\1", part) for part in parts]
        return '"' + "".join(part + name for part, name in zip(safe, names, strict=True)) + '"'
    words = (shell_word(part) if part else "" for part in parts)
    return "".join(word + (name and f'"{name}"') for word, name in zip(words, names, strict=True))


def shell_command(words: Iterable[str]) -> str:
    """Return a command of a POSIX shell; each word is a :func:`shell_word`."""
    return " ".join(map(shell_word, words))


def shell_comment(text: str) -> str:
    """Return the text as a comment of a shell script; each of its lines is one."""
    return "\n".join(f"# {line}" for line in harmless(text).splitlines())


def say(text: object, *, error: bool = False) -> None:
    """Print the text, made :func:`harmless`; everything this package prints for people goes through here.

    Args:
        text: a text, or an exception with a message.
        error: print on stderr.
    """
    print(harmless(str(text)), file=sys.stderr if error else sys.stdout)


def head(text: str) -> str:
    """Return the first line of a message; if that is the heading of a list, the list's first entry."""
    first, *rest = text.strip().splitlines() or [""]
    return rest[0].strip() if first.endswith(":") and rest else first


def brief(text: str) -> str:
    """Return the first line of a message; if that is the heading of a list, with the list's first entry."""
    first, entry = text.strip().splitlines()[0], head(text)
    return first if first == entry else f"{first} {entry}"


def quoted(lines: Iterable[str]) -> str:
    """Return lines of a log as they stand under a message.

    The bar keeps a CI server from executing a line such as ``::error::``.
    """
    return "".join(f"\n  | {line}" for line in lines)


def number(value: float) -> str:
    """Format a value for people: four significant digits or whole thousands, never an exponent."""
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.4g}" if abs(value) >= 0.001 or not value else f"{value:.6f}"


def hours(seconds: float, gpus: int) -> str:
    """Return a time in hours, with the GPU-hours if there are GPUs: ``8 h, 64 GPU-h``."""
    times = {"h": seconds / 3600, **({"GPU-h": seconds * gpus / 3600} if gpus > 0 else {})}
    return ", ".join(
        f"{time:,.0f} {unit}" if time >= 100 else f"{time:.2g} {unit}" for unit, time in times.items()
    )


def clock(seconds: float) -> str:
    """Return a duration as mm:ss, or h:mm:ss from one hour; fractions of a second are cut off."""
    whole = max(int(seconds), 0)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes:02}:{rest:02}"


def json_value(value: object) -> str:
    """Return a JSON value for a message: a list or object by its kind, other values as JSON, cut short."""
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}" if abs(value) < 10**20 else "a number of more than 20 digits"
    return plain(json.dumps(value), 40)


def by_numbers(text: str) -> tuple[str | float, ...]:
    """Return a key that sorts texts by the numbers in them: `concurrency-8` before `concurrency-16`."""
    parts = re.split(r"([0-9]+(?:\.[0-9]+)?)", text)
    return tuple(float(part) if index % 2 else part for index, part in enumerate(parts))


def shown_path(path: Path) -> str:
    """Return the path as a user would type it: relative if it is below the working directory."""
    try:
        return str(path.absolute().relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(path)


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word that was probably meant; case and dashes do not matter."""
    return next(iter(_near(word, known, 1)), None)


def did_you_mean(word: str, known: Iterable[str], *, present: Container[object] = (), most: int = 1) -> str:
    """Return a remark to put after an unknown word; empty if no known word is near.

    Args:
        word: the unknown word.
        known: the words that are possible there.
        present: the words that are already there; the remark says so if it suggests one of them.
        most: the largest number of suggestions.
    """
    near = _near(word, known, most)
    if not near:
        return ""
    words = (f"'{one}'" + ", which is already there" * (one in present) for one in near)
    return f" (did you mean {' or '.join(words)}?)"


def _near(word: str, known: Iterable[str], most: int) -> list[str]:
    import difflib  # takes a millisecond, and every pytest run imports this module

    names = {_folded(name): name for name in known}
    close = difflib.get_close_matches(_folded(word), names, n=most, cutoff=0.6)
    close = close or [name for name in names if len(word) > 3 and _folded(word) in name][:most]
    return [names[name] for name in close]


def _folded(word: str) -> str:
    return word.lower().replace("-", "_")


def padded(
    rows: Sequence[Sequence[str]], right: Container[int] = (), least: Sequence[int] = ()
) -> Iterator[list[str]]:
    """Yield each row with its cells padded, so that each column is as wide as its widest cell.

    Args:
        rows: the cells.
        right: the indexes of the columns that are aligned to the right.
        least: the least width of the first columns.
    """
    needed = [max(map(len, column)) for column in zip(*rows, strict=True)]
    widths = [max(both) for both in zip_longest(needed, least, fillvalue=0)]
    for row in rows:
        yield [
            cell.rjust(width) if index in right else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]


def columns(
    rows: Sequence[Sequence[str]], right: Container[int] = (), least: Sequence[int] = ()
) -> Iterator[str]:
    """Yield a line per row, made of its :func:`padded` cells, two spaces apart."""
    for cells in padded(rows, right, least):
        yield "  ".join(cells).rstrip()


def wrapped(
    text: str, width: int, *, first: str = "", rest: str = "", long_words: bool = True, hyphens: bool = False
) -> list[str]:
    """Return the text in harmless lines of at most ``width`` columns.

    Args:
        text: its line breaks are kept, and lines that are indented by two spaces continue so.
        width: in columns.
        first: the start of the first line.
        rest: the start of the other lines.
        long_words: break words that are longer than a line anywhere; else they extend beyond it.
        hyphens: also break at hyphens, for names that do not fit.
    """
    lines: list[str] = []
    for paragraph in harmless(text).splitlines():
        start = rest if lines else first
        # Of a broken word, the rest may start a line like a command: making it harmless takes one column.
        found = textwrap.wrap(
            paragraph,
            width - 1 if long_words else width,
            initial_indent=start,
            subsequent_indent=rest + ("  " if paragraph.startswith("  ") else ""),
            break_long_words=long_words,
            break_on_hyphens=hyphens,
        )
        lines += map(harmless, found or [start])
    return lines


def _octal(char: str) -> str:
    """Return the bytes of a character as escapes of printf(1), also of what stands for bytes in a path."""
    try:
        encoded = os.fsencode(char)
    except UnicodeEncodeError:
        encoded = char.encode("utf-8", "surrogatepass")
    return "".join(f"\\{byte:03o}" for byte in encoded)


def _escape(code: int) -> str:
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
