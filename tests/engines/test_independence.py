"""No room but an engine's own folder, and the importer, knows which engine runs."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest_dsr1
from pytest_dsr1.engines.protocol import EngineSpec
from pytest_dsr1.scenario.schema.engine import EngineSettings, engines

PACKAGE = Path(pytest_dsr1.__file__).parent
OWN = sorted(hooks.parent for hooks in (PACKAGE / "engines").glob("*/hooks.py"))
WRITES_SCENARIOS = PACKAGE / "importing"
"""It turns NVIDIA's files into scenarios of the engine that NVIDIA runs, as a person would write them."""
MODULES = [
    path
    for path in sorted(PACKAGE.rglob("*.py"))
    if not any(path.is_relative_to(folder) for folder in (*OWN, WRITES_SCENARIOS))
]


def settings_classes() -> set[str]:
    """The names of the settings models of our engines, and of the classes between them and the base."""
    own = [schema.settings for schema in engines().values()]
    return {each.__name__ for kind in own for each in kind.__mro__ if issubclass(each, EngineSettings)} - {
        EngineSettings.__name__
    }


def faults(tree: ast.Module, classes: set[str], names: set[str]) -> Iterator[str]:
    """Where the code asks which engine it has."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in classes:
            yield f"{node.lineno}: {node.id}"
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith(
            tuple(f"pytest_dsr1.engines.{folder.name}" for folder in OWN)
        ):
            yield f"{node.lineno}: import of {node.module}"
        elif isinstance(node, ast.Compare | ast.Match):
            subject = node.subject if isinstance(node, ast.Match) else node.left
            if isinstance(subject, ast.Attribute) and ast.unparse(subject).endswith("engine.type"):
                yield f"{node.lineno}: {ast.unparse(subject)} is compared"
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") in {"hasattr", "getattr"}:
            if ast.unparse(node.args[0]).split(".")[-1] in {"engine", "settings"}:
                yield f"{node.lineno}: {ast.unparse(node)}"
        elif isinstance(node, ast.Constant) and node.value in names:
            yield f"{node.lineno}: the name {node.value!r}"


def test_only_an_engines_own_folder_knows_it() -> None:
    # `transformers` is a package as well, and `openai` a server's protocol: neither stands alone in code.
    found = [
        f"{path.relative_to(PACKAGE)}:{fault}"
        for path in MODULES
        for fault in faults(ast.parse(path.read_text(encoding="utf-8")), settings_classes(), set(engines()))
    ]
    assert found == []


def test_the_check_sees_what_it_should() -> None:
    code = (
        "from pytest_dsr1.engines.openai.settings import OpenAi\n"
        "isinstance(scenario.engine, OpenAi)\n"
        "scenario.engine.type == kind\n"
        "getattr(scenario.engine, 'tp')\n"
        "{'trtllm-bench': 1}\n"
    )
    assert sorted(faults(ast.parse(code), settings_classes(), set(engines()))) == [
        "1: import of pytest_dsr1.engines.openai.settings",
        "2: OpenAi",
        "3: scenario.engine.type is compared",
        "4: getattr(scenario.engine, 'tp')",
        "5: the name 'trtllm-bench'",
    ]


def test_ours_are_registered_as_anybody_elses() -> None:
    hooks = [import_module(f"pytest_dsr1.engines.{folder.name}.hooks") for folder in OWN]
    assert hooks
    assert sorted(engines()) == sorted(spec.name for each in hooks for spec in each.pytest_dsr1_engines())
    assert all(isinstance(schema, EngineSpec) for schema in engines().values())
