"""The command that runs one of our modules in another process, whatever its current folder holds."""

from __future__ import annotations

import sys

_RUN = """
import sys
name, count, *rest = sys.argv[1:]
sys.argv[1:], sys.path[:] = rest[: int(count)], rest[int(count) :]
import runpy
runpy.run_module(name, run_name="__main__")
"""
"""Runs a module with our own path of modules: Python's ``-m`` would look into the current folder first, where
a user's ``queue.py`` may be."""


def module_command(name: str, *arguments: str) -> list[str]:
    """Return the command that runs a module with these arguments, and with the path of this process."""
    return [sys.executable, "-c", _RUN, name, str(len(arguments)), *arguments, *sys.path]
