"""Which TensorRT-LLM is installed, without importing it, and which options its trtllm-bench has."""

from __future__ import annotations

import functools
import importlib.metadata
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

PACKAGE = "tensorrt_llm"
PROBE_LIMIT_S = 60.0

_TERM = re.compile(r"^ {1,8}(-\S.*?)(?: {2,}|$)", re.MULTILINE)
_OPTION = re.compile(r"--[A-Za-z][\w-]*")


def installed_version(command: Sequence[str], search_path: str) -> str | None:
    """The version of the package beside the command, from its metadata; None where there is none.

    Args:
        command: with or without a prefix; the interpreter is taken from the program's first line.
        search_path: the PATH in which the program is looked up.
    """
    name = next((word for word in reversed(command) if Path(word).name == "trtllm-bench"), command[-1])
    program = shutil.which(name, path=search_path)
    interpreter = _interpreter(Path(program)) if program else None
    if interpreter is None or interpreter == sys.executable:
        try:
            return importlib.metadata.version(PACKAGE)
        except importlib.metadata.PackageNotFoundError:
            return None
    return _version_in(interpreter)


def _interpreter(program: Path) -> str | None:
    """The Python that runs a script; None for anything else."""
    with program.open("rb") as file:
        first = file.readline(4096)
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
    """The options that a help text declares; options mentioned in descriptions do not count."""
    return frozenset(name for term in _TERM.findall(help_text) for name in _OPTION.findall(term))
