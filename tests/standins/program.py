"""Programs of stand-ins: a file for PATH that runs a function of one of our modules."""

from __future__ import annotations

import sys
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]


def write_program(folder: Path, name: str, module: str, *arguments: str, site: bool = False) -> None:
    """Write a program that calls ``main`` of a module in ``tests.standins``.

    Without ``site`` it starts quickly, and imports no installed package.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text(
        f"#!{sys.executable}{'' if site else ' -S'}\nimport sys\nsys.path.insert(0, {str(_ROOT)!r})\n"
        f"from tests.standins.{module} import main\nmain({', '.join(map(repr, arguments))})\n",
        encoding="utf-8",
    )
    path.chmod(0o755)
