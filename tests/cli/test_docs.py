"""``pytest-dsr1 docs``: the list, one page, one section, and what happens to a topic that does not exist."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from pytest_dsr1.cli import docs
from pytest_dsr1.cli.main import main
from tests.helpers.paths import DOCS

PAGE = """\
# A page

Read [this](other.md#part), [here](#two), [there](https://example.org/x) and ![a picture](../pictures/x.png).

<a id="first"></a>
## One

    # a comment in code

### Below one

```yaml
# neither a heading
```

## Two `words`

The end.
"""


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for group in (*docs.GROUPS, "how-to/ci"):
        (tmp_path / group).mkdir(exist_ok=True)
    (tmp_path / "start" / "page.md").write_text(PAGE, encoding="utf-8")
    (tmp_path / "how-to" / "other.md").write_text("# The other\n", encoding="utf-8")
    (tmp_path / "how-to" / "ci" / "example.yml").write_text("a:\t::b\n", encoding="utf-8")
    monkeypatch.setattr(docs, "folder", lambda: tmp_path)
    return tmp_path


def shown(topic: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["docs", topic]) == 0
    return capsys.readouterr().out


def test_the_list_has_a_line_for_each_page(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["docs"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line in docs.GROUPS] == list(docs.GROUPS)
    assert "  why-low          Why is my number low? What does this message mean?" in lines
    pages = [line.split()[0] for line in lines if line.startswith("  ")]
    assert sorted(pages) == sorted(path.stem for path in DOCS.rglob("*.md") if path.name != "style.md")
    assert lines[-1] == ("pytest-dsr1 docs TOPIC shows a page, pytest-dsr1 docs TOPIC#SECTION one section.")


@pytest.mark.usefixtures("tree")
def test_a_page_is_shown_without_what_only_a_browser_needs(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown("page", capsys)
    assert text.startswith(
        "# A page\n\nRead this (docs other#part), here (docs page#two), there (https://example.org/x) and "
        "(picture: a picture).\n\n## One\n"
    )
    assert text.endswith("The end.\n")


@pytest.mark.usefixtures("tree")
@pytest.mark.parametrize(
    ("section", "begins", "ends"),
    [
        ("first", "## One", "```"),
        ("one", "## One", "```"),
        ("below-one", "### Below one", "```"),
        ("two-words", "## Two `words`", "The end."),
    ],
)
def test_a_section_is_shown(section: str, begins: str, ends: str, capsys: pytest.CaptureFixture[str]) -> None:
    lines = shown(f"page#{section}", capsys).rstrip().splitlines()
    assert (lines[0], lines[-1]) == (begins, ends)


@pytest.mark.usefixtures("tree")
def test_an_example_is_shown_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown("example.yml", capsys) == "a:\t::b\n"


def test_no_page_gives_a_terminal_commands(tree: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tree / "start" / "page.md").write_text("# A \x1b[31mpage\n::error::x\n", encoding="utf-8")
    assert shown("page", capsys) == "# A \\x1b[31mpage\n: :error::x\n"


@pytest.mark.usefixtures("tree")
@pytest.mark.parametrize(
    ("topic", "message"),
    [
        ("pag", "there is no page 'pag' (did you mean 'page'?); `pytest-dsr1 docs` lists all pages\n"),
        (
            "exmple.yml",
            "there is no page 'exmple.yml' (did you mean 'example.yml'?); `pytest-dsr1 docs` lists all",
        ),
        ("xyz", "there is no page 'xyz'; `pytest-dsr1 docs` lists all pages\n"),
        (
            "page#tow-words",
            "the page page has no section 'tow-words' (did you mean 'two-words'?); `pytest-dsr1 docs page` "
            "shows the whole page\n",
        ),
    ],
)
def test_an_unknown_topic_is_a_usage_error(
    topic: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["docs", topic]) == 4
    assert capsys.readouterr().err.startswith(message)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.usefixtures("tree")
def test_a_terminal_gets_a_pager(monkeypatch: pytest.MonkeyPatch) -> None:
    paged: list[str] = []
    monkeypatch.setattr("pydoc.pager", paged.append)
    monkeypatch.setattr("sys.stdout", Terminal())
    assert main(["docs", "other"]) == 0
    assert paged == ["# The other\n"]


def test_the_pages_are_those_of_the_wheel_or_of_the_source_tree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert docs.folder() == DOCS
    monkeypatch.setattr(docs, "__file__", str(tmp_path / "pytest_dsr1" / "cli" / "docs.py"))
    (tmp_path / "pytest_dsr1" / "docs").mkdir(parents=True)
    assert docs.folder() == tmp_path / "pytest_dsr1" / "docs"
