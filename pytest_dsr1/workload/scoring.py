r"""The rule that decides whether an answer is right: an exact match, without a model as a judge.

What follows the last ``</think>`` counts, or the whole text without one; nothing does if thoughts begin there
(``<think>``) and do not end. In it, the content of the last ``\boxed{...}`` counts, if there is one.

If the expected answer is a number, the last number there is compared, as a number: signs of currency, commas
between thousands, a period after it and zeros after the point do not matter, so ``$1,018.00.`` is 1018.
Numbers in ``\text{...}`` count only if there are no others, and exponents of units never do, so
``72 \text{ m}^2`` is 72.

Otherwise the content of the box is compared, or the last line that is not empty: without case, blanks,
brackets, stars or a period around it, ``\text`` or ``Answer:`` before it, so ``**Answer: (C)**`` is ``C``. If
one letter is expected, it may also begin the text of its choice (``C) 12 meters``) and end a sentence that
names it (``The correct option is C.``).
"""

from __future__ import annotations

import re
from decimal import Decimal

_THOUGHTS, _THOUGHTS_END = "<think>", "</think>"
_BOX = r"\boxed{"
_BRACE = re.compile(r"\\boxed\{|[{}]")
_NUMBER = re.compile(
    r"(?P<sign>(?<![\w.)\]}])[-\u2212])?"
    r"(?:\\?[$\u20ac\u00a3\u00a5][ ]?(?P<late>[-\u2212])?)?"
    r"(?<![^\W_])(?<![A-Za-z}]\^)(?<![A-Za-z}]\^\{)(?P<digits>[0-9]{1,3}(?:(?:,|\{,\}|\\,)[0-9]{3})+(?![0-9])(?:\.[0-9]+)?|[0-9]+(?:\.[0-9]+)?|\.[0-9]+)"
)
"""A number: a minus that follows no other term, a sign of currency, and digits that no letter precedes.

The exponent of a unit does not count.
"""
_WORDS = re.compile(r"\\(?:text|mathrm|textbf|mbox)\{[^{}]*\}")
"""Words in a formula, such as a unit."""


def is_right(text: str, expected: str) -> bool:
    """Return whether an answer is the expected one."""
    number = as_number(expected)
    if number is None:
        answer, wanted = answer_in(text, expected), _bare(expected)
        return _bare(answer) == wanted or (len(wanted) == 1 and _choice(answer) == wanted)
    found = _last_number(_counted(text))
    return found is not None and found == number


_AROUND = re.compile(
    r"^(?:\\text\{([^{}]*)\}|(?:the )?(?:final )?answer(?: is)?:? (.*)|\(([^()]*)\)|\[([^\[\]]*)\])$",
    re.DOTALL,
)
"""What people and models write around an answer."""


def _bare(text: str) -> str:
    """Return an answer without case and without what is only around it."""
    bare = text.strip().strip("*_`$ ").removesuffix(".").strip("*_`$ ").casefold()
    found = _AROUND.match(bare)
    return bare if found is None else _bare(next(part for part in found.groups() if part is not None))


_NAMED = re.compile(
    r"(?P<before>^|.*\b(?:is|be|option|choice|answer):? )\(?(?P<letter>[a-z])"
    r"(?:\)?\.?$|(?:\)|\.|:) (?P<choice>.*))"
)
"""One letter that begins a line or follows a word that names it; it ends the line, or its choice follows."""
_OTHER = re.compile(r"(?:^| )\(?[a-z][).:]")
_DENIED = re.compile(r"\bnot\b|n't\b")


def _choice(answer: str) -> str | None:
    """Return the letter that a line names as its choice; None if it names none, or several."""
    line = " ".join(re.sub(r"[*_`$]", "", answer).casefold().split())
    found = _NAMED.match(line)
    if found is None or _DENIED.search(found["before"]) or _OTHER.search(found["choice"] or ""):
        return None
    return found["letter"]


def answer_in(text: str, expected: str) -> str:
    """Return what is compared with the expected answer, for a person; empty if there is nothing.

    A number is in digits, without commas.
    """
    counted = _counted(text)
    if as_number(expected) is not None:
        found = _last_number(counted)
        return "" if found is None else f"{found:f}"
    if _box(_after_thoughts(text)) is not None:
        return counted.strip()
    return next((line.strip() for line in reversed(counted.splitlines()) if line.strip()), "")


def as_number(text: str) -> Decimal | None:
    """Return the number that is all of a text, apart from blanks, a percent sign and a period; else None."""
    stripped = text.strip().removesuffix(".").removesuffix("%").rstrip()
    match = _NUMBER.fullmatch(stripped)
    return None if match is None else _value(match)


def _last_number(text: str) -> Decimal | None:
    for part in (_WORDS.sub(r"\\text{}", text), text):
        if values := [_value(match) for match in _NUMBER.finditer(part)]:
            return values[-1]
    return None


def _value(match: re.Match[str]) -> Decimal:
    digits = re.sub(r"[^0-9.]", "", match["digits"])
    return Decimal(digits).copy_negate() if match["sign"] or match["late"] else Decimal(digits)


def _counted(text: str) -> str:
    """Return the part of an answer that counts: the last box, or all that follows the thoughts."""
    text = _after_thoughts(text)
    box = _box(text)
    return text if box is None else box


def _after_thoughts(text: str) -> str:
    rest = text.rpartition(_THOUGHTS_END)[2]
    return "" if _THOUGHTS in rest else rest


def _box(text: str) -> str | None:
    """Return the content of the last box that is closed; None without one. Braces inside are balanced."""
    boxes: list[tuple[int, int]] = []
    opened: list[int | None] = []
    for brace in _BRACE.finditer(text):
        if brace[0] != "}":
            opened.append(brace.end() if brace[0] == _BOX else None)
        elif opened and (begin := opened.pop()) is not None:
            boxes.append((begin, brace.start()))
    return text[slice(*max(boxes))] if boxes else None
