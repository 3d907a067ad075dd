"""Folders of somebody else, for tests that may run as root, to whom every folder is open."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest


def unlistable(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let this process find the folder and what it knows the name of in it, but not list it."""
    scandir = os.scandir

    def denied(path: Any = ".") -> Any:
        if Path(path) == folder:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", denied)
