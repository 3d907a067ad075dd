"""Plain English, as docs/style.md describes it: words and phrases that are not written here.

The list holds for ``PARTS``; of the package for its messages, docstrings and comments, and the pages that are
made from them.
"""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.paths import DOCS, ROOT

PARTS = ("README.md", "CONTRIBUTING.md", "AGENTS.md", "SECURITY.md", "docs", "pytest_dsr1")
MADE_OF_THE_PACKAGE = {"scenario.md", "metrics.md", "dialects.md"}
TELL = re.compile(r"\b(?:tell|tells|told)\b", re.IGNORECASE)
MOST_TELL = 40
"""In all of package, docs and README."""

DENIED = {
    r"in the mean": "on average",
    r"(?<!there\s)\bis no (?!longer|more than|less than)": "is not a",
    r"prove[sd]? nothing": "does not count",
    r"is no evidence": "does not count",
    r"are no evidence": "do not count",
    r"(?<!there\s)\bis none(?! of)": "there is none, or name it",
    r"so many": "that many, or the number",
    r"(?:some|no)body": "a person, another user, no process",
    r"likewise": "also, or say it again",
    r"beside": "next to, in addition to",
    r"in the place of": "instead of",
    r"put (?:it |them |everything |\w+ \w+ )?back": "restore",
    r"(?:^|[.:;] )of (?:which|whose)": "name the noun",
    r"is to be": "must be, or has to be",
    r"at the very (?:most|least)": "at most, at least",
    r"(?:\d+ ?(?:W|MHz|GB|GiB|kB|ms|us|tok/s)|requests|tokens|samples|references|files|lines?) an? "
    r"(?:GPU|rank|node|layer|token|event|request|user|picture|step|reading)": "per GPU, per rank, per token",
    r"whoever|whatever it is|that which": "name who or what",
    r"(?:is|are) ended": "is stopped, or name who ends it",
    r"(?:is|are) (?:on|off) by default since": "has been on by default since",
    r"runs already": "already runs, or is running",
    r"one after the other": "one at a time",
    r"from when to when": "the time span",
    r"another \w+ than": "a different one, or other than",
    r"any more\b(?! than)": "no longer",
    r"waiting runs": "runs that are not accepted yet",
    r"kept connection": "kept-alive connection",
    r"(?:pattern|name|fact)s? (?:that|which) fits?": "matches",
    r"gives? the wrong": "returns a wrong value",
    r"clues why": "clues to",
    r"(?:too near to|nearer bound)": "too near, a tighter bound",
    r"in percent of": "as a percentage of",
    r"(?:to read a|reading of) prompts?": "prefill",
    r"set-up": "setup",
    r"artefact|colour|grey\b|behaviour|neighbour|recognis|synchronis|judgement|spoilt": "American spelling",
}
FOUND = {
    re.compile(
        (r"\b" + phrase).replace(r"\b(?:^", "(?:^").replace(" ", r"\s+"), re.IGNORECASE | re.MULTILINE
    ): better
    for phrase, better in DENIED.items()
}
"""Compiled; a space is any white space, so that a phrase is found over the end of a line."""


def files(part: str) -> Iterator[Path]:
    whole = ROOT / part
    if not whole.is_dir():  # reading a missing one fails
        yield whole
    elif whole == DOCS:
        yield from (path for path in sorted(whole.rglob("*.md")) if path.name not in MADE_OF_THE_PACKAGE)
    else:
        yield from (path for path in sorted(whole.rglob("*")) if path.suffix in {".py", ".html"})
        yield from (path for path in sorted(DOCS.rglob("*.md")) if path.name in MADE_OF_THE_PACKAGE)


def prose(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the English of a file in pieces, each with its first line: no code, no program's output."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        strings = {tokenize.STRING, tokenize.COMMENT, getattr(tokenize, "FSTRING_MIDDLE", tokenize.COMMENT)}
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type in strings:
                yield token.start[0], token.string
    elif path.suffix == ".md":
        code = r"^```.*?^```|^    .*?$|`[^`]*`"
        if path.name == "style.md":  # which quotes what it advises against
            code += r"|\*[^*]*\*"
        text = re.sub(code, blank, text, flags=re.MULTILINE | re.DOTALL)
        text = re.sub(r"(?<=\]\()[^)]*", blank, text)
        yield 1, text
    else:
        yield 1, text


def blank(found: re.Match[str]) -> str:
    return re.sub(r"\S", "_", found[0])


def denied(path: Path) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}:{line + piece.count(chr(10), 0, found.start())}: {found[0]!r}: {better}"
        for line, piece in prose(path)
        for phrase, better in FOUND.items()
        for found in phrase.finditer(piece)
    ]


@pytest.mark.parametrize("part", PARTS)
def test_nothing_denied_is_written(part: str) -> None:
    found = [each for path in files(part) for each in denied(path)]
    assert found == [], "\n".join(found)


def test_a_missing_part_is_not_passed_over() -> None:
    with pytest.raises(FileNotFoundError, match=r"GONE\.md"):
        test_nothing_denied_is_written("GONE.md")


def test_tell_is_rare() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line + piece.count(chr(10), 0, word.start())}"
        for part in PARTS
        for path in files(part)
        for line, piece in prose(path)
        for word in TELL.finditer(piece)
    ]
    assert len(found) <= MOST_TELL, "\n".join(found)


@pytest.mark.parametrize(
    ("written", "problems"),
    [
        ("2 requests a GPU were open in\nthe mean.", 2),
        ("Nobody knows. Of which two are left.", 2),
        ("A folder is no result; there is no folder.", 1),
        ("It is no longer than that.", 0),
        ("Code is not English: `is no` in the mean time.", 1),
        ("    nobody reads a program's output", 0),
    ],
)
def test_the_list_finds_what_it_should(tmp_path: Path, written: str, problems: int) -> None:
    page = tmp_path / "page.md"
    page.write_text(written, encoding="utf-8")
    assert sum(len(phrase.findall(piece)) for _, piece in prose(page) for phrase in FOUND) == problems
