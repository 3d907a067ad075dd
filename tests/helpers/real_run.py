"""One run of the main job, which several tests check."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class RealRun:
    """A run of cpu-min-latency: its folder, its exit status and its output."""

    place: Path
    status: int
    lines: list[str]

    @property
    def saved(self) -> Path:
        """Return the folder of the saved result."""
        (folder,) = (self.place / ".dsr1" / "cpu-min-latency").iterdir()
        return folder
