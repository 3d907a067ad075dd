"""Text from outside does no harm in Markdown, and is shown as it is."""

from __future__ import annotations

import re
from html import unescape

import pytest
from hypothesis import given

from pytest_dsr1.reporting.ci.markdown_escape import LINE_LIMIT, block, code, escaped, prose
from pytest_dsr1.text import plain
from tests.helpers.markdown import RENDERER, TEXT, tokens, types


def visible(text: str) -> str:
    """What a person reads of paragraphs."""
    shown = "".join(token.content for token in tokens(text) if token.type in {"text", "text_special"})
    return shown.replace("\u200b", "")


PARAGRAPH = {"paragraph_open", "paragraph_close", "text"}


@given(TEXT)
def test_escaped_is_text_and_nothing_else_wherever_it_stands(text: str) -> None:
    shown, whole = escaped(text), plain(text)
    assert types(shown) <= PARAGRAPH
    assert visible(shown).rstrip(" ") == whole.rstrip(" ")
    assert types(f"# a {shown}") == {"heading_open", "heading_close", "text"}
    row = RENDERER.render(f"|a|b|\n|---|---|\n|{shown}|c|\n")
    assert re.findall(r"<(\w+)", row) == ["table", "thead", "tr", "th", "th", "tbody", "tr", "td", "td"]
    cells = re.findall("<td>(.*?)</td>", row)
    assert unescape(cells[0]).replace("\u200b", "").rstrip(" ") == whole.rstrip(" ")
    assert cells[1] == "c"


@given(TEXT)
def test_escaped_leaves_nothing_that_is_looked_for_in_rendered_text(text: str) -> None:
    shown = unescape(escaped(text))
    assert not re.search(r"[@#!~%$&]\w|://|www\.", shown, re.IGNORECASE)


@given(TEXT)
def test_code_is_one_code_span(text: str) -> None:
    (span,) = [token for token in tokens(f"- at {code(text)}") if token.type == "code_inline"]
    assert types(f"- at {code(text)}") <= {
        "bullet_list_open",
        "bullet_list_close",
        "list_item_open",
        "list_item_close",
        *PARAGRAPH,
        "code_inline",
    }
    assert span.content.strip() == plain(text, LINE_LIMIT).strip()


@given(TEXT)
def test_block_is_one_block_of_code(text: str) -> None:
    (fence,) = tokens(block(text))
    assert fence.type == "fence"
    assert fence.info == ""
    assert fence.content.splitlines() == [plain(line, LINE_LIMIT) for line in text.splitlines()]


def test_the_middle_of_a_long_text_is_left_out() -> None:
    lines = block("\n".join(f"line {number}" for number in range(100))).splitlines()
    assert len(lines) == 63
    assert lines[30:33] == ["line 29", "... 40 more lines, see the results folder ...", "line 70"]


@pytest.mark.parametrize("show", [escaped, code, block])
def test_ten_thousand_characters_are_cut(show: type) -> None:
    assert len(str(show("`<" * 5_000))) < 3_000


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("16 tok/s (-20.0%)", "16 tok/s (-20.0%)"),
        ("gate.presumed_noise_percent", "gate.presumed_noise_percent"),
        (">= 19", "&#62;= 19"),
        ("1. a", "&#49;. a"),
        ("me@x", "me&#64;&#8203;x"),
        ("Zürich, 日本", "Zürich, 日本"),
    ],
)
def test_what_is_harmless_stays_readable(text: str, expected: str) -> None:
    assert escaped(text) == expected


def letters(text: str) -> str:
    """A text without what shows where code begins, and without spaces."""
    return "".join(text.replace("\u200b", "").replace("`", "").split())


@given(TEXT)
def test_prose_is_text_and_code_and_nothing_else_wherever_it_stands(text: str) -> None:
    for around in (text, f"do `{text}` now", f"`a` {text}"):
        shown = prose(around)
        assert types(shown) <= {*PARAGRAPH, "code_inline"}
        parts = (t.content for t in tokens(shown) if t.type in {"text", "text_special", "code_inline"})
        assert letters("".join(parts)) == letters(plain(around, 600))
        row = RENDERER.render(f"|a|b|\n|---|---|\n|{shown}|c|\n")
        assert len(re.findall("<td>", row)) == 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("See `pytest-dsr1 docs gate#references`.", "See `pytest-dsr1 docs gate#references`."),
        ("`a` and `~/b@c $HOME`", "`a` and `~/b@c $HOME`"),
        ("`a|b`", "&#96;a&#124;b&#96;"),
        ("a ` b", "a &#96; b"),
        ("me@x `me@x`", "me&#64;&#8203;x `me@x`"),
    ],
)
def test_a_command_in_prose_can_be_pasted(text: str, expected: str) -> None:
    assert prose(text) == expected
