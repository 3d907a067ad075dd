"""The version of the installed TensorRT-LLM, without importing it, and the options of its programs."""

from __future__ import annotations

import functools
import importlib.metadata
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from pytest_dsr1.storage.files import open_regular

PACKAGE = "tensorrt_llm"
PROBE_LIMIT_S = 60.0

_TERM = re.compile(r"^ {1,8}(-\S.*?)(?: {2,}|$)", re.MULTILINE)
_OPTION = re.compile(r"--[A-Za-z][\w-]*")


def installed_version(command: Sequence[str], search_path: str, program: str) -> str | None:
    """Return the version of the package that the command belongs to, from its metadata; None without one.

    Args:
        command: the command, with or without a prefix; the program's first line names the interpreter.
        search_path: the PATH for the program.
        program: the program's name; the last word is the program if no word has this name.
    """
    name = next((word for word in reversed(command) if Path(word).name == program), command[-1])
    found = shutil.which(name, path=search_path)
    interpreter = _interpreter(Path(found)) if found else None
    if interpreter is None or interpreter == sys.executable:
        try:
            return importlib.metadata.version(PACKAGE)
        except importlib.metadata.PackageNotFoundError:
            return None
    return _version_in(interpreter)


def _interpreter(program: Path) -> str | None:
    """Return the Python that runs a script; None for other programs."""
    try:
        with open_regular(program) as file:
            first = file.readline(4096)
    except OSError:
        return None
    words = first[2:].decode("utf-8", "replace").split() if first.startswith(b"#!") else []
    if words and Path(words[0]).name == "env":
        words = words[1:]
    if not words or "python" not in Path(words[0]).name:
        return None
    return shutil.which(words[0])


@functools.cache
def _version_in(interpreter: str) -> str | None:
    code = f"import importlib.metadata as m; print(m.version({PACKAGE!r}))"
    try:
        done = subprocess.run(
            [interpreter, "-c", code], capture_output=True, text=True, timeout=PROBE_LIMIT_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


def offered_options(help_text: str) -> frozenset[str]:
    """Return the options that a help text declares, without those that descriptions mention."""
    return frozenset(name for term in _TERM.findall(help_text) for name in _OPTION.findall(term))
