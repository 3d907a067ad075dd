"""The stand-in machine's state file, shared by the C library, the stand-in nvidia-smi and the tests."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def read(path: Path) -> dict[str, str]:
    """Return every key and its value."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return dict(line.split(" ", 1) for line in lines)


@contextmanager
def changing(path: Path) -> Iterator[dict[str, str]]:
    """Change the machine: one writer at a time, and a reader never sees half a file."""
    with path.with_suffix(".guard").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        state = read(path) if path.exists() else {}
        yield state
        new = path.with_suffix(".new")
        new.write_text("".join(f"{key} {value}\n" for key, value in state.items()), encoding="utf-8")
        os.replace(new, path)  # noqa: PTH105


def of_gpu(state: dict[str, str], gpu: int, name: str, default: str = "") -> str:
    """Return a fact of one GPU."""
    return state.get(f"gpu.{gpu}.{name}", state.get(f"gpus.{name}", default))
