"""NVIDIA's Data Center GPU Manager (DCGM): its short diagnosis, where it is installed."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

COMMAND = "dcgmi diag -r 1"
TIMEOUT_S = 60.0
_MOST = 3
"""Failures that a finding names."""
_ROW = re.compile(
    r"^\|\s*(?P<test>[^|]*?)\s*\|\s*(?P<result>Pass|Fail|Skip|Warn)\b(?P<more>[^|]*)\|", re.MULTILINE
)
"""A row of the table that ``dcgmi diag`` prints: test, result."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The result of the diagnosis.

    Attributes:
        summary: what it found, in a few words.
        failures: the tests that failed, or why there is no result; empty if all is well.
    """

    summary: str
    failures: tuple[str, ...] = ()


def short_diagnosis(environ: Mapping[str, str]) -> Diagnosis | None:
    """Run the checks of level 1, which put no load on the GPUs; None if DCGM is not installed.

    Never raises, and never changes a GPU.
    """
    program = shutil.which("dcgmi", path=environ.get("PATH"))
    return None if program is None else _diagnosis(program)


@cache  # once per session, not once per scenario
def _diagnosis(program: str) -> Diagnosis:
    try:
        done = subprocess.run(
            [program, *COMMAND.split()[1:]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=TIMEOUT_S,
            check=False,
        )
    except OSError as error:
        return Diagnosis(f"not run: {error.strerror}")
    except subprocess.TimeoutExpired:
        return Diagnosis(f"not run: no answer within {TIMEOUT_S:g} s")
    rows = [(row["test"], row["result"]) for row in _ROW.finditer(done.stdout)]
    failed = [test for test, result in rows if result == "Fail"]
    if failed:
        more = f" and {len(failed) - _MOST} more" if len(failed) > _MOST else ""
        return Diagnosis("failed", (f"failed: {', '.join(failed[:_MOST])}{more}",))
    passed = sum(result == "Pass" for _, result in rows)
    if not passed:
        said = next((line.strip() for line in done.stdout.splitlines() if line.strip()), "no output")
        return Diagnosis(f"not run: {said[:200]}")
    return Diagnosis(f"{passed} tests passed")
