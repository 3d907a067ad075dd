"""The environment of programs whose coverage is not measured: they are foreign, or repeat themselves."""

from __future__ import annotations

import os


def without_coverage() -> dict[str, str]:
    """Return this process's environment without what starts coverage in a Python program."""
    return {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
