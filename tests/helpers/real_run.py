"""One run of the main job, which several tests check."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

SHARED = "CPUs shared"
"""What a run says that other work slowed down."""
TRIES = 5
"""The most runs until one is undisturbed."""


def disturbed(status: int, output: str) -> bool:
    """Return whether other work on this machine made a run INVALID."""
    return status == 10 and SHARED in output


@dataclass(frozen=True)
class RealRun:
    """A run of cpu-min-latency: its folder, its exit status and its output."""

    place: Path
    status: int
    lines: list[str]

    @property
    def saved(self) -> Path:
        """Return the folder of the saved result."""
        return max((self.place / ".dsr1" / "cpu-min-latency").iterdir())


def undisturbed(
    command: Sequence[str], place: Path, environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    """Run the command, and again if other work on this machine made the run INVALID, as a person would."""
    for _ in range(TRIES):
        done = subprocess.run(
            command, cwd=place, env=environment, capture_output=True, text=True, check=False
        )
        if not disturbed(done.returncode, done.stdout):
            break
    return done
