"""Hostile text, and a reader of Markdown."""

from __future__ import annotations

from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

HOSTILE = (
    "|",
    "`",
    "```",
    "<script>alert(1)</script>",
    "</td></table>",
    "<!--",
    "[x](javascript:alert(1))",
    "![](http://x.example/p.png)",
    "<http://x.example>",
    "https://x.example/",
    "www.x.example",
    "me@x.example",
    "@all",
    "#1",
    "!1",
    "&lt;",
    "&#60;",
    "\\",
    "_a_",
    "__init__",
    "a_b",
    "**b**",
    "~~c~~",
    "1. ",
    "- ",
    "+ ",
    "> ",
    "# ",
    "    ",
    "---",
    "===",
    "$x$",
    "[^1]",
    "/merge",
    "\n",
    "\r\n\n",
    "\x1b[31m",
    "\x00",
    "\u202e",
    "\ud800",
)


TEXT = st.lists(st.sampled_from(HOSTILE) | st.text(max_size=5), max_size=12).map("".join)


RENDERER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


def tokens(text: str) -> list[Token]:
    """Return all tokens of a document, including those within paragraphs and cells."""
    return [each for token in RENDERER.parse(text) for each in (token, *(token.children or ()))]


def types(text: str) -> set[str]:
    return {token.type for token in tokens(text)} - {"inline", "text_special"}
