"""Plugins of pytest-dsr1 for one test: each is a file, as a third party would write it."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from pytest_dsr1 import extensions
from pytest_dsr1.scenario.schema import json_schema


@contextmanager
def plugged_in(folder: Path, name: str, text: str) -> Iterator[None]:
    """Register a plugin with this text inside the block, without plugins of other tests."""
    path = folder / f"{name}.py"
    path.write_text(text, encoding="utf-8")
    plugin = ModuleType(name)
    vars(plugin).update(runpy.run_path(str(path), run_name=name))
    forget()
    try:
        extensions.register(plugin, name)
        try:
            yield
        finally:
            extensions.unregister(plugin)
    finally:
        forget()


def forget() -> None:
    """Forget every registered plugin, and what was made with it."""
    extensions._manager.cache_clear()
    extensions._declared.cache_clear()
    json_schema.scenario_schema.cache_clear()
