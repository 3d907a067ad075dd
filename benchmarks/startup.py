"""The time that the installed plugin adds to a pytest run that does not use it.

``python -m benchmarks.startup`` runs ``pytest --collect-only`` of an empty project with the plugin and with
``-p no:dsr1``, in turn, and prints the medians, their difference and the goal (at most 10 ms).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

GOAL_MS = 10.0


def once_ms(folder: Path, *arguments: str) -> float:
    """Return the wall time of one run in ms."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *arguments]
    # As installed: compiled files are kept, even if this shell disables them.
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    quiet = subprocess.DEVNULL
    start_s = time.perf_counter()
    subprocess.run(command, cwd=folder, env=environment, stdout=quiet, stderr=quiet, check=False)
    return (time.perf_counter() - start_s) * 1e3


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=40)
    repetitions: int = parser.parse_args().repetitions
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pairs = [(once_ms(folder), once_ms(folder, "-p", "no:dsr1")) for _ in range(repetitions + 2)][2:]
    with_ms, without_ms = (median(column) for column in zip(*pairs, strict=True))
    added_ms = median(a - b for a, b in pairs)
    print(f"with the plugin     {with_ms:7.1f} ms   (median of {repetitions}, in turn)")
    print(f"without (no:dsr1)   {without_ms:7.1f} ms")
    print(
        f"added               {added_ms:7.1f} ms   {added_ms / without_ms:.1%}; goal: at most {GOAL_MS:g} ms"
    )


if __name__ == "__main__":
    main()
