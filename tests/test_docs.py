"""The pages of the documentation: their size, their links, and the commands in them."""

from __future__ import annotations

import ast
import re
import shlex
import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy  # noqa: F401, ICN001 - cannot be imported once more when pytester forgets modules
import pytest
import scipy.special  # noqa: F401 - for the same reason
from markdown_it import MarkdownIt
from markdown_it.token import Token

from pytest_dsr1 import hookspecs
from pytest_dsr1.cli import docs
from pytest_dsr1.results.table import COLUMNS
from tests.helpers.commands import assert_understood
from tests.helpers.paths import DOCS, ROOT
from tests.helpers.saved_results import BEFORE

PAGES = sorted(DOCS.rglob("*.md"))
GENERATED = [page for page in PAGES if re.search(r"^Made by `python -m", page.read_text(), re.MULTILINE)]
WRITTEN = [page for page in PAGES if page not in GENERATED]
LINKING = [*PAGES, ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
PACKAGE = [path for path in (ROOT / "pytest_dsr1").rglob("*") if path.suffix in {".py", ".html", ".js"}]
TOPIC = re.compile(r"pytest-dsr1 docs ([a-z][\w.-]*\w)(?:#([\w-]+))?")
PLACEHOLDERS = {"NAME", "PROFILE", "DIR", "FILE", "PATH", "PATH/scenario.yaml", "OLD", "..."}
OWN_PROFILES = {"night", "r1-c*"}
EXAMPLES = (
    "pytest_dsr1_engines",
    "pytest_dsr1_metrics",
    "pytest_dsr1_checks",
    "pytest_dsr1_clues",
    "pytest_dsr1_reports",
)
"""Hooks whose example in the page "Extend" is run."""
INNER = {"openai", "tensorrt_llm", "transformers", "trtllm_options"}
"""The folders inside a room that the page also names."""
PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
WITHOUT_ARGUMENTS = ["pytest-dsr1", "dataset"]


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def slug(heading: str) -> str:
    """A heading's anchor, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def tokens(page: Path) -> Iterator[Token]:
    for token in MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8")):
        yield token
        yield from token.children or ()


def anchors(page: Path) -> set[str]:
    text = page.read_text(encoding="utf-8")
    known = pairwise(tokens(page))
    titles = {slug(after.content) for token, after in known if token.type == "heading_open"}
    return titles | set(re.findall(r'<a id="([^"]+)"></a>', text))


def commands(page: Path) -> Iterator[list[str]]:
    """Every command line for pytest or pytest-dsr1, in a block or in a sentence."""
    for token in tokens(page):
        if token.type in {"code_block", "fence", "code_inline"}:
            for line in token.content.replace("\\\n", " ").splitlines():
                if found := re.match(r"(?:\$ )?(pytest-dsr1 docs \S+|pytest(?:-dsr1)? [^#>]*)", line):
                    yield shlex.split(found[1].replace("<UTC time>", "DIR"))


def test_the_documentation_stays_small() -> None:
    assert {page.name for page in GENERATED} == {"scenario.md", "metrics.md", "dialects.md"}
    assert len(WRITTEN) <= 19
    # There were 25,000 before the sections on machine, log, Slurm, cause, probes, options and
    # studies, 31,200 before those on several nodes, and 33,900 before the page on analyzing results.
    assert sum(len(page.read_text(encoding="utf-8").split()) for page in WRITTEN) <= 35_400


def test_the_architecture_names_the_rooms_in_their_order() -> None:
    contract = re.search(r'containers = \["pytest_dsr1"\].*?layers = \[\n(.*?)\n\]', PYPROJECT, re.DOTALL)
    assert contract
    layers = [layer.split(" | ") for layer in re.findall(r'"(.+)"', contract[1])]
    text = (DOCS / "background" / "architecture.md").read_text(encoding="utf-8")
    packages = text.split("## Packages")[1].split("\n## ")[0]
    lines = [re.findall(r"`([a-z_]+)(?:/|\.py)`", line) for line in packages.splitlines()]
    listed = {room: number for number, rooms in enumerate(lines) for room in rooms if room not in INNER}
    assert {*listed} == {room for rooms in layers for room in rooms}
    for higher, lower in pairwise(layers):
        assert max(listed[room] for room in higher if room != "hookspecs") <= min(
            listed[room] for room in lower
        )


def test_the_style_page_stays_short() -> None:
    assert len((DOCS / "style.md").read_text(encoding="utf-8").splitlines()) <= 60


def test_every_page_is_in_a_group_and_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    pages = {page for page in PAGES if page != DOCS / "style.md"}
    assert set(docs.pages().values()) == pages
    assert len({page.stem for page in pages}) == len(pages)
    assert [name(page) for page in pages if f"({name(page)})" not in readme] == []


@pytest.mark.parametrize("page", LINKING, ids=name)
def test_every_link_leads_somewhere(page: Path) -> None:
    targets = [
        str(token.attrs.get("href") or token.attrs.get("src"))
        for token in tokens(page)
        if token.type in {"link_open", "image"}
    ]
    for target in targets:
        if "://" not in target:
            path, _, anchor = target.partition("#")
            there = (page.parent / path).resolve() if path else page
            assert there.exists(), target
            assert not anchor or anchor in anchors(there), target


@pytest.mark.needs("jinja2", "vl_convert")
@pytest.mark.parametrize("page", [*WRITTEN, ROOT / "README.md"], ids=name)
def test_every_command_is_understood(pytester: pytest.Pytester, page: Path) -> None:
    for program, *arguments in commands(page):
        named = {part for each in arguments for part in each.split("=")}
        if not PLACEHOLDERS & named and [program, *arguments] != WITHOUT_ARGUMENTS:
            assert_understood(pytester, program, arguments, OWN_PROFILES)


def test_commands_are_found() -> None:
    assert len([one for page in WRITTEN for one in commands(page)]) > 45
    (first, *_) = commands(DOCS / "how-to" / "ci.md")
    assert first == ["pytest-dsr1", "docs", "github.yml"]


@pytest.mark.parametrize("path", [*PACKAGE, *(ROOT / "suites").rglob("*.yaml"), *LINKING], ids=name)
def test_every_page_that_is_named_exists(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    for topic, section in TOPIC.findall(text):
        assert docs.show(f"{topic}#{section}" if section else topic)
    for page in re.findall(r"(?<![\w/])docs/[\w/-]+\.md", text):
        assert (ROOT / page).exists() or "TensorRT-LLM" in text, page


@pytest.mark.parametrize("path", [path for path in PACKAGE if path.suffix == ".py"], ids=name)
def test_a_message_names_the_command_and_not_a_file(path: Path) -> None:
    """Whoever installs the wheel has no folder docs/. A docstring may name a page of the source tree."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    described = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = {
        ast.get_docstring(node, clean=False) for node in ast.walk(tree) if isinstance(node, described)
    }
    attached = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    messages = [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in attached
    ]
    assert [text for text in messages if re.search(r"docs/\S*\.md", text) and text not in docstrings] == []


