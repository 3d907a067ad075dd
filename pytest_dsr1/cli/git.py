"""What git says about a folder."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

_RUN_NOTHING = (
    *("-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null"),
    *("-c", "log.showSignature=false"),  # which would run gpg.program
)
"""Options that keep git from running programs that the settings of a foreign checkout name.

There is none for filters, which `git status`, `git diff` and `git add` run: use no such command.
"""
_FETCH_NOTHING = {"GIT_ALLOW_PROTOCOL": "none"}
"""Variables that keep git from asking a remote for missing objects, with a program that the settings name."""


def git(folder: Path, *arguments: str) -> str | None:
    """Return what git prints in a folder; None without git or a repository."""
    try:
        done = subprocess.run(
            ["git", *_RUN_NOTHING, *arguments],
            cwd=folder,
            env=os.environ | _FETCH_NOTHING,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None


def is_committed(path: Path) -> bool:
    """Return whether the newest commit has the file, byte for byte."""
    content = git(path.parent, "hash-object", "--no-filters", "--", path.name)
    return content is not None and content == git(path.parent, "rev-parse", f"HEAD:./{path.name}")
