"""Commands that CI servers find in a log."""

from __future__ import annotations

import re


def commands(text: str) -> list[str]:
    """Return the lines that GitHub's runner reads as commands (actions/runner, ActionCommand.cs)."""
    return [line for line in text.splitlines() if re.match(r"\s*::[A-Za-z-]+[^:]*::", line) or "##[" in line]
