"""What git says about a folder."""

from __future__ import annotations

import subprocess
from pathlib import Path

_RUN_NOTHING = (
    *("-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null"),
    *("-c", "log.showSignature=false"),  # which would run gpg.program
)
"""Options that keep git from running programs that the settings of a foreign checkout name."""


def git(folder: Path, *arguments: str) -> str | None:
    """Return what git prints in a folder; None without git or a repository."""
    try:
        done = subprocess.run(
            ["git", *_RUN_NOTHING, *arguments],
            cwd=folder,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=10,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