@pytest.mark.parametrize("hook", EXAMPLES)
def test_the_example_of_a_hook_runs(hook: str) -> None:
    text = (DOCS / "how-to" / "extend.md").read_text(encoding="utf-8")
    (code,) = (
        code for code in re.findall(r"^```python\n(.*?)^```", text, re.M | re.S) if f"def {hook}(" in code
    )
    names: dict[str, Any] = {}
    exec(compile(code, "extend.md", "exec"), names)
    assert list(names[hook]())


def cells() -> list[str]:
    """The blocks of Python in the page "Analyze"."""
    text = (DOCS / "how-to" / "analyze.md").read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)


@pytest.mark.parametrize(
    "with_pandas", [False, pytest.param(True, marks=pytest.mark.needs("pandas"))], ids=["plain", "pandas"]
)
def test_the_cells_of_the_notebook_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], with_pandas: bool
) -> None:
    shutil.copytree(BEFORE, tmp_path / ".dsr1")
    monkeypatch.chdir(tmp_path)
    plain = [code for code in cells() if "pandas" not in code and "dataframe" not in code]
    assert 0 < len(plain) < len(cells())
    names: dict[str, Any] = {}
    for code in cells() if with_pandas else plain:
        exec(compile(code, "analyze.md", "exec"), names)
    shown = capsys.readouterr().out
    assert "2026-11-20 08:00:00+00:00 h200-max-throughput FAIL 8 NVIDIA H200 tensorrt-llm 1.2.1" in shown
    assert "average time to first token (TTFT) 18.474737637670085 ms None None" in shown
    assert ("average_ttft" in shown) == with_pandas


def test_the_columns_of_an_export_are_in_the_page() -> None:
    text = (DOCS / "how-to" / "analyze.md").read_text(encoding="utf-8")
    table = text.split("## Columns")[1].split("\n## ")[0]
    firsts = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    assert tuple(re.findall(r"`(\w+)`", " ".join(firsts))) == COLUMNS


def test_every_hook_is_in_the_page() -> None:
    text = (DOCS / "how-to" / "extend.md").read_text(encoding="utf-8")
    hooks = {name for name in vars(hookspecs) if name.startswith("pytest_dsr1_")}
    assert set(re.findall(r"^def (pytest_dsr1_\w+)\(", text, re.M)) == hooks
