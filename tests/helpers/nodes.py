"""Nodes with stand-in GPUs, and stand-ins of Slurm's programs."""

from __future__ import annotations

from pathlib import Path


def program(folder: Path, name: str, script: str) -> None:
    """Write a program: a shell script."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)


def uuid(number: int, gpu: int) -> str:
    """Return the UUID of a GPU of node ``n1`` or ``n2``."""
    return f"GPU-{gpu:08x}-0000-4000-8000-{number:012x}"
