"""Folders of another user, for tests that may run as root, who can read every folder."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest


def unlistable(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Stop this process from listing the folder; it can still open files in it by name."""
    scandir = os.scandir

    def denied(path: Any = ".") -> Any:
        if Path(path) == folder:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", denied)
