"""The command ``pytest-dsr1 docs``: the documentation in the terminal."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

GROUPS = ("start", "how-to", "reference", "background")
"""The folders of docs/, in the order of the list."""
_EXAMPLES = "how-to/ci"
_USAGE_ERROR = 4
_ANCHOR = re.compile(r'<a id="([^"]+)"></a>\n')
_PICTURE = re.compile(r"!\[([^\]]*)\]\([^)]*\)")
_LINK = re.compile(r"\[([^\]]+)\]\(([^)\s]*)\)")


def add(commands: Any) -> None:
    """Add the command to those of ``pytest-dsr1``."""
    docs = commands.add_parser(
        "docs",
        help="list the pages of the documentation, or show one",
        description="List the pages of the documentation, or show one of them. Exit status 4 if a page "
        "does not exist.",
    )
    docs.add_argument("topic", nargs="?", metavar="TOPIC", help="a page, or PAGE#SECTION")
    docs.set_defaults(run=_docs)


def folder() -> Path:
    """Return the folder of the pages: in the wheel, else in the source tree."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "docs"
    return installed if installed.is_dir() else package.parent / "docs"


def pages() -> dict[str, Path]:
    """Return the pages by topic, in the order of the groups."""
    return {path.stem: path for group in GROUPS for path in sorted((folder() / group).rglob("*.md"))}


def show(topic: str) -> str:
    """Return the text of a page, of one of its sections, or of an example file.

    Args:
        topic: ``PAGE``, ``PAGE#SECTION`` or the name of an example pipeline.

    Raises:
        LookupError: it does not exist; the message has the nearest name.
    """
    from pytest_dsr1.text import did_you_mean, harmless

    name, _, section = topic.partition("#")
    known = pages()
    examples = {path.name: path for path in sorted((folder() / _EXAMPLES).iterdir())}
    if name in examples and not section:
        return examples[name].read_text(encoding="utf-8")
    if name not in known:
        meant = did_you_mean(name, [*known, *examples])
        raise LookupError(f"there is no page {name!r}{meant}; `pytest-dsr1 docs` lists all pages")
    text = known[name].read_text(encoding="utf-8")
    if section:
        text = _section(text, name, section)
    return harmless(_readable(text, name)) + "\n"


def _docs(options: argparse.Namespace) -> int:
    from pytest_dsr1.text import say

    if options.topic is None:
        sys.stdout.write("\n".join(_list()) + "\n")
        return 0
    try:
        text = show(options.topic)
    except LookupError as error:
        say(error.args[0], error=True)
        return _USAGE_ERROR
    if sys.stdout.isatty():
        import pydoc

        pydoc.pager(text)
    else:
        sys.stdout.write(text)
    return 0


def _list() -> Iterator[str]:
    from pytest_dsr1.text import columns

    known = pages()
    lines = columns([(f"  {topic}", _title(path)) for topic, path in known.items()])
    by_path = dict(zip(known.values(), lines, strict=True))
    for group in GROUPS:
        yield group
        yield from (line for path, line in by_path.items() if path.is_relative_to(folder() / group))
    yield ""
    yield "pytest-dsr1 docs TOPIC shows a page, pytest-dsr1 docs TOPIC#SECTION one section."


def _title(path: Path) -> str:
    with path.open(encoding="utf-8") as page:
        return page.readline().lstrip("# ").rstrip().replace("`", "")


def _section(text: str, topic: str, section: str) -> str:
    """Return a section with its heading and the sections below it."""
    from pytest_dsr1.text import did_you_mean

    headings = list(_headings(text))
    names = [name for _, _, found in headings for name in found]
    for number, (start, level, found) in enumerate(headings):
        if section in found:
            later = (other for other, depth, _ in headings[number + 1 :] if depth <= level)
            return text[start : next(later, len(text))]
    meant = did_you_mean(section, names)
    raise LookupError(
        f"the page {topic} has no section {section!r}{meant}; `pytest-dsr1 docs {topic}` shows the whole page"
    )


def _headings(text: str) -> Iterator[tuple[int, int, tuple[str, ...]]]:
    """Yield each heading's offset, level and names: its anchor, if any, and GitHub's."""
    position, fenced = 0, False
    anchor: tuple[str, ...] = ()
    for line in text.splitlines(keepends=True):
        fenced ^= line.startswith("```")
        if found := _ANCHOR.fullmatch(line):
            anchor = (found[1],)
        elif line.startswith("#") and not fenced:
            marks, _, title = line.partition(" ")
            slug = re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-")
            yield position, len(marks), (*anchor, slug)
            anchor = ()
        position += len(line)


def _readable(text: str, topic: str) -> str:
    """Return the page without markup that only a browser needs; links name the command."""

    def link(found: re.Match[str]) -> str:
        words, target = found.groups()
        if "://" in target:
            return f"{words} ({target})"
        path, _, section = target.partition("#")
        name = Path(path).name.removesuffix(".md") or topic
        return f"{words} (docs {name}{'#' * bool(section)}{section})"

    text = _PICTURE.sub(r"(picture: \1)", _ANCHOR.sub("", text))
    return _LINK.sub(link, text)
