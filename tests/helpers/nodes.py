"""Nodes with stand-in GPUs."""

from __future__ import annotations


def uuid(number: int, gpu: int) -> str:
    """Return the UUID of a GPU of node ``n1`` or ``n2``."""
    return f"GPU-{gpu:08x}-0000-4000-8000-{number:012x}"
