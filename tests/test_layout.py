"""The layout of the tree: small modules, and tests that mirror them and can be changed alone."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.paths import ROOT

_PRIVATE = re.compile(r"tests\.(\w+\.)*(test_\w+|conftest)")
_PROGRAM = re.compile(rf"^\s*(?:from|import) ({_PRIVATE.pattern})\b", re.MULTILINE)


def borrowed(source: str) -> Iterator[str]:
    """Yield the test modules that a module imports, also in the programs that it holds as text."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                candidates = [name.name for name in names]
            case ast.ImportFrom(module=module, names=names, level=level):
                package = ".".join(filter(None, ("tests" if level else "", module)))
                candidates = [package, *(f"{package}.{name.name}" for name in names)]
            case ast.Constant(value=str(text)):
                candidates = [match[1] for match in _PROGRAM.finditer(text)]
            case _:
                continue
        yield from (candidate for candidate in candidates if _PRIVATE.fullmatch(candidate))


def test_no_test_imports_another_test_module() -> None:
    found = [
        f"{path.relative_to(ROOT)} imports {module}"
        for folder in ("tests", "benchmarks")
        for path in sorted((ROOT / folder).rglob("*.py"))
        for module in borrowed(path.read_text(encoding="utf-8"))
    ]
    assert found == [], "move what is shared to tests/helpers/"


@pytest.mark.parametrize(
    "source",
    [
        "from T.gate.test_plan import x",
        "from T.plugin.conftest import x",
        "from T.gate import test_plan",
        "from . import test_plan",
        "from .test_plan import x",
        "import T.gate.test_plan",
        "def f():\n    from T.gate.test_plan import x",
        "PROGRAM = '''\nimport sys\nfrom T.gate.test_plan import x\n'''",
    ],
)
def test_such_an_import_is_found(source: str) -> None:
    assert len(list(borrowed(source.replace("T.", "tests.")))) == 1


@pytest.mark.parametrize("source", ["from T.helpers.values import x", "'''As T.gate.test_plan does.'''"])
def test_another_import_is_not(source: str) -> None:
    assert list(borrowed(source.replace("T.", "tests."))) == []


def test_the_tests_for_other_versions_exist(request: pytest.FixtureRequest) -> None:
    conftest: Any = request.config.pluginmanager.get_plugin(str(ROOT / "tests" / "conftest.py"))
    assert [place for place in conftest.VERSIONS if not (ROOT / "tests" / place).exists()] == []


LIMITS = "no file above 400 lines, no function above 80, no folder above 14 modules"


def long_pieces(source: str) -> Iterator[str]:
    """Yield what is too long in a module, after the line where it begins."""
    if (lines := len(source.splitlines())) > 400:
        yield f"1: {lines} lines"
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > 80:
                yield f"{node.lineno}: {node.name} has {lines} lines"


def crowded(paths: Iterable[Path]) -> Iterator[str]:
    """Yield the folders with too many modules."""
    counts = Counter(path.parent for path in paths if path.name != "__init__.py")
    yield from (f"{folder}: {count} modules" for folder, count in sorted(counts.items()) if count > 14)


def test_modules_functions_and_folders_are_small() -> None:
    modules = sorted((ROOT / "pytest_dsr1").rglob("*.py"))
    assert modules
    long = [
        f"{path.relative_to(ROOT)}:{piece}"
        for path in modules
        for piece in long_pieces(path.read_text(encoding="utf-8"))
    ]
    assert long + list(crowded(path.relative_to(ROOT) for path in modules)) == [], LIMITS


def test_what_is_too_large_is_found() -> None:
    lines = "\n".join(["    pass"] * 80)
    assert list(long_pieces(f"x = 1\nasync def f():\n{lines}\n")) == ["2: f has 81 lines"]
    assert list(long_pieces("\n" * 401)) == ["1: 401 lines"]
    assert list(long_pieces(f"def f():\n{lines[:-9]}" + "\n" * 320)) == []
    folder = [Path("room") / f"{name}.py" for name in ("__init__", *"abcdefghijklmn")]
    assert list(crowded(folder)) == []
    assert list(crowded([*folder, Path("room/o.py")])) == ["room: 15 modules"]


ACROSS = (
    "browser",
    "cluster",
    "engines/test_independence.py",
    "gate/test_gate_simulation.py",
    "gate/test_searches_simulation.py",
    "mutation",
    "packaging",
    "pairs/test_pairs_simulation.py",
    "plugin",
    "scenario/test_suites.py",
    "search/test_search_simulation.py",
    "search/test_waves_simulation.py",
    "test_docs.py",
    "test_english.py",
    "test_layout.py",
    "test_missing_packages.py",
    "test_pipelines.py",
    "test_saved_before.py",
)
"""Tests of more than one module: whole runs, documents, and rules for the tree."""


def mirrored(test: Path) -> bool:
    """Return whether a module, or a folder of benchmarks, has the name of this test module."""
    tested = test.relative_to(ROOT / "tests")
    tested = tested.with_name(tested.name.removeprefix("test_"))
    root = ROOT if tested.parts[0] == "benchmarks" else ROOT / "pytest_dsr1"
    return (root / tested).exists() or (root == ROOT and (root / tested.with_suffix("")).is_dir())


def test_a_test_module_has_the_name_of_what_it_tests() -> None:
    tests = ROOT / "tests"
    across = {path for place in ACROSS for path in (tests / place, *(tests / place).rglob("test_*.py"))}
    named = [path for path in sorted(tests.rglob("test_*.py")) if path not in across]
    assert named
    assert [str(path.relative_to(ROOT)) for path in named if not mirrored(path)] == []
    assert [place for place in ACROSS if not (tests / place).exists() or mirrored(tests / place)] == []
