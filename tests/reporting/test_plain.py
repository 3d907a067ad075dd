"""Text of a saved file must not drive the terminal."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_dsr1.reporting.plain import plain


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("NVIDIA H200, 700 W", "NVIDIA H200, 700 W"),
        ("Zürich 日本", "Zürich 日本"),
        ("\x1b[31mred\x07\n\t\x7f", "\\x1b[31mred\\x07\\x0a\\x09\\x7f"),
        ("\x9b31m", "\\x9b31m"),
        ("a\u202eb\u2066c\u200bd", "a\\u202eb\\u2066c\\u200bd"),
        ("\ud800\u2028\U000e0041", "\\ud800\\u2028\\U000e0041"),
    ],
)
def test_what_a_terminal_obeys_is_shown(text: str, expected: str) -> None:
    assert plain(text) == expected


def test_long_text_is_cut() -> None:
    assert plain("x" * 300) == "x" * 300
    assert plain("x" * 10_000) == "x" * 297 + "..."
    assert plain("abcdef", 5) == "ab..."
    assert plain("\x1b" * 3, 10) == "\\x1b\\x1..."


ANY = st.text(st.characters(codec=None, exclude_categories=()) | st.sampled_from("\x1b\x9b\r\n\u202e\ud800"))


@given(ANY, st.integers(3, 400))
def test_it_is_short_printable_and_for_any_encoder(text: str, limit: int) -> None:
    shown = plain(text, limit)
    assert len(shown) <= limit
    assert not [c for c in shown if unicodedata.category(c) in {"Cc", "Cf", "Cs", "Zl", "Zp"}]
    shown.encode()
    if text.isprintable() and len(text) <= limit:
        assert shown == text
    assert plain(shown, limit) == shown
