"""The layout of the tests: shared pieces are helpers, so that a test module can be changed alone."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
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
